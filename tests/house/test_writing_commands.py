"""Commands on models that translate and summarize take such tasks like any other."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import tinybert
from tinybert import cli
from tinybert import writing as command
from tinybert.ship import writing

invoke = CliRunner().invoke


@pytest.fixture
def shown():
    """Return the reports that were shown."""
    return []


@pytest.fixture
def recipes(monkeypatch, shown):
    """Return the recipes that reach the training of a student that writes."""
    seen = []
    monkeypatch.setattr(command, "show_report", lambda path, **_: shown.append(path))
    monkeypatch.setattr(writing, "seq2seq", lambda recipe, *_: seen.append(recipe) or Path("run"))
    return seen


@pytest.mark.parametrize(
    "arguments",
    [
        ["--task", "summarization", "--encoder-layers", "0,2"],
        ["--encoder-layers=0,2", "--task=summarization"],
        ["--recipe", "FILE", "--encoder-layers", "0,2"],
        ["--set", "task=summarization", "--encoder-layers", "0,2"],
    ],
)
def test_distill_makes_students_that_write(recipes, shown, tmp_path, arguments):
    file = tmp_path / "r.toml"
    file.write_text('task = "summarization"\n[student]\nencoder_layers = 3\n')
    named = [str(file) if word == "FILE" else word for word in arguments]
    done = invoke(cli.app, ["distill", *named])
    assert done.exit_code == 0, done.output
    assert shown == [Path("run") / "report.html"]
    assert recipes[0].task == "summarization"
    assert recipes[0].student.encoder_layers == (0, 2)
    tinybert.distill(file, student={"encoder_layers": 1}, seed=3)
    assert (recipes[1].student.encoder_layers, recipes[1].seed) == (1, 3)
    tinybert.distill({"task": "translation", "data.path": "x.tsv"}, out="there")
    assert (recipes[2].task, recipes[2].data.path, recipes[2].out) == (
        "translation",
        "x.tsv",
        "there",
    )
    assert len(recipes) == 3


@pytest.mark.parametrize(("given", "wanted"), [("8000", 8000), ("texts", "texts")])
def test_the_students_vocabulary_is_a_number_or_that_of_its_texts(recipes, given, wanted):
    done = invoke(cli.app, ["seq2seq", "--data", "x.tsv", "--vocabulary", given])
    assert done.exit_code == 0, done.output
    assert recipes[0].student.vocabulary == wanted


def test_distill_of_other_tasks_writes_nothing(recipes, tmp_path):
    file = tmp_path / "r.toml"
    file.write_text("task = [\n")
    for arguments, problem in (
        (["--recipe", str(file)], "is not TOML"),
        (["--recipe", str(tmp_path / "none.toml")], "does not exist"),
        (["--task", "taging", "--data", "helpdesk"], "did you mean `tagging`?"),
    ):
        done = invoke(cli.app, ["distill", *arguments, "--out", str(tmp_path / "run")])
        assert done.exit_code == 2
        assert problem in " ".join(done.stderr.split())
    assert not recipes


def test_the_flag_with_wrong_layers_is_named():
    done = invoke(cli.app, ["seq2seq", "--decoder-layers", "first"])
    assert done.exit_code == 2
    assert "--decoder-layers is `first`; wanted a number, or teacher layers" in done.stderr
