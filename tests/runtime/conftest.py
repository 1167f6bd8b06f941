"""Artifacts of every kind of answer, made once."""

import shutil
from dataclasses import replace

import pytest

import tinybert
from tiny_models import save_model
from tinybert.artifact import read_card, write_card


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
