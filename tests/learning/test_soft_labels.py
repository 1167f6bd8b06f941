"""Soft labels: read, learned from, and refused where they are none."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tinybert import data as data_room
from tinybert.distill import recipe as recipes
from tinybert.distill.crops import add_crops
from tinybert.distill.infer import load_classifier
from tinybert.distill.label import label_rows
from tinybert.distill.objective import Objective
from tinybert.distill.outputs import Collator, tokenize
from tinybert.distill.recipe import Stage
from tinybert.distill.teach import fine_tune
from tinybert.distill.texts import extend
from tinybert.errors import DataError
from tinybert.ship.pipeline import distill
from tinybert.soft_labels import SOFT
from tinybert.text import Tokenizer

ROWS = [
    {"text": "great film", "label": {"good": 3, "bad": 1}},
    {"text": "dull film", "label": {"bad": 0.9, "odd": None}},
    {"text": "seven", "label": "odd"},
    {"text": "eight", "label": "odd"},
    {"text": "good film", "label": {"good": 1}},
    {"text": "bad film", "label": {"bad": 1e-3}},
]
WANTED = [[0.25, 0.75, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0], [1, 0, 0]]


def write(folder, rows, name="train.jsonl"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(json.dumps(row) for row in rows))
    return folder


@pytest.fixture
def table_of(tmp_path):
    def make(train, name="soft"):
        folder = write(tmp_path / name, train)
        hard = [{"text": f"{i} film", "label": label} for i, label in enumerate(["good", "bad"])]
        write(folder, hard, "test.jsonl")
        soft = [{"text": "story", "label": {"good": 0.2, "odd": 0.8}}, *hard]
        return write(folder, soft, "dev.jsonl")

    return make


def test_objects_and_their_text_are_read(table_of, tmp_path):
    lines = [json.dumps(row["label"]) for row in ROWS]
    cells = [f'"{line.replace(chr(34), chr(34) * 2)}"' if "{" in line else "odd" for line in lines]
    csv = "".join(f"{row['text']},{cell}\n" for row, cell in zip(ROWS, cells, strict=True))
    (tmp_path / "soft.csv").write_text(f"text,label\n{csv}")
    dev = table_of(ROWS) / "dev.jsonl"
    for source in (table_of(ROWS), tmp_path / "soft.csv"):
        data = data_room.load(source, dev=None if source.is_dir() else dev)
        assert (data.task, data.labels) == ("classification", ("bad", "good", "odd"))
        assert list(data.train["label"]) == [1, 0, 2, 2, 1, 0]
        assert np.asarray(data.train[SOFT]) == pytest.approx(np.array(WANTED))
        assert list(data.dev["label"]) == [2, 1, 0]
        assert SOFT not in data.dev.column_names
        assert "train has soft labels in 4 rows" in data.notes
    data_room.save(data, tmp_path / "run" / "data")
    assert np.asarray(data_room.load_saved(tmp_path / "run").train[SOFT]).shape == (6, 3)


def test_hard_labels_stay_hard(table_of):
    hard = [{"text": row["text"], "label": list("abc")[i % 3]} for i, row in enumerate(ROWS)]
    assert (
        SOFT not in data_room.load(write(table_of(ROWS), hard) / "train.jsonl").train.column_names
    )


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ({"good": -1, "bad": 2}, r"line 2: label `good` has the weight -1; wanted a number of 0"),
        ({"good": "high"}, r"line 2: label `good` has the weight 'high'"),
        ({"good": True}, r"line 2: label `good` has the weight True"),
        ({"good": 0, "bad": 0}, r"train.jsonl line 2: no label has a weight above 0"),
        ({}, r"train.jsonl line 2: no label has a weight above 0"),
    ],
)
def test_a_wrong_weight_is_named(table_of, label, message):
    with pytest.raises(DataError, match=message):
        data_room.load(table_of([ROWS[0], {"text": "x", "label": label}, *ROWS[1:]]))


@pytest.mark.parametrize("label", ["{'good': 2, 'bad': 1}", '{"good": 0.8', "{good: 1}"])
def test_shares_that_are_no_json_are_no_class(table_of, label):
    rows = [ROWS[0], {"text": "x", "label": label}, *ROWS[1:]]
    with pytest.raises(
        DataError, match=r"line 2: label is \{.*looks like shares of classes and is"
    ):
        data_room.load(table_of(rows))


def test_braces_may_be_part_of_a_class(table_of):
    rows = [{"text": f"{i} film", "label": ["{x}", "{"][i % 2]} for i in range(4)]
    assert data_room.load(table_of(ROWS) and write(table_of(ROWS), rows) / "train.jsonl").labels


def test_shares_may_differ_where_the_likeliest_is_the_same(table_of):
    rare = [{"text": f"{n} films", "label": {"ok": n, "fraud": 1}} for n in range(2, 8)]
    path = write(table_of(ROWS), rare) / "train.jsonl"
    data = data_room.load(path)
    assert not any("never seen" in note for note in data.notes)
    same = [row | {"label": {"ok": 2, "fraud": 1}} for row in rare]
    with pytest.raises(DataError, match="every train row has the label `ok`"):
        data_room.load(write(table_of(ROWS), same) / "train.jsonl")


def test_passages_have_no_shares(table_of):
    long = [row | {"text": f"{row['text']} of the whole last year"} for row in ROWS]
    rows = add_crops(data_room.load(table_of(long)).train, 2, seed=0)
    assert {row["passage"]: row[SOFT] is None for row in rows} == {False: False, True: True}


@pytest.mark.parametrize("label", [{"good": 1, "bad": 0.5}, '{"good": 1}'])
def test_several_labels_a_text_take_none(table_of, label):
    sets = [{"text": "a", "label": ["good"]}, {"text": "b", "label": label}]
    with pytest.raises(DataError, match=r"train.jsonl line 2: label is .*good.*; wanted a list"):
        data_room.load(table_of(sets), task="multilabel")


def test_the_loss_is_the_cross_entropy_of_the_shares(table_of, teacher_folder):
    data = data_room.load(table_of(ROWS))
    tokenizer = Tokenizer(teacher_folder, max_length=16)
    model = load_classifier(teacher_folder, num_labels=3)
    rows = extend(data.train, data.train.select(range(2)).remove_columns(["label", SOFT]))
    learned = tokenize(rows, tokenizer, data)
    batch = Collator(tokenizer.pad_id)([learned[i] for i in range(len(learned))])
    stage = Stage(prediction=0.0, hard_labels=1.0, epochs=1)
    found = Objective(model.eval(), stage, (), 32, task="classification")(**batch)
    logs = F.log_softmax(found["logits"][:6], dim=1)
    wanted = -(torch.tensor(WANTED) * logs).sum() / len(rows)
    assert found["loss"].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_a_teacher_learns_how_likely_each_label_is(taught, teacher_folder, labelled_rows, tmp_path):
    flipped = {"good": "bad", "bad": "good"}
    train = [
        {"text": text, "label": {label: 0.7, flipped.get(label, "good"): 0.3}}
        for text, label in labelled_rows(96, 1)
    ]
    write(tmp_path / "table", train)
    (tmp_path / "table" / "train.csv").unlink()
    data = data_room.load(tmp_path / "table")
    recipe, tokenizer = recipes.load(None, taught), Tokenizer(teacher_folder, max_length=32)
    stage = Stage(epochs=8, learning_rate=2e-3, batch_size=16)
    start = load_classifier(teacher_folder)
    model = fine_tune(
        start, tokenizer, data, tmp_path / "stage", stage=stage, recipe=recipe, keep_best=False
    )
    asked = data.dev.remove_columns(["label", "line"])
    scores = label_rows(asked, model, teacher_folder, tokenizer, data, say=lambda _: None)["score"]
    assert 0.6 < np.mean(scores) < 0.8


@pytest.mark.usefixtures("untimed")
def test_a_student_learns_from_soft_labels_and_new_texts(taught, labelled_rows, tmp_path):
    train = [{"text": t, "label": {label: 2, "good": 1}} for t, label in labelled_rows(96, 1)]
    write(tmp_path / "table", train)
    (tmp_path / "table" / "train.csv").unlink()
    (tmp_path / "more.txt").write_text("\n".join(text for text, _ in labelled_rows(20, 9)))
    more = {"data.unlabelled": str(tmp_path / "more.txt"), "prediction_stage.hard_labels": 0.5}
    run = distill(recipes.load(None, taught | more), lambda _: None)
    assert json.loads((run / "run.json").read_text())["dev"]["student"]["accuracy"] > 0.8
