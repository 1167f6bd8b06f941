"""Pairs of texts: columns, splits, what is left out, and the tokenizer that is learned from them."""

import json

import datasets as hf
import pytest

from tinybert.errors import ArtifactError, ConfigError, DataError
from tinybert.labels import choose_task
from tinybert.pairs import load_pairs, load_saved_pairs, save_pairs
from tinybert.subwords import train_tokenizer
from tinybert.text import Tokenizer


def write(path, rows):
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    return path


def test_one_column_of_all_languages(tmp_path):
    rows = [{"id": i, "translation": {"en": f"e {i}", "de": f"d {i}"}} for i in range(20)]
    file = write(tmp_path / "a.jsonl", rows)
    found = load_pairs(file, task="translation")
    assert found.train[0]["source"].replace("e", "d") == found.train[0]["target"]
    assert load_pairs(file, task="translation", source="de", target="en").dev[0]["source"][0] == "d"
    hf.DatasetDict({"train": hf.Dataset.from_list(rows)}).save_to_disk(tmp_path / "hub")
    assert load_pairs(tmp_path / "hub", task="translation").train[0]["source"][0] == "e"
    write(file, [*rows, {"id": 20, "translation": {"en": "e"}}])
    with pytest.raises(
        DataError, match="row 21: `translation` has en; wanted en, de as in the fir"
    ):
        load_pairs(file, task="translation")
    rows = [{"id": i, "en": f"e {i}", "fr": f"f {i}", "translation": "x"} for i in range(9)]
    named = {"source": "en", "target": "fr"}
    assert load_pairs(write(file, rows), task="translation", **named).train[0]["target"][0] == "f"


def test_embedded_messages():
    subjects = load_pairs(task="summarization", language="zh")
    assert subjects.train[0]["source"].startswith("我在科伦坡")
    assert subjects.train[0]["target"] == "寄科伦坡相框玻璃碎了"
    both = load_pairs(task="translation", language="zh")
    assert both.train[0]["source"] == subjects.train[0]["source"]
    assert both.train[0]["target"].startswith("My aunt in Colombo")
    assert len(both.test) == 478


def test_usual_names_given_names_and_the_only_two(tmp_path):
    rows = [{"article": f"a {i}", "highlights": f"h {i}", "en": f"e {i}"} for i in range(20)]
    file = write(tmp_path / "d.jsonl", rows)
    found = load_pairs(file, task="summarization")
    assert set(found.train["target"]) | set(found.dev["target"]) == {f"h {i}" for i in range(20)}
    assert len(found.dev) == 2
    assert found.notes == ("no dev split: 2 rows of train cut off, seed 0",)
    found = load_pairs(file, task="translation", source="en", target="article")
    assert found.dev[0]["source"][0] == "e"
    (tmp_path / "t.tsv").write_text("de\tfr\na\tb\nc\td\n")
    assert len(load_pairs(tmp_path / "t.tsv", task="translation").train) == 1
    whole = load_pairs(tmp_path / "t.tsv", task="translation", whole=True)
    assert list(whole.test["target"]) == ["b", "d"]


def test_several_right_texts_and_empty_ones(tmp_path):
    rows = [{"source": "a", "target": ["x", "y"]}, {"source": " ", "target": ["z"]}]
    rows += [{"source": "b", "target": ["", "w"]}, {"source": "c", "target": []}]
    found = load_pairs(write(tmp_path / "d.jsonl", rows), task="translation", whole=True)
    assert found.train["target"] == ["x", "w"]
    assert found.train["references"] == [["x", "y"], ["w"]]
    assert found.notes == ("2 rows of train have no source or no target: left out",)


def test_one_right_text_beside_several_is_a_text(tmp_path):
    rows = [{"source": "a", "target": ["x", "好"]}, {"source": "b", "target": "y"}]
    found = load_pairs(write(tmp_path / "d.jsonl", rows), task="translation", whole=True)
    assert found.train["references"] == [["x", "好"], ["y"]]


def test_saved_pairs_are_read_back(tmp_path):
    rows = [{"source": f"s{i}", "target": f"t{i}"} for i in range(9)]
    data = load_pairs(write(tmp_path / "d.jsonl", rows), task="translation")
    save_pairs(data, tmp_path / "run" / "data")
    again = load_saved_pairs(tmp_path / "run")
    assert (again.task, again.name, again.notes) == (data.task, data.name, data.notes)
    assert again.dev.to_dict() == data.dev.to_dict()
    with pytest.raises(ArtifactError, match="holds no finished run"):
        load_saved_pairs(tmp_path)


def test_problems_are_named(tmp_path):
    file = write(tmp_path / "d.jsonl", [{"a": "x", "b": "y", "c": 3}] * 3)
    with pytest.raises(
        DataError, match="has the columns a, b, c; name the source column with --so"
    ):
        load_pairs(file, task="translation")
    with pytest.raises(DataError, match="has no column `sourc`; it has a, b, c"):
        load_pairs(file, task="translation", source="sourc")
    with pytest.raises(DataError, match="source and target are both `a`"):
        load_pairs(file, task="translation", source="a", target="a")
    with pytest.raises(DataError, match=r"d.jsonl line 1: `c` is 3; wanted a text"):
        load_pairs(file, task="translation", source="a", target="c")
    with pytest.raises(DataError, match="too few rows to cut a dev split off"):
        load_pairs(file, task="translation", source="a", target="b")
    with pytest.raises(
        ConfigError, match="task is `translate`; wanted summarization or translation"
    ):
        load_pairs(file, task="translate")
    with pytest.raises(DataError, match="made by `tinybert seq2seq --task summarization`"):
        choose_task(["a"], "summarization")


@pytest.mark.parametrize(
    "text",
    [
        "hello  world 42!",
        " 你好 龘 a😀\n b",
        "",
        "tab\tx  ",
        "  a",
        "\u0301\u200b\ufeff",
        "e-mail@x.org",
    ],
)
def test_a_learned_tokenizer_loses_nothing(tmp_path, text):
    folder = train_tokenizer(["hello world 12", "你好，世界"] * 3, tmp_path, vocab_size=300)
    tokenizer = Tokenizer(folder, max_length=64)
    (ids,) = tokenizer.encode([text])[0]
    assert tokenizer.decode(ids) == text
    assert tokenizer.vocabulary["<unk>"] not in ids
    assert ids[-1] == tokenizer.vocabulary["</s>"]
    assert tokenizer.vocab_size <= 300


def test_digits_stand_alone(tmp_path):
    folder = train_tokenizer(["12 12 12 12 2012"] * 5, tmp_path, vocab_size=300)
    tokenizer = Tokenizer(folder, max_length=64)
    assert all(
        sum(c.isdigit() for c in piece) <= 1 for piece in tokenizer.vocabulary if "<" not in piece
    )
    with pytest.raises(ConfigError, match="vocab_size is 200; wanted at least 300"):
        train_tokenizer(["a"], tmp_path, vocab_size=200)
