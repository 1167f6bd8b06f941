"""Measuring a model on a file of its own: every row, with the model's labels."""

import shutil

import pytest
from transformers import AutoModel
from typer.testing import CliRunner

import tinybert
from tiny_models import save_model
from tinybert.cli import app
from tinybert.data import load_rows
from tinybert.ship import evaluate as measuring


def evaluate(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nlate parcel,parcel\nmy card,refund\nrefund please,refund\n")
    return path


def test_all_rows_count_and_labels_may_be_missing(shipped, rows, tmp_path):
    artifact = tmp_path / "artifact"
    shutil.copytree(shipped, artifact)
    done = evaluate(artifact, "--data", rows)
    assert done.exit_code == 0, done.output
    answers = tinybert.load(artifact)(["late parcel", "my card", "refund please"])
    right = sum(a.label == b for a, b in zip(answers, ("parcel", "refund", "refund"), strict=True))
    assert f"{right / 3:.4f}" in done.output
    labels = tinybert.load(artifact).labels
    assert "test_accuracy" not in tinybert.load(artifact).card.metrics
    found = measuring.evaluate(artifact, load_rows(rows, task="auto", labels=labels), "test")
    assert tinybert.load(artifact).card.metrics["test_accuracy"] == found["accuracy"]
    assert found["accuracy"] == pytest.approx(right / 3)


def test_a_label_the_model_lacks_is_named(shipped, rows):
    rows.write_text("text,label\nlate parcel,parcels\n")
    done = evaluate(shipped, "--data", rows)
    assert done.exit_code == 2
    assert "rows.csv line 2: label `parcels` is not one of the 3 labels" in done.output


def test_a_model_without_a_head_of_its_own_is_refused(rows, tmp_path):
    save_model(tmp_path / "model", 2, 1, seed=0, names=("parcel", "refund"))
    model = AutoModel.from_pretrained(tmp_path / "model")
    shutil.copytree(tmp_path / "model", tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "bare")
    for done in (
        evaluate(tmp_path / "bare", "--data", rows),
        CliRunner().invoke(app, ["export", str(tmp_path / "bare"), "--to", str(tmp_path / "a")]),
    ):
        assert done.exit_code == 2
        assert "has no head of its own (classifier." in " ".join(done.stderr.split())
    assert not (tmp_path / "a").exists()


def test_a_model_in_a_run_reads_as_much_as_the_run_did(rows, tmp_path, monkeypatch):
    save_model(tmp_path / "model", 2, 1, seed=0, names=("parcel", "refund"))
    seen, logits_of = [], measuring.logits_of

    def watched(*arguments, max_length):
        seen.append(max_length)
        return logits_of(*arguments, max_length=max_length)

    monkeypatch.setattr(measuring, "logits_of", watched)
    assert evaluate(tmp_path / "model", "--data", rows).exit_code == 0
    (tmp_path / "run.json").write_text('{"max_length": 9}')
    assert evaluate(tmp_path / "model", "--data", rows).exit_code == 0
    assert evaluate(tmp_path / "model", "--data", rows, "--max-length", 7).exit_code == 0
    assert seen == [128, 9, 7]


def test_a_task_that_is_named_must_be_the_models(shipped, rows, tmp_path):
    for task, message in (
        ("regression", "task is `regression`; "),
        ("glue/nope", "no task `glue/nope`; wanted one of glue/cola"),
    ):
        for more in ([], ["--data", rows]):
            done = evaluate(shipped, "--task", task, *more)
            assert done.exit_code == 2
            assert message in " ".join(done.stderr.split())
    save_model(tmp_path / "model", 2, 1, seed=0, names=("parcel", "refund"))
    done = evaluate(tmp_path / "model", "--data", rows, "--task", "classification")
    assert done.exit_code == 0, done.output
    done = evaluate(tmp_path / "model", "--task", "glue/mrpc")
    assert done.exit_code == 2
    assert "nyu-mll/glue" in done.stderr


@pytest.mark.parametrize("names", [("parcel", "refund"), None])
def test_a_folder_without_names_takes_the_files(rows, tmp_path, names):
    save_model(tmp_path / "model", 2, 1, seed=0, names=names)
    done = evaluate(tmp_path / "model", "--data", rows)
    assert done.exit_code == 0, done.output
    assert "accuracy" in done.output
