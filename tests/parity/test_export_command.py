"""What is shipped answers as its run does, and an older one is not lost on the way."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from typer.testing import CliRunner

from small_writers import save_random_writer
from tiny_models import save_model
from tinybert import runtime
from tinybert.artifact import check_target, new_folder, read_card, write_card
from tinybert.cli import app
from tinybert.data import TaskData
from tinybert.distill.writers import load_writer, open_vocabulary
from tinybert.distill.writing import open_model
from tinybert.errors import ConfigError, DataError
from tinybert.runtime.generation import Decoding
from tinybert.ship import plots
from tinybert.ship.evaluate import check_answers
from tinybert.ship.export import export
from tinybert.ship.model_card import write_model_card
from tinybert.ship.verify import verify
from tinybert.ship.writer import export_writer
from tinybert.spans import Reading


def shipped_by_command(*words):
    found = CliRunner().invoke(app, ["export", *map(str, words)])
    assert found.exit_code == 0, found.output


def test_a_writer_of_a_run_answers_as_the_runs_artifact(tmp_path):
    student = tmp_path / "student"
    shutil.move(save_random_writer(tmp_path / "made"), student)
    decoding = Decoding(beams=2, max_tokens=9, no_repeat=2)
    export_writer(
        student, tmp_path / "artifact", task="translation", max_length=20, decoding=decoding,
        split="sentence", teacher="org/large",
    )  # fmt: skip
    (tmp_path / "run.json").write_text("{}")
    shipped_by_command(student, "--to", tmp_path / "again")
    wanted, found = read_card(tmp_path / "artifact"), read_card(tmp_path / "again")
    assert replace(found, files={}) == replace(wanted, files={})
    shipped_by_command(student, "--to", tmp_path / "other", "--task", "summarization")
    assert read_card(tmp_path / "other").generation["split"] == "length"
    shipped_by_command(student, "--to", tmp_path / "web", "--onnx")
    about = json.loads((tmp_path / "web" / "tokenizer_config.json").read_text())
    assert about["model_max_length"] == 20


def test_models_of_a_run_keep_what_its_task_needs(tmp_path):
    save_model(tmp_path / "student", 2, 1, 3, head="span")
    reading = Reading(overlap=6, question_length=5, answer_length=4)
    export(tmp_path / "student", tmp_path / "artifact", max_length=20, reading=reading)
    (tmp_path / "run.json").write_text("{}")
    shipped_by_command(tmp_path / "student", "--to", tmp_path / "again")
    wanted, found = read_card(tmp_path / "artifact"), read_card(tmp_path / "again")
    assert replace(found, files={}) == replace(wanted, files={})
    about = json.loads((tmp_path / "again" / "tokenizer_config.json").read_text())
    assert about["model_max_length"] == 20


def test_an_artifact_beside_is_no_runs(tmp_path):
    for name, labels in (("first", ("delivery", "refund")), ("second", ("bad", "good"))):
        save_model(tmp_path / name, 2, 1, 3, names=labels)
    limit = ["--max-length", "20"]
    shipped_by_command(tmp_path / "first", "--to", tmp_path / "artifact", *limit)
    shipped_by_command(tmp_path / "second", "--to", tmp_path / "other", *limit)
    assert runtime.load(tmp_path / "other").labels == ("bad", "good")


def test_a_writer_whose_folder_has_a_tokenizer_json_alone(tmp_path):
    folder = save_random_writer(tmp_path / "made")
    (folder / "tokenizer_config.json").unlink(missing_ok=True)
    flags = ["--max-length", "20"]
    shipped_by_command(folder, "--to", tmp_path / "web", "--onnx", *flags)
    shipped_by_command(folder, "--to", tmp_path / "a", "--task", "translation", *flags)
    assert len(runtime.load(tmp_path / "a", threads=1)(["the cat"])) == 1


def test_a_reranker_by_command(tmp_path):
    save_model(tmp_path / "model", 1, 1, 3)
    flags = ["--pair", "--task", "ranking", "--max-length", "32"]
    shipped_by_command(tmp_path / "model", "--to", tmp_path / "a", *flags)
    model = runtime.load(tmp_path / "a")
    assert 0 <= model([("film", "good film")])[0] <= 1
    with pytest.raises(DataError, match="passages is one text; wanted a list"):
        model.rank("film", "abc")
    found = CliRunner().invoke(
        app, ["export", str(tmp_path / "model"), "--to", "x", "--task", "translation"]
    )
    assert found.exit_code == 2


def test_sources_of_more_than_a_thousand_tokens_are_read_whole(tmp_path):
    folder = save_random_writer(tmp_path / "long", positions=1500)
    tokenizers = open_vocabulary(folder, (1400, 16))
    write = open_model(load_writer(folder), tokenizers, tmp_path / "model")
    texts = ["a " * 1040 + end for end in ("b " * 80, "c " * 80)]
    assert min(write.lengths(texts)) > 1100
    answer = [tokenizers[1].encode(["a b c"])[0][0][:-1]]
    first, second = (write.log_probabilities([text], answer)[0] for text in texts)
    assert not np.allclose(first, second, atol=1e-4)
    scores = [write([text], Decoding(max_tokens=8))[0][0].score for text in texts]
    assert scores[0] != scores[1]
    first, second = (list(write.stream(text, Decoding(beams=1, max_tokens=8))) for text in texts)
    assert len(first) > 0


def test_an_older_folder_stays_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    target = tmp_path / "a"
    target.mkdir()
    (target / "old").write_text("old")
    rename = Path.rename

    def refuse(self, other):
        if self.name == ".a.partial":
            raise PermissionError(13, "in use")
        return rename(self, other)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(PermissionError), new_folder(target) as partial:
            (partial / "new").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert [path.name for path in target.iterdir()] == ["old"]
    (tmp_path / "current").symlink_to(target)
    with new_folder(tmp_path / "current") as partial:
        (partial / "new").write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "current"]
    assert [path.name for path in target.iterdir()] == ["new"]


def test_what_cannot_be_replaced_as_a_whole_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^\. cannot be replaced as a whole; wanted a folder in"):
        check_target(".")
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda place: Path(place).name == "volume")
    with pytest.raises(ConfigError, match="volume cannot be replaced as a whole"):
        check_target("volume")
    check_target("volume/artifact")


def test_labels_in_another_order_are_not_compared(shipped, tmp_path):
    rows = Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 2], "line": [1, 2, 3]})
    labels = tuple(sorted(read_card(shipped).labels))
    data = TaskData(rows, rows, None, "classification", labels, False, "x", "accuracy")
    place = shutil.copytree(shipped, tmp_path / "a")
    with pytest.raises(DataError, match="wanted the same in the same order"):
        verify(place, shipped.parent / "model", data)
    assert read_card(place) == read_card(shipped)
    nameless = replace(read_card(place), labels=("LABEL_0", "LABEL_1", "LABEL_2"))
    check_answers("a", nameless, data)


def test_only_a_hub_id_is_called_a_base_model(shipped, tmp_path, monkeypatch):
    place = shutil.copytree(shipped, tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "large").mkdir(parents=True)
    named = {"org/large": True, "models/large": False, "~/t/x": False, "runs/a/teacher": False}
    for teacher, said in named.items():
        write_card(place, replace(read_card(place), teacher=teacher))
        assert ("base_model:" in write_model_card(place).read_text()) is said


def test_labels_may_hold_dollars():
    drawn = plots.confusion_matrix([[3, 1], [0, 2]], ["$50_$100", "under_$50_to_$9"], name="Int8")
    assert "$50_$100" in drawn
