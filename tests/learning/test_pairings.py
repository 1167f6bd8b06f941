"""New pairs of the training texts: which stand together, and a run that learns from them."""

import json

import pytest
from datasets import Dataset

from tinybert.distill import recipe as recipes
from tinybert.distill.augment import augment
from tinybert.distill.pairings import near_pairs
from tinybert.distill.task import distill, teach
from tinybert.errors import ConfigError
from tinybert.tables import read_table


def quiet(_):
    pass


def rows(*pairs):
    firsts, seconds = zip(*pairs, strict=True)
    lines = list(range(2, len(pairs) + 2))
    return Dataset.from_dict({"text": firsts, "text2": seconds, "line": lines})


def made(train, count, held=()):
    found = near_pairs(train, count, held=set(held), seed=0)
    return [(row["text"], row["text2"], row["copy"]) for row in found]


@pytest.fixture
def pair_run(settings, labelled_rows, tmp_path):
    """Overrides of a run over pairs, whose teacher has learned which second texts are good."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    for split, count, seed in (("train", 96, 1), ("dev", 24, 2)):
        lines = ["first,second,label"]
        for i, (text, label) in enumerate(labelled_rows(count, seed)):
            lines.append(f"the film was {split} {i},{text},{label}")
        (folder / f"{split}.csv").write_text("\n".join(lines))
    own = {"data.source": str(folder), "data.text": "first", "data.text2": "second"}
    made = settings | own
    teacher = teach(recipes.load(None, made | {"out": str(tmp_path / "taught")}), quiet)
    return made | {"teacher.model": str(teacher)}


def test_each_first_text_meets_the_others_second_texts_most_like_it():
    train = rows(
        ("the red car", "a red car drove by"),
        ("the red house", "the house is red"),
        ("rain in may", "it rains in may"),
    )
    held = zip(train["text"], train["text2"], strict=True)
    assert made(train, 2, held) == [
        ("the red car", "the house is red", 1),
        ("the red house", "a red car drove by", 1),
    ]


def test_no_more_than_asked_for_none_twice_and_none_with_itself():
    train = rows(
        ("a b c", "a b"), ("a b c", "a c"), ("b c d", "b c"), ("a b", "c d"), ("c d", "a b c")
    )
    held = set(zip(train["text"], train["text2"], strict=True))
    found = made(train, 2, held)
    pairs = [(first, second) for first, second, _ in found]
    assert len(set(pairs)) == len(pairs)
    assert not held & set(pairs)
    assert all(first != second for first, second in pairs)
    assert max(copy for *_, copy in found) == 2
    lines = near_pairs(train, 2, held=held, seed=0)
    assert {row["origin"] for row in lines if row["text"] == "a b c"} == {2}


def test_texts_without_spaces_are_likened_by_their_characters():
    train = rows(("快递到了吗", "快递到了"), ("我要退款", "请退款"), ("快递丢了", "没有快递"))
    held = zip(train["text"], train["text2"], strict=True)
    first = {text: second for text, second, copy in made(train, 1, held) if copy == 1}
    assert first == {"快递到了吗": "没有快递", "快递丢了": "快递到了"}


def test_spaces_around_make_no_other_text_and_texts_without_words_no_pair():
    train = rows(("the red car ", "a car"), ("the red car", " a red bus"), ("b", "the bus "))
    held = {(a.strip(), b.strip()) for a, b in zip(train["text"], train["text2"], strict=True)}
    assert made(train, 3, held) == [("the red car", "the bus", 1)]
    assert made(rows(("? !", "…"), ("the car", "!")), 2) == []


def test_of_very_many_second_texts_some_are_looked_at(monkeypatch):
    monkeypatch.setattr("tinybert.distill.pairings._POOL", 3)
    train = rows(*((f"one {i}", f"one two {i}") for i in range(9)))
    seen = {second for _, second, _ in made(train, 9)}
    assert len(seen) == 3


def test_a_file_of_pairs_says_where_each_came_from(pair_run, tmp_path):
    settings = pair_run | {"augment.pairs": 2}
    path = augment(recipes.load(None, settings), tmp_path / "more.jsonl", quiet)
    found = read_table(path)
    assert set(found["source"]) == {"pairs"}
    assert set(found["copy"]) <= {1, 2}
    assert set(found["label"]) <= {"good", "bad", "odd"}
    table = read_table(f"{settings['data.source']}/train.csv")
    firsts = dict(zip(table["line"], table["first"], strict=True))
    assert all(firsts[row["origin"]] == row["text"] for row in found)


def test_words_and_pairs_come_together(pair_run, tmp_path):
    settings = pair_run | {"augment.pairs": 1, "augment.source": "embeddings", "augment.copies": 2}
    told = []
    path = augment(recipes.load(None, settings), tmp_path / "more.jsonl", told.append)
    assert set(read_table(path)["source"]) == {"pairs", "embeddings"}
    assert any("by embeddings and pairs" in line for line in told)


def test_a_pair_made_in_two_ways_comes_once(pair_run, tmp_path, monkeypatch):
    alone = augment(
        recipes.load(None, pair_run | {"augment.pairs": 1}), tmp_path / "alone.jsonl", quiet
    )
    first = read_table(alone).select(range(1))
    made = first.select_columns(["text", "text2", "origin", "source", "copy"])
    monkeypatch.setattr("tinybert.distill.augment._varied", lambda *_: (made, 0))
    settings = pair_run | {"augment.pairs": 1, "augment.source": "embeddings"}
    both = read_table(augment(recipes.load(None, settings), tmp_path / "both.jsonl", quiet))
    keys = list(zip(both["text"], both["text2"], strict=True))
    assert keys.count((first["text"][0], first["text2"][0])) == 1


def test_a_run_learns_from_new_pairs(pair_run, tmp_path):
    out = tmp_path / "run"
    told = []
    distill(recipes.load(None, pair_run | {"augment.pairs": 2, "out": str(out)}), told.append)
    added = (out / "augmented.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["source"] for line in added} == {"pairs"}
    assert any(f"{len(added):,} augmented texts added" in line for line in told)


def test_single_texts_cannot_be_paired(pair_run, tmp_path):
    settings = {key: value for key, value in pair_run.items() if key != "data.text2"}
    with pytest.raises(
        ConfigError, match=r"augment\.pairs is 2, but .* has one text a row; .*--text2"
    ):
        distill(
            recipes.load(None, settings | {"augment.pairs": 2, "out": str(tmp_path / "r")}), quiet
        )
