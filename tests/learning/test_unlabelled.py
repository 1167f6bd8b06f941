"""Texts that nobody labelled: every format, what is dropped and said, what is refused."""

import csv
import json

import pytest
from datasets import Dataset

from tinybert import data as data_room
from tinybert.errors import DataError
from tinybert.tables import read_table


def load(source, *files, **settings):
    return data_room.load(source, unlabelled=files, **settings)


def test_unlabelled_files_of_every_format(table, tmp_path):
    texts = ['he said "no", once', "NA", "two\twords"]
    (tmp_path / "a.txt").write_bytes('\ufeffhe said "no", once\r\nNA\r\n \ntwo\twords'.encode())
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": t, "x": 1}) for t in texts))
    with open(tmp_path / "a.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([["id", "text"], *enumerate(texts)])
    Dataset.from_dict({"text": texts}).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.tsv").write_text("text\n" + "\n".join(t.replace("\t", " ") for t in texts))
    for suffix in ("txt", "jsonl", "csv", "parquet"):
        found = load(table, tmp_path / f"a.{suffix}").unlabelled
        assert found["text"][:] == texts, suffix
    assert load(table, tmp_path / "a.txt").unlabelled["line"][:] == [1, 2, 4]
    both = load(table, tmp_path / "a.txt", tmp_path / "a.tsv").unlabelled
    assert both["text"][:] == [*texts, "two words"]


def test_unlabelled_texts_of_dev_and_test_are_dropped_and_said(table, tmp_path):
    held = [read_table(table / f"{name}.csv")["text"][0] for name in ("dev", "test", "train")]
    lines = [*held, " " + held[0], "new one", "new one", "", "  ", "new two"]
    (tmp_path / "p.txt").write_text("\n".join(lines))
    found = load(table, tmp_path / "p.txt")
    assert found.unlabelled["text"][:] == ["new one", "new two"]
    assert found.notes[-1] == (
        "unlabelled p.txt: 2 texts; dropped: 2 empty, 3 that stand in dev or test, 2 seen before"
    )
    (tmp_path / "q.txt").write_text(held[0])
    with pytest.raises(DataError, match=r"unlabelled q\.txt: 0 texts; .*; nothing is left"):
        load(table, tmp_path / "q.txt")


def test_unlabelled_rows_are_drawn_by_seed(table, tmp_path):
    (tmp_path / "p.txt").write_text("\n".join(f"text {i}" for i in range(50)))
    draw = [load(table, tmp_path / "p.txt", unlabelled_rows=9, seed=s) for s in (0, 0, 1)]
    first, again, other = (found.unlabelled["text"][:] for found in draw)
    assert len(first) == 9
    assert first == again != other
    assert draw[0].notes[-1].endswith("; 9 drawn, seed 0")
    with pytest.raises(DataError, match="unlabelled_rows is 9, but no unlabelled file is named"):
        load(table, unlabelled_rows=9)


def test_unlabelled_pairs_need_both_texts(pairs, tmp_path):
    source = pairs(tmp_path / "pairs", number=False)
    (tmp_path / "p.csv").write_text("sentence1,sentence2\na,b\nc,\n")
    (tmp_path / "o.jsonl").write_text('{"text": "d", "text2": "e"}\n')
    found = load(source, tmp_path / "p.csv", tmp_path / "o.jsonl").unlabelled
    assert [(row["text"], row["text2"]) for row in found] == [("a", "b"), ("d", "e")]
    (tmp_path / "p.txt").write_text("a\n")
    with pytest.raises(DataError, match=r"p\.txt is plain text, the labelled data are pairs"):
        load(source, tmp_path / "p.txt")


BAD_POOLS = {
    "p.txt": (None, r"p\.txt does not exist; wanted a text file"),
    "gone": (None, r"gone does not exist; wanted a file that ends in one of \.txt, \.csv"),
    "p.log": ("x", r"p\.log ends in `\.log`; wanted a file that ends in one of \.txt, \.csv"),
    "q.txt": (b"fine\ncaf\xe9\n", r"q\.txt line 2: byte 0xe9 at column 4 is not UTF-8"),
    "p.csv": ("texte\na\n", r"p\.csv has no column `text`; it has texte; did you mean `texte`"),
    "q.csv": ("text,x\na,1\nb\n", r"q\.csv line 3: 1 columns"),
    "p.jsonl": ('{"text": "a"}\n{"text": null}\n', r"p\.jsonl line 2: column `text` is None"),
}


@pytest.mark.parametrize("name", BAD_POOLS)
def test_bad_unlabelled_files_are_named(table, tmp_path, name):
    content, message = BAD_POOLS[name]
    if content is not None:
        raw = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(raw)
    with pytest.raises(DataError, match=message):
        load(table, tmp_path / name)
