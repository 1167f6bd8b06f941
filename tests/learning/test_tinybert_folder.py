"""Saving and loading the Transformer class, and what it refuses."""

import doctest
import json
import os
import subprocess
import sys

import pytest
import torch

import tinybert
from tinybert import checkpoint, embedding
from tinybert import tinybert as module
from tinybert.checkpoint import layer_counts
from tinybert.distill.published import read_config
from tinybert.errors import ArtifactError, ConfigError, ShapeError, UnsupportedModelError
from tinybert_models import SEARCH, ids, make, make_pair


@pytest.mark.parametrize("changes", [{}, {"num_decoder_layers": 2, "emb_dim": 8, "dropout": 0.2}])
def test_saved_is_loaded(changes, tmp_path):
    model, src = make(**changes), ids(2, 5)
    tgt = ids(2, 4) if model.decoder else None
    model.save_pretrained(tmp_path / "new" / "folder")
    state = torch.get_rng_state()
    again = tinybert.TinyBERT.from_pretrained(tmp_path / "new" / "folder")
    assert torch.equal(torch.get_rng_state(), state)
    assert again.config == model.config
    assert not again.training
    assert torch.equal(again(src, tgt), model(src, tgt))
    assert all(p.requires_grad and p.device.type == "cpu" for p in again.parameters())
    files = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert files == ["config.json", "model.safetensors"]
    again.double().save_pretrained(str(tmp_path / "double"))
    assert tinybert.TinyBERT.from_pretrained(tmp_path / "double")(src).dtype == torch.float64


def test_an_interrupted_save_leaves_the_old_files(tmp_path, monkeypatch):
    model, src = make(), ids(1, 4)
    model.save_pretrained(tmp_path)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(type(tmp_path), "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        make(seed=5).save_pretrained(tmp_path)
    monkeypatch.undo()
    assert sorted(x.name for x in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert torch.equal(tinybert.TinyBERT.from_pretrained(tmp_path)(src), model(src))


def edit(folder, **changes):
    path = folder / "config.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda f: (f / "config.json").unlink(), ArtifactError, "has no config.json; wanted a"),
        (lambda f: (f / "model.safetensors").unlink(), ArtifactError, "has no model.safetensors"),
        (lambda f: (f / "config.json").write_text("{"), ArtifactError, "is not valid JSON"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), ArtifactError, "is not valid JSON"),
        (lambda f: (f / "config.json").write_text("[]"), ArtifactError, "holds no object"),
        (lambda f: (f / "model.safetensors").write_bytes(b"no"), ArtifactError, "is damaged"),
        (lambda f: os.truncate(f / "model.safetensors", 900), ArtifactError, "is damaged"),
        (lambda f: edit(f, nheads=2), ConfigError, "unknown setting `nheads` in .*`nhead`"),
        (lambda f: edit(f, nhead=None), ArtifactError, "lacks nhead; save it again"),
        (lambda f: edit(f, nhead=3), ConfigError, "config.json: d_model 16 is not a multiple"),
        (lambda f: edit(f, nhead="4"), ConfigError, "nhead is '4'; wanted a whole number"),
        (lambda f: edit(f, format=2), ArtifactError, "has format 2, this tinybert reads 1 to 1"),
        (lambda f: edit(f, model_type="bert"), ArtifactError, "model_type is 'bert'; wanted"),
        (lambda f: edit(f, d_model=32), ArtifactError, "the weights do not fit the config"),
        (lambda f: edit(f, num_encoder_layers=3), ArtifactError, "the weights do not fit"),
    ],
)  # fmt: skip
def test_damaged_folders_are_named(damage, error, message, tmp_path):
    make().save_pretrained(tmp_path)
    damage(tmp_path)
    with pytest.raises(error, match=message):
        tinybert.TinyBERT.from_pretrained(tmp_path)


def test_folders_that_are_none(tmp_path):
    with pytest.raises(ArtifactError, match="nowhere is not a folder; wanted a folder written"):
        tinybert.TinyBERT.from_pretrained(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file is a file; wanted a folder"):
        make().save_pretrained(tmp_path / "file")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nhead": 3}, "d_model 16 is not a multiple of nhead 3"),
        ({"emb_dim": 7}, "emb_dim is 7; wanted an even number"),
        ({"d_model": 15, "nhead": 3}, "emb_dim is 15; wanted an even number"),
        ({"dropout": None}, "dropout is None; wanted 0 to below 1"),
        ({"d_model": "16"}, "^d_model is '16'; wanted a whole number$"),
        ({"d_model": None}, "^d_model is None; wanted a whole number$"),
        ({"dropout": 1.0}, "dropout is 1.0; wanted 0 to below 1"),
        ({"dropout": -0.1, "num_tokens": 0}, "num_tokens is 0; .*; dropout is -0.1"),
        ({"d_model": 16.0}, "d_model is 16.0; wanted a whole number"),
        ({"d_model": 0}, "d_model is 0; wanted a whole number from 1"),
        ({"nhead": True}, "nhead is True; wanted a whole number from 1"),
        ({"dim_feedforward": 0}, "dim_feedforward is 0; wanted a whole number from 1"),
        ({"num_layers": -1}, "num_encoder_layers is -1; wanted a whole number from 1"),
        ({"num_layers": None, "num_encoder_layers": 0}, "num_encoder_layers is 0; wanted"),
        ({"num_layers": None, "num_encoder_layers": 1, "num_decoder_layers": -1},
         "num_decoder_layers is -1; wanted a whole number from 0"),
        ({"num_layers": None}, "num_layers and num_encoder_layers are both missing"),
        ({"num_encoder_layers": 3}, "num_layers is 2 but num_encoder_layers is 3; wanted the same"),
        ({"num_decoder_layers": 1}, "num_layers is 2 but num_decoder_layers is 1; .*None and a"),
    ],
)  # fmt: skip
def test_bad_sizes_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        make(**changes)


