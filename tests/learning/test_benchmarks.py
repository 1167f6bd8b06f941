"""GLUE and CLUE tasks by name: columns, labels, splits and metric of the published sets."""

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
