"""Tiny models and tables that several rooms' tests use."""

import os
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """Let the benchmarks be imported, anew in each test; their results go into ``results``."""
    names = [path.stem for path in BENCH.glob("*.py")]
    monkeypatch.syspath_prepend(str(BENCH))
    for name in names:
        sys.modules.pop(name, None)
    import _results

    monkeypatch.setattr(_results, "RESULTS", tmp_path / "results")
    yield
    for name in names:
        sys.modules.pop(name, None)


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


@pytest.fixture(scope="session")
def shipped_tagger(tmp_path_factory):
    """An int8 artifact that tags words, and the model it was made of; not to be changed."""
    from tiny_models import save_model
    from tinybert.ship.export import export
    from tinybert.ship.quantize import quantize

    folder = tmp_path_factory.mktemp("tagger")
    tags = ("B-PER", "I-PER", "B-地", "I-地", "O")
    save_model(folder / "model", 5, 1, 3, tags, spread=0.3, width=128, head="word")
    export(folder / "model", folder / "artifact", max_length=16)
    quantize(folder / "artifact", keep_fp32=True)
    return folder / "artifact"


@pytest.fixture(scope="session")
def shipped_answerer(tmp_path_factory):
    """An int8 and a float32 model that find answers in windows of 20 tokens; not to be changed."""
    from tiny_models import save_model
    from tinybert.ship.export import export
    from tinybert.ship.quantize import quantize
    from tinybert.spans import Reading

    folder = tmp_path_factory.mktemp("answerer")
    save_model(folder / "model", 2, 1, 3, spread=0.3, width=128, head="span")
    reading = Reading(overlap=6, question_length=5, answer_length=4)
    export(folder / "model", folder / "artifact", max_length=20, reading=reading)
    quantize(folder / "artifact", keep_fp32=True)
    return folder / "artifact"
