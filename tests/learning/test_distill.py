"""Whole trainings on tiny models: they learn, resume after a kill, and refuse bad teachers."""

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

import trainings
from tinybert.distill import recipe as recipes
from tinybert.distill import seq2seq_recipe
from tinybert.distill.folder import open_folder
from tinybert.distill.task import distill, teach
from tinybert.errors import ConfigError, DataError, UnsupportedModelError


def run(settings, **more):
    return distill(recipes.load(None, settings | more), lambda _: None)


def weights(folder):
    return load_file(Path(folder) / "model.safetensors")


def log(folder, stage):
    return json.loads((folder / "stages" / stage / "log.json").read_text())


def test_a_student_learns_from_a_teacher(settings):
    folder = run(settings, **{"layer_stage.attention": 1.0, "layer_stage.embedding": 1.0})
    about = json.loads((folder / "run.json").read_text())
    assert about["dev"]["teacher"]["accuracy"] > 0.8
    assert about["dev"]["student"]["accuracy"] > 0.7
    student = AutoModelForSequenceClassification.from_pretrained(folder / "student")
    assert student.config.num_hidden_layers == 2
    assert list(student.config.id2label.values()) == ["bad", "good", "odd"]
    first, last = ([row for row in log(folder, "layer") if "hidden/1" in row][i] for i in (0, -1))
    parts = ("hidden/1", "hidden/2", "attention/1", "attention/2")
    assert sum(last[part] for part in parts) < sum(first[part] for part in parts) / 2
    answers = [row["prediction"] for row in log(folder, "prediction") if "prediction" in row]
    half = len(answers) // 2
    assert sum(answers[half:]) / len(answers[half:]) < sum(answers[:half]) / half


def test_same_seed_same_student_and_other_seed_another(taught, tmp_path):
    first = weights(run(taught) / "student")
    again = weights(run(taught, out=str(tmp_path / "again")) / "student")
    other = weights(run(taught, out=str(tmp_path / "other"), seed=1) / "student")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_further_students_read_the_teachers_outputs_from_disk(taught, tmp_path):
    plain = run(taught | {"student.layers": 3, "out": str(tmp_path / "plain")})
    shutil.rmtree(tmp_path / "cache")
    run(taught)

    def said(**changes):
        lines = []
        distill(recipes.load(None, taught | changes), lines.append)
        return lines

    same = said(out=str(tmp_path / "same"), **{"prediction_stage.epochs": 1})
    assert len([line for line in same if "read from" in line]) == 2
    assert not [line for line in same if "computing" in line]
    other = said(out=str(tmp_path / "other"), **{"student.layers": 3})
    layer = [line for line in other if "teacher outputs" in line and "hidden" in line]
    assert "teacher_logits, hidden_4 of 96 texts read" in layer[0]
    assert "computing hidden_1, hidden_3 of 96 texts" in layer[1]
    first, second = weights(tmp_path / "other" / "student"), weights(plain / "student")
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-4, rtol=1e-3, msg=name)


def test_a_stage_may_see_fewer_rows(taught):
    folder = run(taught, **{"layer_stage.rows": 32})
    last = [row["step"] for row in log(folder, "layer")][-1]
    assert last == 2 * 32 / 16


def test_a_stage_that_makes_it_worse_is_undone(taught):
    said = []
    wild = {"prediction_stage.learning_rate": 5.0, "prediction_stage.epochs": 1}
    run = distill(recipes.load(None, taught | wild), said.append)
    (line,) = (line for line in said if "the stage's start is kept" in line)
    before, after = (float(word) for word in re.findall(r"\d\.\d{3}", line))
    assert before > after
    found = json.loads((run / "run.json").read_text())["dev"]["student"]["accuracy"]
    assert found == pytest.approx(before, abs=5e-4)
    words = load_file(run / "student" / "model.safetensors")
    assert all(value.isfinite().all() for value in words.values())
    shutil.rmtree(run / "student")
    distill(recipes.load(None, taught | wild), said.append)
    again = load_file(run / "student" / "model.safetensors")
    assert all(torch.equal(words[name], again[name]) for name in words)


def test_a_run_killed_in_every_stage_ends_with_the_same_student(
    settings, tmp_path, kill_at_checkpoint
):
    slow = {
        "teacher.epochs": 5,
        "layer_stage.epochs": 5,
        "prediction_stage.epochs": 5,
        "out": str(tmp_path / "whole"),
    }
    whole = weights(run(settings, **slow) / "student")
    killed = settings | slow | {"out": str(tmp_path / "killed")}
    for stage in ("teach", "layer", "prediction"):
        kill_at_checkpoint(trainings.distilled, killed, tmp_path / "killed" / "stages" / stage)
    resumed = weights(distill(recipes.load(None, killed), lambda _: None) / "student")
    assert whole.keys() == resumed.keys()
    for name in whole:
        torch.testing.assert_close(resumed[name], whole[name], atol=0, rtol=0, msg=name)


