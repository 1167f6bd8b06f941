"""The benchmark of engines: what it answers, what it times, whom it skips."""

import builtins
from argparse import Namespace

import numpy as np
import pytest

from tiny_models import save_model
from tinybert.engine import is_built
from tinybert.ship.export import export
from tinybert.ship.quantize import quantize

pytestmark = [
    pytest.mark.usefixtures("bench"),
    pytest.mark.skipif(not is_built(), reason="the engine was not built: no compiler"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A student, and its artifacts in int8 and float32."""
    folder = tmp_path_factory.mktemp("speed")
    save_model(folder / "model", 3, 1, seed=0, width=128)
    for name in ("int8", "fp32"):
        export(folder / "model", folder / name, max_length=32)
    quantize(folder / "int8")
    return [folder / name for name in ("model", "int8", "fp32")]


@pytest.fixture
def measured(folders, tmp_path):
    from _contestants import Measured

    texts = ["the card", "the money was charged twice", "card"]
    return Measured(*folders, tmp_path, 32, texts)


def test_loads():
    from _loads import loads

    texts = ["a bb", "a", "a b c"]
    found = {load.name: load.parts for load in loads(texts, 128, file=True)}
    assert found["mix at 8"] == [[texts]]
    assert found["sorted at 8"] == [[["a", "a bb", "a b c"]]]
    assert found["mix at 1"] == [[["a bb"], ["a"], ["a b c"]]]
    assert [len(batch) for batch in found["8x25"][0]] == [8]
    assert len(found["8x25"][0][0][0].split()) == 23
    assert "8x128" in found
    assert "8x256" not in found
    parts = found["file of 10,000"]
    assert [sum(map(len, part)) for part in parts] == [1000] * 10
    assert {len(batch) for part in parts for batch in part} == {32, 1000 % 32}
    assert "file of 10,000" not in [load.name for load in loads(texts, 128, file=False)]


def test_rounds_are_interleaved_and_counted(measured):
    from _loads import Load, timed

    asked = []

    def answer(name):
        return lambda *_: asked.append(name)

    contestants = {name: answer(name) for name in ("native", "onnx", "model2vec")}
    load = Load("mix at 8", [[["the card"], ["card"]]])
    ids, text = timed(contestants, measured.tokenizer(), load, 4, 0.0)
    assert asked == [name for _ in range(4) for name in contestants for _ in range(2)]
    assert (ids["rounds"], text["rounds"]) == (3, 3)
    assert (ids["from"], text["from"]) == ("ids", "text")
    assert "model2vec_ms" not in ids
    assert "faster_than_model2vec" in text
    assert 0 < text["tokenize_share"] <= 1
    assert text["native_ms"] >= ids["native_ms"]


def test_contestants_answer_alike(measured):
    from _contestants import opened
    from _loads import flips

    names = ("native", "onnx", "onnx_fp32", "ctranslate2", "torch")
    found = {name: opened(measured, name, 1) for name in names}
    ids, types = measured.tokenizer().encode(measured.texts)
    wanted = found["torch"][0](ids, types)
    for name, (answer, size) in found.items():
        assert answer(ids, types).shape == (3, 3), name
        assert np.abs(answer(ids, types) - wanted).max() < 0.1 * np.ptp(wanted), name
        assert size > 0
    answers = {name: answer for name, (answer, _) in found.items()}
    assert set(flips(answers, measured.tokenizer(), measured.texts)) == set(names)


def test_the_results_say_who_was_skipped(measured, monkeypatch):
    import speed

    real = builtins.__import__

    def without(name, *rest, **others):
        if name in ("openvino", "nncf"):
            raise ImportError(f"No module named '{name}'")
        return real(name, *rest, **others)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in ("RAYON_NUM_THREADS", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(name, "1")
    asked = Namespace(threads=[1], contestants=["openvino"], rounds=1, seconds=0.0, no_file=True)
    rows, about = speed.measure(measured, asked)
    assert {row["load"] for row in rows} >= {"mix at 32", "1x25"}
    assert all("native_ms" in row and "openvino_ms" not in row for row in rows)
    assert about["openvino"]["skipped"] == "not installed: No module named 'nncf'"
    assert about["native"]["mb"] > 0


def test_commands_name_no_path(asked, tmp_path):
    import speed

    texts = tmp_path / "sst2" / "dev.tsv"
    given = asked(speed, f"--run {tmp_path}/demo --texts {texts} --contestants onnx native")
    assert speed.command(given) == (
        "python bench/speed.py --run runs/demo --texts sst2/dev.tsv --rounds 11 "
        "--contestants native onnx"
    )
    given = asked(speed, f"--shape 4x312x12x1200 --texts {texts}")
    assert speed.command(given).endswith("--shape 4x312x12x1200 --texts sst2/dev.tsv --rounds 11")


def test_a_shape_that_is_none(tmp_path):
    import speed

    with pytest.raises(SystemExit, match="--shape 4x312: wanted LAYERSxHIDDENxHEADSxINNER"):
        speed.random_student("4x312", tmp_path)
