"""GLUE and CLUE tasks by name: columns, labels, splits and metric of the published sets."""

import json

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from sklearn.metrics import matthews_corrcoef

from tinybert import benchmarks, data, metrics
from tinybert.distill import recipe as recipes
from tinybert.errors import DataError

HEADS = {
    "glue/cola": ("sentence",), "glue/mrpc": ("sentence1", "sentence2"),
    "glue/qnli": ("question", "sentence"), "glue/mnli": ("premise", "hypothesis"),
}  # fmt: skip


def published(folder, texts, labels, splits, count=12):
    """Save a data set of a published task's layout."""
    features = Features(
        {name: Value("string") for name in texts}
        | {"label": ClassLabel(names=labels), "idx": Value("int32")}
    )
    made = {}
    for split in splits:
        hidden = split.startswith("test")
        rows = {name: [f"{split} {name} {i}" for i in range(count)] for name in texts}
        rows |= {"label": [-1 if hidden else i % len(labels) for i in range(count)]}
        made[split] = Dataset.from_dict(rows | {"idx": list(range(count))}, features=features)
    DatasetDict(made).save_to_disk(str(folder))
    return folder


@pytest.mark.parametrize("name", HEADS)
def test_a_task_by_name_knows_columns_and_metric(tmp_path, name):
    splits = ["train", "validation", "test"]
    if name == "glue/mnli":
        splits = ["train", "validation_mismatched", "validation_matched", "test_matched"]
    folder = published(tmp_path / "set", HEADS[name], ["no", "yes"], splits)
    found = data.load(folder, task=name)
    task = benchmarks.find(name)
    assert found.metric == task.metric
    assert found.pair == (len(HEADS[name]) == 2)
    assert found.labels == ("no", "yes")
    assert found.test is None
    if name == "glue/mnli":
        assert found.dev["text"][0].startswith("validation_matched premise")
        other = data.load(folder, task="glue/mnli-mm")
        assert other.dev["text"][0].startswith("validation_mismatched premise")


def test_without_a_source_the_named_tasks_own_data_are_loaded(tmp_path, monkeypatch):
    folder = published(tmp_path / "set", ("sentence",), ["0", "1"], ["train", "validation"])
    asked = []

    def load_dataset(name, config):
        asked.append((name, config))
        return DatasetDict.load_from_disk(str(folder))

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert data.load(task="glue/sst2").name == "nyu-mll/glue:sst2"
    assert asked == [("nyu-mll/glue", "sst2")]
    assert data.load().name == "helpdesk (en)"


def test_rows_without_agreement_and_a_test_split_without_labels_are_left_out(tmp_path):
    for split in ("train", "dev"):
        rows = [
            f'{{"sentence1": "{split} {i}", "sentence2": "b", "label": "{label}"}}'
            for i, label in enumerate(["entailment", "neutral", "-", "contradiction"] * 3)
        ]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(rows))
    (tmp_path / "test.jsonl").write_text('{"sentence1": "a", "sentence2": "b"}\n')
    found = data.load(tmp_path, task="clue/ocnli")
    assert found.labels == ("contradiction", "entailment", "neutral")
    assert found.test is None
    assert "3 train rows labelled `-` left out" in found.notes
    assert "test has no column `label` and is left out" in found.notes


def test_the_largest_of_several_trains_is_read(tmp_path):
    for count in (1, 3, 10, 50):
        rows = [{"sentence1": f"{count}", "sentence2": "b", "label": i % 2} for i in range(4)]
        text = "\n".join(json.dumps(row) for row in rows)
        (tmp_path / f"train.{count}k.json").write_text(text)
        (tmp_path / "dev.json").write_text(text)
    assert set(data.load(tmp_path, task="clue/ocnli").train["text"]) == {"50"}


def test_regression_by_name(tmp_path):
    rows = "\n".join(f"{i}.0\tone {i}\ttwo {i}" for i in range(6))
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text(f"label\tsentence1\tsentence2\n{rows}\n")
    found = data.load(tmp_path, task="glue/stsb")
    assert (found.task, found.metric) == ("regression", "pearson")


def test_the_metric_survives_saving(tmp_path):
    folder = published(tmp_path / "set", ("sentence",), ["0", "1"], ["train", "validation"])
    data.save(data.load(folder, task="glue/cola"), tmp_path / "run" / "data")
    assert data.load_saved(tmp_path / "run").metric == "matthews"


