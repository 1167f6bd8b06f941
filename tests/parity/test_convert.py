"""Conversion of published checkpoints: today's layout, nothing lost in silence, no code run."""

import json
import sys

import pytest
import torch
from checkpoint_folders import (
    SIZES,
    batch,
    classifier,
    fit,
    raw_tinybert,
    says,
    tinybert_config,
    weights,
    write,
)
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM

from tinybert.distill.convert import convert
from tinybert.distill.infer import load_classifier, load_report, resolve, save_tokenizer
from tinybert.distill.published import weight_names
from tinybert.distill.teach import has_head
from tinybert.errors import ConfigError, UnsupportedModelError


@pytest.mark.parametrize("legacy", [True, False])
def test_convert_writes_todays_layout(tmp_path, legacy):
    source, encoder = raw_tinybert(tmp_path, legacy=legacy)
    said = []
    place = convert(source, tmp_path / "models" / "tiny", said.append)
    assert sorted(p.name for p in place.iterdir()) == [
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert [p.name for p in place.parent.iterdir()] == ["tiny"]
    found, wanted = load_file(place / "model.safetensors"), encoder.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    config = json.loads((place / "config.json").read_text())
    assert (config["model_type"], config["architectures"]) == ("bert", ["BertModel"])
    assert not config.keys() & {"cell", "emb_size", "pre_trained", "structure", "training"}
    (line,) = said
    assert line.startswith("left out: cls.predictions, cls.predictions.transform.dense, ")
    assert line.endswith("cls.seq_relationship, fit_dense")


def test_convert_reads_safetensors_with_old_names(tmp_path):
    model = BertForMaskedLM(BertConfig(**SIZES))
    source = write(tmp_path / "old", weights(model, old=True, more=fit(2)), tinybert_config())
    said = []
    place = convert(source, tmp_path / "new", said.append)
    assert said[0].endswith("fit_denses.0-1")
    assert said[1] == (
        "missing, made anew when the model is loaded: "
        "bert.pooler.dense.bias, bert.pooler.dense.weight"
    )
    assert not any("pooler" in name for name in weight_names(place))
    assert any(name == "embeddings.LayerNorm.weight" for name in weight_names(place))


def test_a_pickle_is_never_opened_unless_asked(tmp_path):
    source, _ = raw_tinybert(tmp_path)
    message = "has no .*safetensors weights but pytorch_model.bin; pickled weights are not read"
    for function in (resolve, load_classifier, has_head, lambda p: save_tokenizer(p, tmp_path)):
        with pytest.raises(UnsupportedModelError, match=message) as caught:
            function(source)
        assert f"`tinybert convert {source} --to DIR`" in str(caught.value)


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("legacy", [True, False])
def test_convert_runs_no_code_of_a_pickle(tmp_path, legacy):
    trap = tmp_path / "trap"
    source, _ = raw_tinybert(tmp_path, legacy=legacy, a=Evil(trap))
    with pytest.raises(
        UnsupportedModelError, match=r"pytorch_model.bin asks for `io.open`; wanted"
    ):
        convert(source, tmp_path / "new")
    assert not trap.exists()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "is no file of tensors"),
        (b"", "cannot be read"),
        (b"PK\x03\x04 half a file", "cannot be read"),
    ],
)
def test_damaged_weights_are_named(tmp_path, content, message):
    source, _ = raw_tinybert(tmp_path)
    (source / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(UnsupportedModelError, match=rf"pytorch_model.bin {message}"):
        convert(source, tmp_path / "new")


def test_a_pickle_of_something_else_is_named(tmp_path):
    source, _ = raw_tinybert(tmp_path)
    torch.save({"model": {"a": torch.zeros(1)}}, source / "pytorch_model.bin")
    with pytest.raises(UnsupportedModelError, match="holds no table of named tensors"):
        convert(source, tmp_path / "new")


def test_convert_refuses_what_it_cannot_use(tmp_path):
    source, _ = raw_tinybert(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for target in (tmp_path / "full", source / "config.json"):
        with pytest.raises(ConfigError, match="is not an empty folder; choose another one"):
            convert(source, target)
    with pytest.raises(UnsupportedModelError, match=r"hub/id is not a folder; .*`hf download ID"):
        convert("hub/id", tmp_path / "new")
    (source / "vocab.txt").unlink()
    with pytest.raises(UnsupportedModelError, match=r"has none of the files vocab.txt"):
        convert(source, tmp_path / "new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full", "raw"]
    (source / "pytorch_model.bin").unlink()
    with pytest.raises(UnsupportedModelError, match="has no weights; wanted"):
        convert(source, tmp_path / "new")
    (source / "config.json").unlink()
    with pytest.raises(UnsupportedModelError, match=r"has no config.json"):
        convert(source, tmp_path / "new")


def test_convert_keeps_a_whole_classifier(tmp_path):
    model = classifier()
    source = write(tmp_path / "old", weights(model, old=True), tinybert_config(), pickle=True)
    place = convert(source, tmp_path / "new", lambda _: None)
    assert has_head(place)
    found = load_report(place)
    assert str(found) == ""
    torch.testing.assert_close(found.model(**batch()).logits, model(**batch()).logits)


def test_convert_keeps_label_names(tmp_path):
    model = classifier(id2label={0: "bad", 1: "good", 2: "odd"})
    config = says(model.config, "BertForSequenceClassification")
    source = write(tmp_path / "old", weights(model), config, pickle=True)
    place = convert(source, tmp_path / "new", lambda _: None)
    assert list(load_classifier(place).config.id2label.values()) == ["bad", "good", "odd"]


def test_convert_leaves_out_a_head_behind_a_relu(tmp_path):
    """The official code's classifier reads ReLU(pooled): as a plain BERT it would answer wrongly."""
    tensors = weights(classifier(), old=True, more=fit())
    source = write(tmp_path / "old", tensors, tinybert_config(), pickle=True)
    said = []
    place = convert(source, tmp_path / "new", said.append)
    assert not has_head(place)
    assert (
        said[0] == "left out: classifier.weight, classifier.bias, fit_dense.weight, fit_dense.bias"
        " (a classifier behind a ReLU, which no head of Transformers has)"
    )
    save_file(tensors, source / "model.safetensors")
    assert not has_head(source)


def test_convert_by_command(tmp_path, capsys, monkeypatch):
    from tinybert import cli

    source, _ = raw_tinybert(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tinybert", "convert", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, capsys.readouterr()

    code, said = run(source, "--to", tmp_path / "new")
    assert code == 0
    assert said.out.splitlines()[0].startswith("left out: cls.predictions")
    assert said.out.splitlines()[-1] == f"model: {tmp_path / 'new'}"
    assert said.err == ""
    code, said = run(source, "--to", tmp_path / "new")
    assert code == 2
    assert said.err.startswith("tinybert: ConfigError: ")
