"""Any number of labels a text: data, metrics, distillation, artifact, report."""

import csv
import io
import json

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

import tinybert
from tinybert import baselines, metrics
from tinybert import data as data_room
from tinybert.artifact import read_card, write_card
from tinybert.console import read_data
from tinybert.data import TaskData
from tinybert.distill import recipe as recipes
from tinybert.distill.infer import load_classifier
from tinybert.distill.label import label_rows, write_rows
from tinybert.errors import ArtifactError, ConfigError, DataError
from tinybert.runtime import MultiLabelClassifier, predict
from tinybert.ship.pipeline import distill
from tinybert.text import Tokenizer

LABELS = ("bad", "good", "odd")


def texts(rows):
    return [dict(zip(("text", "label"), row, strict=True)) for row in rows]


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def test_lists_need_no_flag(tmp_path):
    rows = texts([("a", ["x", "y"]), ("b", []), ("c", ["y", "y"]), ("d", ["x"])])
    found = data_room.load(write(tmp_path / "rows.jsonl", rows), dev_fraction=0.5)
    assert (found.task, found.labels, found.metric) == ("multilabel", ("x", "y"), "micro_f1")
    there = {r["text"]: r["label"] for split in (found.train, found.dev) for r in split}
    assert there == {"a": [1, 1], "b": [0, 0], "c": [0, 1], "d": [1, 0]}


@pytest.mark.parametrize("separator", ["|", "; "])
def test_labels_in_one_cell(tmp_path, separator):
    path = tmp_path / "rows.csv"
    path.write_text(f"text,label\na,x{separator}y\nb,\nc,y\nd,x\n")
    found = data_room.load(
        path, task="multilabel", label_separator=separator, dev_fraction=0.5, seed=1
    )
    there = {r["text"]: r["label"] for split in (found.train, found.dev) for r in split}
    assert there == {"a": [1, 1], "b": [0, 0], "c": [0, 1], "d": [1, 0]}


def test_columns_of_zero_and_one(tmp_path):
    (tmp_path / "train.csv").write_text("text,toxic,threat\na,1,1\nb,0,0\nc,0,1\nd,1,0\n")
    (tmp_path / "dev.csv").write_text("text,toxic,threat\ne,0,1\nf,1,0\n")
    (tmp_path / "test.csv").write_text("text\ng\n")
    found = data_room.load(tmp_path, label="threat, toxic")
    assert (found.task, found.labels) == ("multilabel", ("threat", "toxic"))
    assert found.train["label"][:] == [[1, 1], [0, 0], [1, 0], [0, 1]]
    assert found.test is None
    (tmp_path / "dev.csv").write_text("text,toxic,threat\ne,0,1\nf,2,0\n")
    with pytest.raises(DataError, match=r"dev\.csv line 3: column `toxic` is '2'; wanted 0 or 1"):
        data_room.load(tmp_path, label="threat,toxic")
    with pytest.raises(DataError, match=r"has no column `threats`; .* did you mean `threat`"):
        data_room.load(tmp_path, label="toxic,threats")


def test_numbered_labels_of_a_data_set(tmp_path):
    names = ["joy", "anger", "none"]
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=names))})
    rows = Dataset.from_dict({"text": list("abcd"), "labels": [[0, 2], [1], [], [2]]}, features)
    DatasetDict(train=rows, validation=rows).save_to_disk(tmp_path / "saved")
    found = data_room.load(tmp_path / "saved")
    assert (found.task, found.labels) == ("multilabel", tuple(names))
    assert found.dev["label"][:] == [[1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_labels_that_train_lacks(tmp_path):
    write(tmp_path / "train.jsonl", texts([("a", ["apple", "pear"]), ("b", [])]))
    write(tmp_path / "dev.jsonl", texts([("c", ["pear"]), ("d", ["pear", "quinoa"])]))
    found = data_room.load(tmp_path)
    assert found.dev["text"][:] == ["c"]
    assert "1 dev rows of classes that train lacks left out: `quinoa` (1)" in found.notes
    write(tmp_path / "dev.jsonl", texts([("c", ["pear"]), ("d", ["pear", "aple"])]))
    with pytest.raises(DataError, match=r"dev\.jsonl line 2: label `aple` is not .*nearest: `app"):
        data_room.load(tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[], []], "no label in train; wanted at least one label"),
        ([["x"], ["x"]], "every train row has the label"),
    ],
)
def test_labels_that_teach_nothing(tmp_path, labels, message):
    rows = texts(zip("abcd", labels * 2, strict=True))
    with pytest.raises(DataError, match=message):
        data_room.load(write(tmp_path / "rows.jsonl", rows))