def test_matthews_is_the_correlation_of_answers():
    targets = np.array([0, 1, 1, 0, 1, 0])
    logits = np.array([[1, 0], [0, 1], [1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.float32)
    wanted = matthews_corrcoef(targets, logits.argmax(1))
    assert metrics.compute("classification", logits, targets)["matthews"] == wanted


def test_misspelt_task_is_named():
    with pytest.raises(DataError, match=r"no task `glue/mrcp`.*did you mean `glue/mrpc`\?"):
        data.load(task="glue/mrcp")
    with pytest.raises(DataError, match=r"task is `regresion`.*did you mean `regression`\?"):
        data.load(task="regresion")


def test_recipe_takes_a_task_by_name():
    assert recipes.load(None, {"data.task": "glue/mrpc"}).data.source is None


OFFICIAL = {
    "matthews": {"glue/cola": 1},
    "f1": {"glue/mrpc": 2, "glue/qqp": 2},
    "pearson": {"glue/stsb": 2},
    "answer_f1": {"clue/cmrc2018": 2, "clue/drcd": 2},
    "accuracy": {
        "glue/sst2": 1, "glue/mnli": 2, "glue/mnli-mm": 2, "glue/qnli": 2, "glue/rte": 2,
        "glue/wnli": 2, "clue/afqmc": 2, "clue/tnews": 1, "clue/iflytek": 1, "clue/cmnli": 2,
        "clue/ocnli": 2,
    },
}  # fmt: skip


def test_every_task_has_its_official_metric_and_number_of_texts():
    wanted = {name: (m, n) for m, tasks in OFFICIAL.items() for name, n in tasks.items()}
    tasks = {name: benchmarks.find(name) for name in benchmarks.NAMES}
    assert {n: (t.metric, 1 + (t.text2 is not None)) for n, t in tasks.items()} == wanted
    for name, task in tasks.items():
        suite, config = name.split("/")
        assert task.hub.split("/")[1] == f"{suite}:{config.removesuffix('-mm')}"


OWN = {
    "glue/mrpc": "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n{label}\t1\t2\tone {i}\ttwo {i}\n",
    "glue/qqp": "id\tquestion1\tquestion2\tis_duplicate\n{i}\tone {i}\ttwo {i}\t{label}\n",
    "glue/stsb": "index\tsentence1\tsentence2\tscore\n{i}\tone {i}\ttwo {i}\t{i}.5\n",
    "glue/mnli": "index\tlabel1\tsentence1\tsentence2\tgold_label\n{i}\tx\tone {i}\ttwo {i}\t{label}\n",
}


@pytest.mark.parametrize("name", OWN)
def test_the_files_of_glue_itself_are_read_by_their_own_columns(tmp_path, name):
    header, row = OWN[name].splitlines()
    splits = {"train": 0, "dev": 10}
    if name == "glue/mnli":
        splits = {"train": 0, "dev_mismatched": 20, "dev_matched": 10}
    for split, first in splits.items():
        rows = [row.format(i=first + i, label=i % 2) for i in range(6)]
        (tmp_path / f"{split}.tsv").write_text("\n".join([header, *rows]) + "\n")
    found = data.load(tmp_path, task=name)
    assert list(found.dev["text"]) == [f"one {10 + i}" for i in range(6)]
    assert list(found.dev["text2"]) == [f"two {10 + i}" for i in range(6)]
    assert found.metric == benchmarks.find(name).metric
    if name == "glue/mnli":
        assert data.load(tmp_path, task="glue/mnli-mm").dev["text"][0] == "one 20"
    named = data.load(tmp_path, task=name, text=row_of(header, row, "two"), text2=row_of(header, row, "one"))  # fmt: skip
    assert named.dev["text"][0] == "two 10"


def row_of(header, row, start):
    """Return the column whose value starts so."""
    cells = dict(zip(row.split("\t"), header.split("\t"), strict=True))
    return next(name for cell, name in cells.items() if cell.startswith(start))


def test_the_files_of_clue_itself_are_json_lines_under_another_ending(tmp_path):
    for split in ("train", "dev"):
        rows = [
            f'{{"label": "{100 + i % 2}", "label_desc": "x", "sentence": "{split} 新闻 {i}"}}'
            for i in range(6)
        ]
        (tmp_path / f"{split}.json").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "test.json").write_text('{"id": 0, "sentence": "a"}\n')
    (tmp_path / "labels.json").write_text('{"label": "100", "label_desc": "x"}\n')
    found = data.load(tmp_path, task="clue/tnews")
    assert found.labels == ("100", "101")
    assert found.dev["text"][0] == "dev 新闻 0"
    assert "test has no column `label` and is left out" in found.notes
    assert len(data.load_rows(tmp_path / "dev.json", task="classification").train) == 6
    (tmp_path / "train.json").write_text('{"label": "1", "sentence": "a"}\n{half\n')
    with pytest.raises(DataError, match=r"train\.json line 2: not JSON"):
        data.load(tmp_path, task="clue/tnews")


@pytest.mark.parametrize("name", ["clue/cmrc2018", "clue/drcd"])
def test_questions_by_name(tmp_path, name):
    for split in ("train", "dev"):
        asked = [
            {
                "context": f"{split}在北京{i}",
                "qas": [
                    {"id": str(i), "question": "在哪", "answers": [{"text": "北京", "answer_start": len(split) + 1}]}
                ],
            }
            for i in range(4)
        ]  # fmt: skip
        layout = {"data": [{"title": "x", "paragraphs": asked}]}
        (tmp_path / f"{split}.json").write_text(json.dumps(layout), encoding="utf-8")
    found = data.load(tmp_path, task=name)
    assert (found.task, found.metric) == ("answering", "answer_f1")
    assert found.dev["text2"][0] == "dev在北京0"
