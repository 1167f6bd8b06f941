"""Pickled encoder-decoders become folders of safetensors."""

import shutil

import pytest
import torch

from small_writers import save_random_writer
from tinybert.distill.convert import convert
from tinybert.distill.writers import load_writer
from tinybert.errors import UnsupportedModelError


@pytest.fixture
def pickled(tmp_path):
    model = save_random_writer(tmp_path / "w", "marian")
    shutil.copytree(model, tmp_path / "old")
    (tmp_path / "old" / "model.safetensors").unlink()
    torch.save(load_writer(model).state_dict(), tmp_path / "old" / "pytorch_model.bin")
    return model, tmp_path / "old"


def test_the_weights_are_the_same(pickled, tmp_path):
    model, old = pickled
    with pytest.raises(UnsupportedModelError, match=r"`tinybert convert .*old --to DIR` takes the"):
        load_writer(old)
    found = load_writer(convert(old, tmp_path / "new")).state_dict()
    wanted = load_writer(model).state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert (tmp_path / "new" / "tokenizer.json").is_file()
    sizes = [(f / "model.safetensors").stat().st_size for f in (model, tmp_path / "new")]
    assert sizes[1] < sizes[0] + 20_000  # positions of sines alone are more; no table twice
    assert not list((tmp_path / "new").glob("*.bin"))


def test_a_checkpoint_that_lacks_weights_is_refused(pickled, tmp_path):
    _, old = pickled
    tensors = torch.load(old / "pytorch_model.bin", weights_only=True)
    del tensors["model.encoder.layers.0.fc1.weight"]
    torch.save(tensors, old / "pytorch_model.bin")
    with pytest.raises(UnsupportedModelError, match=r"lacks weights: .*layers.0.fc1.weight"):
        convert(old, tmp_path / "new")
    assert not (tmp_path / "new").exists()