def test_half_written_checkpoint_is_passed_over_and_a_finished_run_stays(settings):
    half = Path(settings["out"]) / "stages" / "layer" / "checkpoint-999"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    folder = run(settings)
    assert not half.exists()
    times = {p: p.stat().st_mtime_ns for p in (folder / "stages").rglob("final.safetensors")}
    assert {path.parent.name for path in times} == {"teach", "layer", "prediction"}
    run(settings, **{"ship.max_flips": 0.25})
    assert times == {
        p: p.stat().st_mtime_ns for p in (folder / "stages").rglob("final.safetensors")
    }
    assert recipes.load(folder / "recipe.toml").ship.max_flips == 0.25
    with pytest.raises(
        ConfigError, match=r"other settings \(student\.layers\); choose another --out"
    ):
        run(settings, **{"student.layers": 3})


def test_a_command_refused_before_the_training_may_be_corrected(settings, tmp_path):
    with pytest.raises(DataError, match="has no column `mesage`"):
        run(settings, **{"data.text": "mesage"})
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["recipe.toml"]
    folder = open_folder(recipes.load(None, settings))
    assert recipes.load(folder / "recipe.toml").data.text is None
    (folder / "stages").mkdir()
    (folder / "stages" / "made.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"other settings \(data\.text\)"):
        open_folder(recipes.load(None, settings | {"data.text": "text"}))


def test_a_writer_may_search_otherwise(tmp_path):
    given = {"out": str(tmp_path), "data.path": "pairs.tsv", "task": "summarization"}
    open_folder(seq2seq_recipe.load(None, given))
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "made.json").write_text("{}")
    open_folder(seq2seq_recipe.load(None, given | {"search.truncation": True, "search.beams": 2}))
    with pytest.raises(ConfigError, match=r"other settings \(targets\.beams\)"):
        open_folder(seq2seq_recipe.load(None, given | {"targets.beams": 2}))


def test_narrow_student_with_projections_ships_none_of_them(taught):
    folder = run(
        taught,
        **{
            "student.hidden": 16,
            "student.heads": 4,
            "layer_stage.hidden": 1.0,
            "layer_stage.attention": 1.0,
            "layer_stage.embedding": 1.0,
        },
    )
    names = weights(folder / "student").keys()
    assert not [name for name in names if "projection" in name]
    final = load_file(folder / "stages" / "layer" / "final.safetensors")
    assert final["projections.0"].shape == (16, 32)
    assert not torch.equal(final["projections.1"], final["projections.2"])


def test_regression_and_pairs(settings, tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    for split, count in (("train", 96), ("dev", 24)):
        rows = [
            f"{'fine' if i % 3 else 'awful'} film,{'great' if i % 2 else 'dull'} story,{(i % 3 > 0) + (i % 2) + 0.5}"
            for i in range(count)
        ]
        (folder / f"{split}.csv").write_text("sentence1,sentence2,score\n" + "\n".join(rows))
    more = {"teacher.epochs": 20, "prediction_stage.epochs": 10}
    out = run(settings, **more, **{"data.source": str(folder)})
    about = json.loads((out / "run.json").read_text())
    assert about["task"] == "regression"
    assert about["pair"]
    assert about["dev"]["student"]["pearson"] > 0.8


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"student.layers": 7}, "layers is 7; wanted 1 to 4"),
        ({"student.hidden": 48}, "hidden is 48; wanted 1 to 32"),
        ({"student.heads": 3}, "hidden 32 is not a multiple of heads 3"),
        ({"student.mapping": [1, 9]}, r"mapping \[1, 9\] leaves the teacher; wanted 1 to 4"),
        ({"student.embedding": 32}, "embedding is 32; wanted 2 to 31, below the hidden size"),
        (
            {"student.embedding": 15, "ship.table_bits": 4},
            "word embeddings are 15 wide; wanted an even",
        ),
        ({"pruning.intermediate": 64}, "pruning.intermediate is 64; wanted below 64"),
        ({"pruning.heads": 4}, "pruning.heads is 4; wanted below 4"),
    ],
)
def test_students_that_cannot_be_made_are_refused_before_the_run(taught, wrong, message):
    with pytest.raises(ConfigError, match=message):
        distill(recipes.load(None, taught | wrong))
    assert not Path(taught["out"]).exists()


def test_bad_teachers_are_refused_with_every_reason(settings, tmp_path):
    folder = run(settings)
    teacher = AutoModelForSequenceClassification.from_pretrained(folder / "teacher")
    bad = tmp_path / "bad"
    teacher.config.id2label = {0: "good", 1: "bad", 2: "odd"}
    teacher.resize_token_embeddings(20)
    teacher.save_pretrained(bad)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bad / name).write_bytes((folder / "teacher" / name).read_bytes())
    more = {"teacher.model": str(bad), "out": str(tmp_path / "refused"), "max_length": 64}
    with pytest.raises(ConfigError) as refusal:
        run(settings, **more)
    for reason in (
        "pieces, its embeddings 20 rows",
        "max_length is 64, it takes 40",
        "another order",
    ):
        assert reason in str(refusal.value)
    files = {path.name for path in (tmp_path / "refused").rglob("*") if path.is_file()}
    assert files == {"recipe.toml", "texts.sha256"}