def test_metrics_by_hand():
    logits = np.array([[2.0, -1, 3], [-1, -2, 1], [0, 4, -3]])
    gold = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0]])
    found = metrics.compute("multilabel", logits, gold)
    assert found["micro_f1"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    assert found["exact"] == pytest.approx(1 / 3)
    sure = metrics.calibration(np.array([[20.0, -20.0], [20.0, 20.0]]), np.array([[1, 0], [1, 0]]))
    assert sure.error == pytest.approx(0.25)


def split(rows):
    return Dataset.from_dict(
        {"text": [text for text, _ in rows], "label": [list(map(float, on)) for _, on in rows]}
    )


def test_baselines():
    train = split([("red", (1, 0, 1)), ("blue", (0, 0, 1)), ("red hat", (1, 0, 1))] * 4)
    dev = split([("a red one", (1, 0, 1)), ("a blue one", (0, 0, 1))])
    data = TaskData(train, dev, None, "multilabel", LABELS, False, "colours", "micro_f1")
    assert baselines.majority(data)["exact"] == 0.5
    logits = baselines.tfidf(data)
    assert metrics.compute("multilabel", logits, np.asarray(dev["label"]))["exact"] == 1
    rare = TaskData(
        split([("red", (0, 1, 0)), ("blue", (0, 0, 0)), ("grey", (0, 0, 0))]),
        dev, None, "multilabel", LABELS, False, "colours", "micro_f1",
    )  # fmt: skip
    assert baselines.majority(rare)["micro_f1"] == 0


@pytest.fixture
def several(settings, wide_encoder, tmp_path):
    """Texts that carry the labels of the words in them."""
    words = {"good": ("fine", "great"), "bad": ("awful", "dull"), "odd": ("blue", "seven")}
    place = tmp_path / "several"
    place.mkdir()
    for name, count, seed in (("train", 160, 0), ("dev", 40, 1), ("test", 40, 2)):
        random = np.random.default_rng(seed)
        rows = []
        for _ in range(count):
            labels = [label for label in words if random.random() < 0.4]
            parts = [*(random.choice(words[label]) for label in labels), "film", "story"]
            rows.append({"text": " ".join(random.permutation(parts)), "label": labels})
        write(place / f"{name}.jsonl", rows)
    return settings | {
        "data.source": str(place),
        "teacher.model": str(wide_encoder(2)),
        "student.layers": 1,
        "student.crops": 1,
        "ship.max_flips": 0.2,
        "ship.max_drop": 0.1,
        "teacher.epochs": 10,
        "prediction_stage.epochs": 4,
        "layer_stage.epochs": 2,
    }


@pytest.mark.usefixtures("untimed")
def test_from_labels_to_answers(several, tmp_path):
    run = distill(recipes.load(None, several), lambda _: None)
    about = json.loads((run / "run.json").read_text())
    assert about["task"] == "multilabel"
    assert about["dev"]["teacher"]["micro_f1"] > 0.9
    assert about["dev"]["student"]["micro_f1"] > 0.85
    model = tinybert.load(run / "artifact")
    assert isinstance(model, MultiLabelClassifier)
    assert model.labels == LABELS
    both, none = model(["great dull film story", "film story"])
    assert (set(both.labels), none.labels) == ({"good", "bad"}, ())
    assert list(both.scores) == list(LABELS)
    assert [both.scores[name] for name in both.labels] == sorted(
        (both.scores[name] for name in both.labels), reverse=True
    )
    assert model(["film"], threshold=0)[0].labels != ()
    with pytest.raises(ConfigError, match=r"threshold is 1\.5; wanted 0 to 1"):
        model(["film"], threshold=1.5)
    assert model([]) == []

    out = io.StringIO()
    predict(model, ["great dull film story", "film story"], out=out, format="csv")
    first, second = csv.DictReader(io.StringIO(out.getvalue()))
    assert set(first["labels"].split("|")) == {"good", "bad"}
    assert len(first["scores"].split("|")) == 2
    assert (second["labels"], second["scores"]) == ("", "")
    out = io.StringIO()
    predict(model, ["film story"], out=out, threshold=0.0)
    assert set(out.getvalue().split("\t")[1].split("|")) == set(LABELS)
    out = io.StringIO()
    predict(model, ["film story"], out=out, format="jsonl")
    assert json.loads(out.getvalue())["labels"] == []

    found = json.loads((run / "report.json").read_text())
    assert found["metric"] == "micro_f1"
    assert [row["system"] for row in found["systems"]] == [
        "majority", "tfidf", "teacher", "student", "artifact",
    ]  # fmt: skip
    assert {row["label"] for row in found["recalls"]} == set(LABELS)
    assert "confusion" not in found
    card = read_card(run / "artifact")
    assert (card.task, card.parity["metric"]) == ("multilabel", "micro_f1")
    assert "any number of 3 labels" in (run / "artifact" / "README.md").read_text()
    path = tmp_path / "more.csv"
    path.write_text("text,label\ngreat film,good\ndull great film,good|bad\nseven,odd\nx,\n")
    assert read_data(run / "artifact", str(path)).task == "multilabel"

    data = data_room.load_saved(run)
    folder = run / "student"
    labelled = label_rows(
        Dataset.from_dict({"text": ["great dull film story", "film story"]}),
        load_classifier(folder), folder, Tokenizer(folder, max_length=32), data,
        say=lambda _: None,
    )  # fmt: skip
    assert (set(labelled["label"][0]), labelled["label"][1]) == ({"good", "bad"}, [])
    assert all(0.5 < score <= 1 for score in labelled["score"])
    write_rows(labelled, tmp_path / "labelled.csv")
    assert "good" in (tmp_path / "labelled.csv").read_text()


def test_a_card_without_labels(tmp_path):
    card = tinybert.artifact.Card("multilabel", (), False, 16)
    write_card(tmp_path, card)
    with pytest.raises(ArtifactError, match="0 labels; wanted at least 1"):
        read_card(tmp_path)
