"""Input that is easily read wrongly: columns that are not there, or twice; odd ends of sentences."""

import io
import sys

import pytest
from typer.testing import CliRunner

from tinybert import cli, console
from tinybert.errors import ConfigError, DataError
from tinybert.runtime import predict
from tinybert.runtime.rows import read_rows
from tinybert.runtime.sentences import split_sentences
from tinybert.runtime.stream import write_rows


def read(text, name):
    return list(read_rows(io.BytesIO(text.encode()), name, ("text",)))


def test_json_lines_may_be_called_json():
    assert [row.value for row in read('{"text": "late"}\n{"text": "card"}\n', "a.json")] == [
        "late",
        "card",
    ]


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("a.parquet", b"PAR1", r"a.parquet ends in `.parquet`; wanted CSV, TSV, JSON Lines or pl"),
        ("a.csv.gz", b"text", r"a.csv.gz ends in `.gz`"),
        ("a.json", b'[{"text": "x"},', r"a.json is a JSON array; wanted JSON Lines, an object a"),
    ],
)
def test_other_kinds_of_files_are_named(name, line, message):
    with pytest.raises(DataError, match=message):
        list(read_rows([line], name, ("text",)))


def test_objects_without_the_column_are_told_once():
    message = r"a.jsonl line 1 has no `text`; it has message, id; name it with --text"
    with pytest.raises(DataError, match=message):
        read('{"message": "late", "id": 1}\n{"message": "card", "id": 2}\n', "a.jsonl")
    first, second = read('{"text": "late"}\n{"message": "card"}\n', "a.jsonl")
    assert (first.value, second.problem) == ("late", "`text` is None; wanted a text")


def test_a_column_that_comes_twice_is_refused():
    with pytest.raises(DataError, match=r"a.csv line 1: two columns are called `text`; wanted"):
        read("text,id,text\na,1,b\n", "a.csv")
    assert read("text,,\na,,\n", "a.csv")[0].value == "a"


def test_a_long_cell_is_read():
    assert read(f"text\n{'x' * 200_000}\n", "a.csv")[0].value == "x" * 200_000


@pytest.mark.parametrize(
    ("given", "where"),
    [({"file": "-"}, "-"), ({"file": "a.txt"}, "a.txt"), ({"texts": ["a"]}, "the argument")],
)
def test_a_column_is_named_of_tables_alone(classifier, given, where):
    message = f"the column `message` is named, and {where} has no columns"
    with pytest.raises(ConfigError, match=message):
        predict(classifier, text_column="message", **given)


def test_plain_answers_keep_their_lines(classifier):
    out, told = io.StringIO(), []
    rows = read_rows(iter([b"late\n", b"\xff\n", b"card\n"]), "a.txt", ("text",))
    bad = write_rows(classifier, rows, out, "text", "a.txt", told.append)
    assert (bad, out.getvalue().count("\n")) == (1, 2)

    def model(texts):
        return [text.upper() for text in texts]

    out, rows = io.StringIO(), read_rows(iter([b"late\n", b"\xff\n", b"b\n"]), "a.txt", ("text",))
    write_rows(model, rows, out, "plain", "a.txt", told.append)
    assert out.getvalue() == "LATE\n\nB\n"


@pytest.mark.parametrize("ends", [")" * 25, "”" * 30, ")" * 19])
def test_marks_behind_a_point_are_no_word(ends):
    pieces = split_sentences(f"Thanks.{ends} See you.")
    assert [piece.text for piece in pieces] == [f"Thanks.{ends}", "See you."]


def test_what_is_not_shown_is_utf8(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="cp1252"))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    monkeypatch.setattr(cli, "app", lambda: print("退款", flush=True))
    cli.main()
    print("退款", file=sys.stderr, flush=True)
    assert raw.getvalue().decode().strip() == "退款"


def test_closed_standard_input_waits_for_nobody(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert not console.waits()


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied", "out"), OSError(28, "x")]
)
def test_a_path_that_cannot_be_written_is_one_line(monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("tinybert.ship.info.info", fail)
    done = CliRunner().invoke(cli.app, ["info", "."])
    assert done.exit_code == 2
    assert done.stderr.strip() in ("tinybert: out: Permission denied", "tinybert: file: x")
    monkeypatch.setattr("tinybert.ship.info.info", lambda _: (_ for _ in ()).throw(OSError(5, "x")))
    assert isinstance(CliRunner().invoke(cli.app, ["info", "."]).exception, OSError)