def test_layer_counts():
    assert layer_counts(None, 3, 1) == layer_counts(0, 3, 1) == (3, 1)
    assert layer_counts(3, None, 0) == layer_counts(3, 3, None) == (3, 0)
    assert layer_counts(3, None, 3) == layer_counts(3, 3, 3) == (3, 3)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({"src": [[30]]}, ConfigError, r"src holds the id 30; wanted 0 to 29 \(num_tokens is 30\)"),
        ({"src": [[-1, 5]]}, ConfigError, "src holds the id -1; .*; on padding, pass src_pad_mask"),
        ({"tgt": [[31]]}, ConfigError, "tgt holds the id 31; wanted 0 to 29"),
        ({"src": [[1.0]]}, ShapeError, r"src is float32 \(1, 1\); wanted int64 \(batch, tokens\)"),
        ({"src": [1, 2]}, ShapeError, r"src is int64 \(2,\); wanted int64"),
        ({"src": [[]]}, ShapeError, r"src is float32 \(1, 0\)"),
        ({"tgt": [[[1]]]}, ShapeError, r"tgt is int64 \(1, 1, 1\)"),
        ({"tgt": [[1], [2]]}, ShapeError, r"tgt is \(2, 1\), the source has 1 rows"),
        ({"src_pad_mask": [[True]]}, ShapeError, r"src_pad_mask is bool \(1, 1\); wanted bool \(1, 3"),
        ({"src_pad_mask": [[1, 1, 0]]}, ShapeError, r"src_pad_mask is int64 \(1, 3\); wanted bool"),
        ({"tgt_pad_mask": [[False]]}, ShapeError, r"tgt_pad_mask is bool \(1, 1\); wanted bool \(1, 2"),
        ({"tgt": None, "tgt_pad_mask": [[False]]}, ConfigError, "tgt_pad_mask is given without tgt"),
    ],
)  # fmt: skip
def test_bad_inputs_are_named(inputs, error, message):
    good = {"src": [[4, 5, 6]], "tgt": [[1, 7]]}
    given = {k: None if v is None else torch.tensor(v) for k, v in (good | inputs).items()}
    with pytest.raises(error, match=message):
        make_pair()(given.pop("src"), given.pop("tgt"), **given)


def test_lists_are_no_tensors():
    with pytest.raises(ShapeError, match="src is a list; wanted a tensor"):
        make()([[4, 5]])
    with pytest.raises(ShapeError, match="src_pad_mask is a list; wanted a tensor"):
        make()(ids(1, 2), src_pad_mask=[[False, True]])


def test_its_folder_is_told_from_one_of_transformers(tmp_path):
    make().save_pretrained(tmp_path)
    with pytest.raises(
        UnsupportedModelError, match=r"holds a tinybert.TinyBERT, which `TinyBERT.f"
    ):
        read_config(tmp_path)


def test_no_decoder_no_target():
    model = make()
    message = r"the model has no decoder \(num_decoder_layers is 0\)"
    with pytest.raises(ConfigError, match=message):
        model(ids(1, 3), ids(1, 3))
    with pytest.raises(ConfigError, match=message):
        model.generate(ids(1, 3), start=1, end=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": 30}, "start is 30; wanted 0 to 29"),
        ({"end": -1}, "end is -1; wanted 0 to 29"),
        ({"pad": 99}, "pad is 99; wanted 0 to 29"),
        ({"max_length": 0}, "max_length is 0; wanted at least 1"),
        ({"beams": 0}, "beams is 0; wanted at least 1"),
        ({"max_length": 2.5}, "max_length is 2.5; wanted a whole number"),
        ({"start": None}, "start is None; wanted a whole number"),
    ],
)
def test_bad_search_settings_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        make_pair().generate(ids(1, 3), **(SEARCH | changes))


def test_docstring_examples_run():
    for place in (module, checkpoint, embedding):
        result = doctest.testmod(place)
        assert result.attempted
        assert not result.failed


def test_the_class_is_imported_when_it_is_asked_for():
    code = (
        "import sys, tinybert\n"
        "assert 'TinyBERT' in tinybert.__all__ and 'torch' not in sys.modules\n"
        "sys.modules['torch'] = None\n"
        "try:\n"
        "    tinybert.TinyBERT\n"
        "except tinybert.MissingExtraError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "tinybert.TinyBERT needs the package `torch`; run: pip install 'tinybert[train]'\n"
    )