def test_untrained_teacher_is_refused(settings, tmp_path, encoder):
    teacher = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=3)
    torch.nn.init.zeros_(teacher.classifier.weight)
    teacher.save_pretrained(tmp_path / "fresh")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "fresh" / name).write_bytes((encoder / name).read_bytes())
    with pytest.raises(ConfigError, match=r"majority class alone has 0\.333; fine-tune it first"):
        run(settings, **{"teacher.model": str(tmp_path / "fresh")})


def test_pickled_weights_are_not_read(settings, encoder):
    (encoder / "model.safetensors").rename(encoder / "pytorch_model.bin")
    with pytest.raises(UnsupportedModelError, match="pickled weights are not read"):
        run(settings)


def test_teach_gives_a_plain_folder(settings):
    folder = teach(recipes.load(None, settings), lambda _: None)
    assert AutoModelForSequenceClassification.from_pretrained(folder).config.num_labels == 3


def test_frozen_layers_of_a_teacher_stay(settings, encoder):
    few = settings | {"teacher.epochs": 1, "teacher.freeze": 2, "teacher.dropout": 0.0}
    taught, start = weights(teach(recipes.load(None, few), lambda _: None)), weights(encoder)
    for name, weight in start.items():
        still = name.startswith(("embeddings.", "encoder.layer.0.", "encoder.layer.1."))
        assert torch.equal(taught[f"bert.{name}"], weight) == still, name
    with pytest.raises(ConfigError, match=r"teacher\.freeze is 4; the model has 4 layers"):
        teach(recipes.load(None, few | {"teacher.freeze": 4, "out": settings["out"] + "2"}))


def test_mean_of_all_tokens_is_one_more_layer(settings):
    few = settings | {"teacher.epochs": 1, "teacher.pooling": "mean"}
    taught = AutoModelForSequenceClassification.from_pretrained(
        teach(recipes.load(None, few), lambda _: None)
    )
    assert taught.config.num_hidden_layers == len(taught.bert.encoder.layer) == 5


def test_crops_are_passages_that_only_the_teacher_labels():
    from datasets import Dataset

    from tinybert.distill.crops import add_crops

    texts = ["one two three four five six seven eight", "短信里有很多很多的字没有空格", "two words"]
    train = Dataset.from_dict({"text": texts, "label": [0, 1, 0], "line": [1, 2, 3]})
    rows = add_crops(train, 4, seed=0)
    assert rows["text"][:3] == texts
    added = [row for row in rows if row["passage"]]
    assert added
    assert all(row["text"] in texts[row["line"] - 1] for row in added)
    assert all(row["label"] is None for row in added)
    assert len({row["text"] for row in added}) == len(added)
    assert add_crops(train, 4, seed=0)["text"][:] == rows["text"][:]


def test_two_processes_train_one_student(settings, tmp_path, start):
    """Dropout uses up their generators unequally; they share the rows of every epoch all the same."""
    more = {"out": str(tmp_path / "two"), "ship.baselines": True, "teacher.epochs": 14}
    more |= {"augment.source": "embeddings", "augment.copies": 1, "augment.p": 1.0}
    more |= {f"{part}.batch_size": 8 for part in ("teacher", "layer_stage", "prediction_stage")}
    process = start(trainings.together, settings | more, tmp_path)
    process.join(240)
    said = (tmp_path / "said-0").read_text()
    assert process.exitcode == 0, said[-3000:]
    assert said.count("layer stage:") == 1
    assert "stage" not in (tmp_path / "said-1").read_text()
    about = json.loads((tmp_path / "two" / "run.json").read_text())
    assert about["dev"]["teacher"]["accuracy"] > 0.8
    assert about["dev"]["student"]["accuracy"] > 0.7
    texts = 96 + len((tmp_path / "two" / "augmented.jsonl").read_text().splitlines())
    steps = [row["step"] for row in log(tmp_path / "two", "layer")]
    assert steps[-1] == 2 * math.ceil(math.ceil(texts / 8) / 2)
    assert [path.name for path in tmp_path.glob("augmented-*")] == ["augmented-0"]
    assert (tmp_path / "two" / "label_only" / "model.safetensors").is_file()
    ranks = [json.loads((tmp_path / f"seen-{rank}").read_text()) for rank in (0, 1)]
    for epoch in range(3):
        rows = [row for seen in ranks for batch in seen[6 * epoch : 6 * epoch + 6] for row in batch]
        assert len(rows) == len({tuple(row) for row in rows}) == 96


def test_wrong_values_are_told_once_with_all_that_they_may_be():
    with pytest.raises(ConfigError) as raised:
        recipes.load(None, {"student.vocabulary": "few", "student.laers": 2, "max_length": 0})
    told = str(raised.value)
    assert "unknown setting `student.laers`; did you mean `layers`?" in told
    assert told.count("`student.vocabulary` is 'few'") == told.count("`student.vocabulary") == 1
    assert "valid integer" in told
    assert "or input should be 'texts'" in told
    assert "`max_length` is 0" in told
