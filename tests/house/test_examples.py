"""The examples are short and run."""

import io
import json
import re
import runpy
import sys
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

import tinybert
from tiny_models import WORDS, save_model
from tinybert.ship import pipeline
from tinybert.ship.export import export

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))


def run(monkeypatch, name, *arguments):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_example_is_short_and_says_how_it_is_called(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert f"python examples/{path.name}" in text


def test_predict(monkeypatch, capsys, tmp_path):
    save_model(tmp_path / "model", 2, 1, seed=0, names=("refund", "delivery"))
    export(tmp_path / "model", tmp_path / "artifact", max_length=16)
    monkeypatch.setattr(sys, "stdin", io.StringIO("late parcel\n\nmy card\n"))
    run(monkeypatch, "predict.py", tmp_path / "artifact", "--at-least", "0")
    lines = capsys.readouterr().out.splitlines()
    texts = sorted(line.split("  ")[-1] for line in lines if line.startswith("  "))
    assert texts == ["late parcel", "my card"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("late parcel\n"))
    run(monkeypatch, "predict.py", tmp_path / "artifact", "--at-least", "1.1")
    assert "(a person decides): 1" in capsys.readouterr().out


@pytest.mark.enable_socket
def test_serve(tmp_path):
    save_model(tmp_path / "model", 2, 1, seed=0, names=("refund", "delivery"))
    export(tmp_path / "model", tmp_path / "artifact", max_length=16)
    serve = runpy.run_path(str(EXAMPLES / "serve.py"))
    model = tinybert.load(tmp_path / "artifact", threads=1)
    with serve["server"](model, "127.0.0.1", 0) as server:
        Thread(target=server.serve_forever, daemon=True).start()

        def ask(body=None):
            try:
                asked = urlopen(f"http://127.0.0.1:{server.server_port}", body, timeout=30)
            except HTTPError as error:
                return error.code, json.load(error)
            return asked.status, json.load(asked)

        status, found = ask(b'["late parcel", "my card"]')
        assert status == 200
        assert [row["label"] for row in found] == [
            answer.label for answer in model(["late parcel", "my card"])
        ]
        assert ask() == (200, {"task": "classification", "labels": ["refund", "delivery"]})
        assert ask(b"[]") == (200, [])
        wrong = [b"[3]", b'"one"', b"{", b"4", b'["\\ud800", "a"]', b" " * 1_000_001]
        for body in (*wrong, b'["a", ["b", "c"]]', b"[" * 5000):
            status, found = ask(body)
            assert (status, list(found)) == (400, ["error"])
        for size in ("-1", "many"):
            line = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
            line.request("POST", "/", headers={"Content-Length": size})
            assert line.getresponse().status == 400
        server.shutdown()
    pairs = SimpleNamespace(card=SimpleNamespace(pair=True))
    for wrong in ('[["a", "b", "c"], ["d"]]', '["ab"]', '[["a"]]', "[3]"):
        with pytest.raises(ValueError, match="a JSON list of lists of two texts"):
            serve["answers"](pairs, wrong)


def test_serve_keeps_odd_ends_of_lines():
    serve = runpy.run_path(str(EXAMPLES / "serve.py"))
    copied = SimpleNamespace(card=SimpleNamespace(pair=False))
    text = "A man\u2028runs\u0085"

    def predict(*_, out, **__):
        out.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")

    serve["answers"].__globals__["predict"] = predict
    assert serve["answers"](copied, '["a"]') == [{"text": text}]


def test_translate_pairs(monkeypatch, capsys, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "max_length = 12\nmax_target = 12\n[teacher]\nhidden = 16\nencoder_layers = 1\n"
        "decoder_layers = 1\nvocab_size = 320\n[teaching]\nepochs = 1\n[student]\n"
        "encoder_layers = 1\n[training]\nepochs = 1\n[ship]\nmax_drop = 100\n"
    )
    out = tmp_path / "run"
    run(monkeypatch, "translate_pairs.py", "--rows", 60, "--recipe", recipe, "--out", out)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("red cat and blue dog → ")
    assert lines[-1] == f"report: {out / 'report.html'}"


def test_classify_csv(monkeypatch, capsys, tmp_path):
    """A tiny teacher learns two words, a student learns from it, the artifact answers."""
    monkeypatch.setenv("TINYBERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pipeline, "report", lambda *_, **__: None)
    rows = [(f"{a} {b} {label} {c}", label) for label in ("refund", "parcel")
            for a in WORDS[5:9] for b in WORDS[5:9] for c in ("my", "the")]  # fmt: skip
    file = tmp_path / "messages.csv"
    file.write_text("message,intent\n" + "".join(f"{text},{label}\n" for text, label in rows))
    save_model(tmp_path / "teacher", 2, 2, seed=0, names=("parcel", "refund"), spread=0.05)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "max_length = 16\n[teacher]\nteach = 'always'\nepochs = 24\nlearning_rate = 5e-3\nbatch_size = 8\n"
        "[layer_stage]\nepochs = 1\n[prediction_stage]\nepochs = 12\nlearning_rate = 5e-3\nbatch_size = 8\n"
        "[ship]\nbaselines = false\nmax_flips = 1\nmax_drop = 1\n"
    )
    run(
        monkeypatch,
        "classify_csv.py",
        file,
        *("--text", "message", "--label", "intent", "--layers", "1"),
        *("--teacher", tmp_path / "teacher", "--recipe", recipe, "--out", tmp_path / "run"),
    )
    out = capsys.readouterr().out
    assert "artifact: " in out
    assert "parcel  where is my parcel?" in out
    assert (tmp_path / "run" / "artifact" / "card.json").is_file()


def test_tag_words(monkeypatch, capsys, tmp_path):
    """A tiny teacher learns which words are names; its artifact finds them in a text."""
    monkeypatch.setenv("TINYBERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pipeline, "report", lambda *_, **__: None)
    example = runpy.run_path(str(EXAMPLES / "tag_words.py"))
    words = {
        w for names in (example["PEOPLE"], example["PLACES"]) for n in names for w in n.split()
    }
    words |= {"moved", "to", ".", "in", "we", "met", "likes", ",", "they", "say", "it", "rained"}
    monkeypatch.setattr("tiny_models.WORDS", sorted(word.lower() for word in words))
    save_model(tmp_path / "teacher", 5, 1, seed=0, spread=0.05)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "max_length = 16\n[teacher]\nepochs = 20\nlearning_rate = 1e-2\nbatch_size = 16\n[student]\n"
        "layers = 1\n[layer_stage]\nepochs = 0\n[prediction_stage]\nepochs = 2\nlearning_rate = 1e-3\n"
        "[ship]\nbaselines = false\nmax_flips = 1\nmax_drop = 1\n"
    )
    arguments = ("--teacher", tmp_path / "teacher", "--recipe", recipe, "--out", tmp_path / "run")
    run(monkeypatch, "tag_words.py", *arguments)
    out = capsys.readouterr().out
    assert "PER  Tom Reed  0-8  " in out
    assert "LOC  Cape Town  18-27  " in out


def test_answer_questions(monkeypatch, capsys, tmp_path):
    """A tiny teacher learns to look a name up; its artifact also says where there is none."""
    monkeypatch.setenv("TINYBERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pipeline, "report", lambda *_, **__: None)
    example = runpy.run_path(str(EXAMPLES / "answer_questions.py"))
    words = {*example["PEOPLE"], *example["PLACES"], "lives", "in", ".", "where", "is", "?"}
    monkeypatch.setattr("tiny_models.WORDS", sorted(word.lower() for word in words))
    save_model(tmp_path / "teacher", 2, 1, seed=0, spread=0.05)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "max_length = 20\n[teacher]\nepochs = 1\nbatch_size = 64\n[student]\nlayers = 1\n"
        "[layer_stage]\nepochs = 0\n[prediction_stage]\nepochs = 1\nbatch_size = 64\n"
        "[ship]\nbaselines = false\nmax_flips = 1\nmax_drop = 1\n"
    )
    arguments = ("--teacher", tmp_path / "teacher", "--recipe", recipe, "--out", tmp_path / "run")
    run(monkeypatch, "answer_questions.py", *arguments)
    out = capsys.readouterr().out
    assert "where is Ann ?  " in out
    assert (tmp_path / "run" / "artifact" / "card.json").is_file()


@pytest.mark.slow
def test_train_tinybert_shows_what_it_learned(monkeypatch, capsys):
    run(monkeypatch, "train_tinybert.py")
    lines = [line for line in capsys.readouterr().out.splitlines() if "unseen texts:" in line]
    shown = [dict(re.findall(r"(\w+) ([\d.]+)", line)) for line in lines]
    assert len(shown) == 2
    for scores in shown:
        assert float(scores["accuracy"]) > 1.5 * float(scores["unigram_accuracy"])


def test_train_tinybert(monkeypatch, capsys):
    run(monkeypatch, "train_tinybert.py", "--steps", "2")
    out = capsys.readouterr().out
    assert out.count("unseen texts: loss ") == 2
    assert out.count("unigram_accuracy") == 2
    assert out.count("[SEP]") >= 2
    assert "photo frame glass broken on arrival colombo" in out
