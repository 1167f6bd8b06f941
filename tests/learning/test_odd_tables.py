"""Tables that are easily read wrongly, or that only a library's traceback would refuse."""

import json

import datasets as hf
import pytest

from tinybert import console
from tinybert import data as data_room
from tinybert.corpus import open_corpus
from tinybert.errors import DataError
from tinybert.tables import read_table


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_half_a_character_is_named(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "ok"}', r'{"text": "smile \ud83d"}')
    with pytest.raises(DataError, match=r"a.jsonl line 2: a text"):
        read_table(path)
    path = write(tmp_path / "a.jsonl", r'{"text": "smile \ud83d\ude00"}')
    assert read_table(path)["text"][0] == "smile 😀"
    with pytest.raises(DataError, match=r"a.jsonl line 1: not JSON"):
        read_table(write(path, "[" * 100_000))


def test_numbers_beyond_64_bits_are_texts(tmp_path):
    path = write(tmp_path / "a.jsonl", f'{{"id": {1 << 80}}}', '{"id": -1}')
    assert list(read_table(path)["id"]) == [str(1 << 80), "-1"]


def test_long_cells_doubled_columns_and_open_quotes(tmp_path):
    path = write(tmp_path / "a.csv", "text,label", f"{'x' * 200_000},a")
    assert len(read_table(path)["text"][0]) == 200_000
    with pytest.raises(DataError, match=r"a.csv line 1: two columns are called `label`; wanted"):
        read_table(write(path, "text,label,label", "a,b,c"))
    many = [f"text {n},a" for n in range(200)]
    message = r"a.csv line 3: .* on line 203; is a quote not closed\?"
    with pytest.raises(DataError, match=message):
        read_table(write(path, "text,label", "one,a", '"two,a', *many))


def test_a_parquet_may_have_a_column_called_line(tmp_path):
    rows = hf.Dataset.from_dict({"text": ["a", "b"], "line": ["x", "y"]})
    rows.to_parquet(tmp_path / "a.parquet")
    assert list(read_table(tmp_path / "a.parquet")["line"]) == [1, 2]


@pytest.mark.parametrize("names", [["1", "0"], ["1", "2", "3"], ["-1", "0", "1"]])
def test_classes_keep_their_names_where_those_are_numbers(tmp_path, names):
    values = [names[i % len(names)] for i in range(30)]
    rows = hf.Dataset.from_dict({"text": [f"text {i}" for i in range(30)], "label": values})
    rows = rows.cast_column("label", hf.ClassLabel(names=names))
    rows.to_parquet(tmp_path / "train.parquet")
    data = data_room.load(tmp_path / "train.parquet")
    assert data.labels == tuple(names)
    for row in data.train:
        assert data.labels[row["label"]] == values[int(row["text"].split()[1])]


def test_a_blank_among_decimals_is_named(tmp_path):
    path = tmp_path / "a.csv"
    write(path, "text,label", *(f"text {n},{n / 7}" for n in range(40)), "last,")
    with pytest.raises(DataError, match="line 42"):
        data_room.load(path)


def test_a_file_to_measure_may_part_its_labels_by_another_sign(tmp_path, monkeypatch):
    path = write(tmp_path / "a.csv", "text,label", "one,x;y", "two,y")
    monkeypatch.setattr(console, "_answers_of", lambda _: ("multilabel", ("x", "y")))
    data = console.read_data(tmp_path, str(path), label_separator=";")
    assert list(data.test["label"]) == [[1, 1], [0, 1]]


def test_no_text_at_all_is_told(tmp_path):
    write(tmp_path / "train.csv", "text,label", " ,a", " ,b")
    write(tmp_path / "dev.csv", "text,label", "one,a", "two,b")
    with pytest.raises(DataError, match="no train row has a text"):
        data_room.load(tmp_path / "train.csv", dev=str(tmp_path / "dev.csv"))


@pytest.mark.parametrize("name", ["a.csv.gz", "a.json.xz", "a.tar.gz"])
def test_packed_files_of_other_kinds_are_no_plain_text(tmp_path, name):
    (tmp_path / name).write_bytes(json.dumps({}).encode())
    with pytest.raises(DataError, match=r"wanted a \.txt or \.jsonl file"):
        list(open_corpus([str(tmp_path / name)]).documents())
