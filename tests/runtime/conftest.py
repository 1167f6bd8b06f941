"""Artifacts of every kind of answer, made once."""

import shutil
from dataclasses import replace

import onnx
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
)

import tinybert
from tiny_models import save_model
from tinybert.artifact import INT8, read_card, write_card
from tinybert.engine.encoder import find_encoder
from tinybert.engine.graph import read_graph


@pytest.fixture
def folder(shipped, tmp_path):
    """A copy of the artifact that a test may damage."""
    return shutil.copytree(shipped, tmp_path / "artifact")


@pytest.fixture(scope="session")
def classifier(shipped):
    return tinybert.load(shipped, threads=1)


@pytest.fixture(scope="session")
def paired(shipped, tmp_path_factory):
    """The same model as one of pairs."""
    folder = shutil.copytree(shipped, tmp_path_factory.mktemp("paired") / "artifact")
    write_card(folder, replace(read_card(folder), pair=True))
    return tinybert.load(folder, threads=1)


@pytest.fixture(scope="session")
def regressor(tmp_path_factory):
    from tinybert.ship.export import export

    folder = tmp_path_factory.mktemp("regression")
    save_model(folder / "model", 1, 1, seed=0)
    export(folder / "model", folder / "artifact", max_length=32)
    return tinybert.load(folder / "artifact", threads=1, batch_size=256)


def with_biases(model):
    """Give every bias and every gain, all 0 or 1 in a new model, a value of its own."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 1:
                weight.add_(0.3 * torch.randn_like(weight))
    return model


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """An ELECTRA of two layers with embeddings narrower than its states, and its artifact."""
    from tinybert.ship.export import export
    from tinybert.ship.quantize import quantize

    folder = tmp_path_factory.mktemp("narrow")
    save_model(folder / "model", 3, 1, seed=0)
    torch.manual_seed(0)
    config = ElectraConfig(
        vocab_size=16, embedding_size=136, hidden_size=152, num_hidden_layers=2, num_labels=3,
        num_attention_heads=4, intermediate_size=200, max_position_embeddings=32,
        initializer_range=0.2,
    )  # fmt: skip
    with_biases(ElectraForSequenceClassification(config)).save_pretrained(folder / "model")
    export(folder / "model", folder / "artifact", max_length=32)
    quantize(folder / "artifact")
    return folder / "artifact"


@pytest.fixture(scope="module")
def pruned(narrow, tmp_path_factory):
    """The same with another number of heads and of neurons in each layer."""
    from tinybert.pruned import keep_heads, keep_neurons, widened
    from tinybert.ship.export import export
    from tinybert.ship.quantize import quantize

    folder = tmp_path_factory.mktemp("pruned")
    shutil.copytree(narrow.parent / "model", folder / "model")
    model = ElectraForSequenceClassification.from_pretrained(folder / "model")
    keep_heads(model, [[0, 2, 3], [1]])
    keep_neurons(model, [list(range(20, 196)), list(range(110))])
    widened(model).save_pretrained(folder / "model")
    export(folder / "model", folder / "artifact", max_length=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinybert.ship.quantize.SMALL", 2000)
        quantize(folder / "artifact")
    layers = find_encoder(read_graph(folder / "artifact" / INT8)).layers
    assert [layer.query.values.shape[1] for layer in layers] == [3 * 38, 38]
    assert [layer.inner.values.shape[1] for layer in layers] == [176, 110]
    return folder / "artifact"


@pytest.fixture(scope="module")
def halves(narrow, tmp_path_factory):
    """The same with int8 positions and two numbers of the word embeddings in each byte."""
    from tinybert.ship import quantize as quantize_room
    from tinybert.ship.export import export
    from tinybert.ship.quantize import quantize

    folder = tmp_path_factory.mktemp("halves")
    export(narrow.parent / "model", folder / "artifact", max_length=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize_room, "SMALL", 2000)
        quantize(folder / "artifact", table_bits=4)
    graph = onnx.load(str(folder / "artifact" / INT8)).graph
    assert [16, 68] in [list(w.dims) for w in graph.initializer]
    return folder / "artifact"


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """An artifact of a sentence encoder that takes the mean."""
    from tinybert.ship.embedder import export_encoder
    from tinybert.ship.quantize import quantize

    folder = tmp_path_factory.mktemp("vectors")
    save_model(folder / "model", 3, 1, seed=0, width=128)
    export_encoder(folder / "model", folder / "artifact", max_length=32)
    quantize(folder / "artifact")
    return folder / "artifact"


def save_roberta(folder, kind, padding, segments):
    """Write a RoBERTa classifier of two layers and its artifact."""
    from tinybert.ship.export import export
    from tinybert.ship.quantize import quantize

    save_model(folder / "model", 3, 1, seed=0)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, vocab_size=16, hidden_size=128, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=200, max_position_embeddings=33 + padding, num_labels=3,
        pad_token_id=padding, type_vocab_size=segments, initializer_range=0.2,
    )  # fmt: skip
    model = with_biases(AutoModelForSequenceClassification.from_config(config))
    model.save_pretrained(folder / "model")
    export(folder / "model", folder / "artifact", max_length=31 + padding)
    quantize(folder / "artifact")
    return folder / "artifact"


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    """Positions after the padding's, no segments."""
    return save_roberta(tmp_path_factory.mktemp("roberta"), "roberta", 1, 1)


@pytest.fixture(scope="module")
def xlm(tmp_path_factory):
    """Padding is the first id, and there are segments."""
    return save_roberta(tmp_path_factory.mktemp("xlm"), "xlm-roberta", 0, 2)


@pytest.fixture(
    scope="module",
    params=["shipped", "shipped_tagger", "narrow", "pruned", "halves", "vectors", "roberta", "xlm"],
)
def artifact(request):
    return request.getfixturevalue(request.param)
