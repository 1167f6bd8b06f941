"""What an artifact leaves out is what nobody can reach."""

import json

import numpy as np
import onnx
import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig

from small_layouts import CONFIGS, batch, small_classifier
from tiny_models import save_model
from tinybert.artifact import FP32, read_card
from tinybert.layout import layout_of, sizes_of
from tinybert.ship.compact import cut_positions
from tinybert.ship.export import export
from tinybert.text import Tokenizer


@pytest.mark.parametrize("name", CONFIGS)
def test_positions_past_the_limit_change_no_answer(name, tmp_path):
    model = small_classifier(name)
    before = model(**batch()).logits
    ids = torch.randint(5, 50, (2, 34))
    longest = model(input_ids=ids).logits
    cut_positions(model, 34)
    torch.testing.assert_close(model(**batch()).logits, before)
    torch.testing.assert_close(model(input_ids=ids).logits, longest)
    table = layout_of(model.config).encoder(model).embeddings.position_embeddings
    assert len(table.weight) == model.config.max_position_embeddings < 40
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(**batch()).logits, before)


def test_an_artifact_is_small_and_reads_as_before(tmp_path):
    save_model(tmp_path / "model", 3, 2, 0, ("a", "b", "c"))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    config = BertConfig(**model.config.to_diff_dict() | {"max_position_embeddings": 512})
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "model")
    artifact = export(tmp_path / "model", tmp_path / "artifact", max_length=48)
    graph = onnx.load(str(artifact / FP32)).graph
    weights = graph.initializer
    assert not any(node.metadata_props for node in graph.node)
    assert not any(512 in weight.dims for weight in weights)
    assert any(list(weight.dims) == [48, 16] for weight in weights)
    assert read_card(artifact).parameters == model.num_parameters() + 16 * (48 - 32)
    texts = ["my late parcel", "refund <please>", "登录"]
    ours, theirs = (
        Tokenizer(tmp_path / n, max_length=48).encode(texts) for n in ("artifact", "model")
    )
    assert ours == theirs
    text = (artifact / "tokenizer.json").read_text(encoding="utf-8")
    assert len(text) < 0.7 * len((tmp_path / "model" / "tokenizer.json").read_text())
    assert json.loads(text)["model"]["vocab"]["parcel"] == 7
    assert "Layers: 2. Width: 16, in the feed-forward 32. Vocabulary: 16 pieces, embeddings 16" in (
        artifact / "README.md"
    ).read_text(encoding="utf-8")
    assert np.isclose(sizes_of(config)["intermediate"], 32)
