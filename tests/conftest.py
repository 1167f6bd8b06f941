"""Tiny models and tables that several rooms' tests use."""

import os

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def shipped(tmp_path_factory):
    """An artifact of three labels with an int8 and a float32 model; not to be changed."""
    from tiny_models import save_model
    from tinybert.ship.export import export
    from tinybert.ship.quantize import quantize

    folder = tmp_path_factory.mktemp("shipped")
    save_model(folder / "model", 3, 1, 0, ("refund", "parcel", "登录"), spread=0.2, width=128)
    export(folder / "model", folder / "artifact", max_length=32)
    quantize(folder / "artifact", keep_fp32=True)
    return folder / "artifact"
