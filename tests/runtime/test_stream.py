"""Rows of files and of standard input: good ones are answered, bad ones are named."""

import csv
import io
import json
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from tinybert import cli
from tinybert.errors import ConfigError, DataError
from tinybert.runtime import predict
from tinybert.runtime.rows import Row, read_rows
from tinybert.runtime.stream import write_rows

WIDE = (1 << 20) + 1


def rows(name, content, *columns):
    """Return the rows of a file's content as tuples: line, value, problem."""
    found = read_rows(io.BytesIO(content), name, columns or ("text",))
    return [(row.line, row.value, row.problem) for row in found]


def good(*pairs):
    return [(line, value, "") for line, value in pairs]


def answers(model, tmp_path, name, content, **settings):
    """Return predict's count, output and complaints for a file."""
    file, out, said = tmp_path / name, io.StringIO(), []
    file.write_bytes(content)
    bad = predict(model, file=file, out=out, complain=said.append, **settings)
    return bad, out.getvalue(), [message.removeprefix(f"{file} ") for message in said]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    ("name", "lines", "wanted"),
    [
        ("a.txt", [b"late", b"", "登录".encode()], [(1, "late"), (2, ""), (3, "登录")]),
        ("a", [b'"late', b"a,b\tc"], [(1, '"late'), (2, "a,b\tc")]),
        ("a.jsonl", [b'{"text": "late"}', b"", b'{"id": 1, "text": ""}'], [(1, "late"), (3, "")]),
        ("a.csv", [b"id,text", b'1,"a, ""b"""', b"", b"2,"], [(2, 'a, "b"'), (4, "")]),
        ("a.csv", [b"text", b'"one', b"", b'two"', b"three"], [(2, "one\n\ntwo"), (5, "three")]),
        ("a.tsv", [b"id\ttext", b'1\t"late', b'2\t"'], [(2, '"late'), (3, '"')]),
        ("A.CSV", [b" text ,id", b"late,1"], [(2, "late")]),
    ],
)
def test_files_are_read(name, lines, wanted, start, end):
    assert rows(name, start + end.join(lines)) == good(*wanted)
    assert rows(name, start + end.join(lines) + end) == good(*wanted)


def test_pairs_are_read():
    both = ("text", "text2")
    assert rows("a.csv", b"text2,text\nb,a\n", *both) == good((2, ("a", "b")))
    assert rows("a.jsonl", b'{"text": "a", "text2": "b"}', *both) == good((1, ("a", "b")))
    assert rows("a.txt", b"a\tb\nc\na\tb\tc\n", *both) == [
        (1, ("a", "b"), ""),
        (2, None, "1 texts; wanted two with a tab between"),
        (3, None, "3 texts; wanted two with a tab between"),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{'text': 1}", "not JSON: Expecting property name"),
        (b"late", "not JSON: Expecting value"),
        (b"[" * 100_000, "not JSON: "),
        (b'["late"]', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"texts": "late"}', "`text` is None; wanted a text"),
        (b'{"text": 5}', "`text` is 5; wanted a text"),
        (b'{"text": [%s1]}' % (b"1," * 999), "`text` is [1, 1, 1, 1, 1, 1, ...]; wanted a text"),
        (b'{"text": "\xff"}', "byte 0xff at column 11 is not UTF-8"),
        (b'{"text": "a \\ud83d"}', "`text` holds U+D83D at character 3, half of a surrogate pair"),
    ],
)
def test_broken_json_line(line, problem):
    found = rows("a.jsonl", b'{"text": "a"}\n' + line + b'\n{"text": "b"}\n')
    assert [found[0], found[2]] == good((1, "a"), (3, "b"))
    assert found[1][:2] == (2, None)
    assert found[1][2].startswith(problem)


@pytest.mark.parametrize(
    ("lines", "line", "problem"),
    [
        ([b"1"], 3, "1 columns; wanted 2"),
        ([b"1,b,c"], 3, "3 columns; wanted 2"),
        ([b"1,a\xff\xfe"], 3, "byte 0xff at column 4 is not UTF-8"),
        ([b'1,"one', b"\xe9", b'three"'], 4, "byte 0xe9 at column 1 is not UTF-8"),
        ([b'1,"late"x'], 3, """not CSV: ',' expected after '"'"""),
        ([b"1,%s" % (b"x" * WIDE)], 3, "not CSV: field larger than field limit"),
        ([b"1,a\rb"], 3, "not CSV: new-line character seen in unquoted field"),
    ],
)
def test_broken_csv_row(lines, line, problem):
    found = rows("a.csv", b"\n".join([b"id,text", b"0,a", *lines, b'9,"b"', b""]))
    assert [found[0], found[2]] == good((2, "a"), (3 + len(lines), "b"))
    assert found[1][:2] == (line, None)
    assert found[1][2].startswith(problem)
    assert len(found) == 3


def test_quote_that_is_never_closed_costs_its_own_line():
    content = b'id,text\n1,a\n2,"late\n3,c\n4,d\n'
    assert rows("a.csv", content) == [
        (2, "a", ""),
        (3, None, "not CSV: unexpected end of data on line 5; is a quote not closed?"),
        (4, "c", ""),
        (5, "d", ""),
    ]


def test_quote_that_only_the_next_one_closes_costs_its_own_line():
    content = b'text,id\n"late,1\nb,2\n"c",3\n"d\ne",4\n'
    assert rows("a.csv", content) == [
        (2, None, """not CSV: ',' expected after '"' on line 4; is a quote not closed?"""),
        (3, "b", ""),
        (4, "c", ""),
        (5, "d\ne", ""),
    ]


def test_open_quote_does_not_read_the_whole_file():
    pulled = 0

    def lines():
        nonlocal pulled
        yield b"text\n"
        yield b'"open\n'
        while pulled < 1_000_000:
            pulled += 1
            yield b"late parcel\n"

    found = read_rows(lines(), "a.csv", ("text",))
    assert "field larger than field limit" in next(found).problem
    assert next(found) == Row(3, "late parcel")
    assert pulled < 100_000


@pytest.mark.parametrize("quote", [b'"a', b'""a', b'"""a', b'a,"'])
def test_many_open_quotes_stay_quick(quote):
    found = rows("a.csv", b"text\n" + (quote + b"\n") * 20_000)
    assert len(found) in range(10_000, 20_001)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"id,body\n1,late\n", "a.csv has no column `text`; it has id, body; name it"),
        ("a.tsv", b"text,id\nlate,1\n", "a.tsv has no column `text`; it has text,id; name it wit"),
        ("a.csv", b"text,\xe9\nlate,1\n", "a.csv line 1: byte 0xe9 at column 6 is not UTF-8; wan"),
        ("a.csv", b'text,"id\nlate,1\n', "a.csv line 1: not CSV: unexpected end of data"),
    ],
)
def test_header_that_cannot_be_used(name, content, message):
    with pytest.raises(DataError, match=message):
        rows(name, content)


def test_columns_may_have_other_names(classifier, paired, tmp_path):
    content = b"body,title\nlate,my card\n"
    assert answers(classifier, tmp_path, "a.csv", content, text_column="title")[0] == 0
    with pytest.raises(DataError, match="has no column `text2`"):
        answers(paired, tmp_path, "a.csv", content, text_column="title")
    found = answers(paired, tmp_path, "a.csv", content, text_column="title", text2_column="body")
    (wanted,) = paired([("my card", "late")])
    assert found == (0, f"2\t{wanted.label}\t{wanted.score:.4f}\n", [])


def test_formats(classifier, tmp_path):
    content = "text\nlate\nparcel\n登录\n".encode()
    wanted = classifier(["late", "parcel", "登录"])
    numbered = list(enumerate(wanted, start=2))
    _, out, _ = answers(classifier, tmp_path, "a.csv", content)
    assert out == "".join(f"{n}\t{a.label}\t{a.score:.4f}\n" for n, a in numbered)
    _, out, _ = answers(classifier, tmp_path, "a.csv", content, format="csv")
    assert list(csv.reader(io.StringIO(out))) == [
        ["line", "label", "score"],
        *([str(n), a.label, f"{a.score:.4f}"] for n, a in numbered),
    ]
    assert "\r" not in out
    _, out, _ = answers(classifier, tmp_path, "a.csv", content, format="jsonl")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"line": n, "label": a.label, "score": pytest.approx(a.score), "scores": a.scores}
        for n, a in numbered
    ]


def test_a_threshold_is_for_several_labels(regressor):
    with pytest.raises(ConfigError, match=r"threshold is 0\.5; the model's task is regression"):
        predict(regressor, ["late"], threshold=0.5)


def test_numbers(regressor, tmp_path):
    (value,) = regressor(["late"])
    assert answers(regressor, tmp_path, "a.txt", b"late")[1] == f"1\t{value:.6g}\n"
    out = answers(regressor, tmp_path, "a.txt", b"late", format="csv")[1]
    assert out == f"line,value\n1,{value:.6g}\n"
    out = answers(regressor, tmp_path, "a.txt", b"late", format="jsonl")[1]
    assert json.loads(out) == {"line": 1, "value": value}


def test_bad_rows_do_not_move_the_answers_of_others(classifier, tmp_path):
    texts = ["late", "my card", "please help", "refund"] * 100
    lines = [json.dumps({"text": text}) for text in texts]
    lines[::7] = ["broken"] * len(lines[::7])
    bad, out, said = answers(classifier, tmp_path, "a.jsonl", "\n".join(lines).encode())
    assert bad == len(said) == len(lines[::7])
    assert said[1] == "line 8: not JSON: Expecting value: line 1 column 1 (char 0)"
    found = dict(line.split("\t")[:2] for line in out.splitlines())
    wanted = classifier(texts)
    assert found == {str(i + 1): wanted[i].label for i in range(len(texts)) if i % 7}


def test_nothing_in_gives_nothing_out(classifier, tmp_path):
    for name in ("a.txt", "a.csv", "a.jsonl"):
        assert answers(classifier, tmp_path, name, b"") == (0, "", [])
    assert answers(classifier, tmp_path, "a.csv", b"text\n") == (0, "", [])


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl"])
def test_reading_ahead_is_one_chunk(regressor, name):
    """200,000 lines go through; never are more than 256 read that are not answered yet."""
    head = {"a.csv": [b"text\n"], "a.tsv": [b"text\n"]}.get(name, [])
    line = b'{"text": "late"}\n' if name == "a.jsonl" else b"late\n"
    count = 200_000 if name == "a.txt" else 5_000
    written = most = 0

    def lines():
        nonlocal most
        yield from head
        for number in range(count):
            most = max(most, number - written)
            yield line

    def write(_):
        nonlocal written
        written += 1

    out = SimpleNamespace(write=write, flush=lambda: None)
    found = read_rows(lines(), name, ("text",))
    assert write_rows(regressor, found, out, "text", name, pytest.fail) == 0
    assert written == count
    assert most <= 256


def test_texts_given_here(classifier, paired):
    out = io.StringIO()
    assert predict(classifier, ["late", "my card"], out=out) == 0
    assert [line.split("\t")[0] for line in out.getvalue().splitlines()] == ["1", "2"]
    out = io.StringIO()
    assert predict(paired, ["late", "my", "card", "help"], out=out) == 0
    wanted = paired([("late", "my"), ("card", "help")])
    assert out.getvalue() == "".join(
        f"{n}\t{a.label}\t{a.score:.4f}\n" for n, a in enumerate(wanted, start=1)
    )


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((), {}, "give either texts or a file"),
        ((["late"],), {"file": "a.txt"}, "give either texts or a file"),
        (("late",), {}, r"one text was given; wanted a list: \['late'\]"),
        ((["late"],), {"format": "xml"}, "format is `xml`; wanted one of text, jsonl, csv"),
    ],
)
def test_settings_that_make_no_sense(classifier, arguments, settings, message):
    with pytest.raises(ConfigError, match=message):
        predict(classifier, *arguments, **settings)


def test_odd_number_of_texts(paired):
    with pytest.raises(ConfigError, match="3 texts were given; a pair model takes them two by two"):
        predict(paired, ["late", "my", "card"], out=io.StringIO())


def test_file_that_cannot_be_read(classifier, tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv cannot be read: No such file or directory"):
        predict(classifier, file=tmp_path / "gone.csv")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        predict(classifier, file=tmp_path)


def test_standard_input(classifier, monkeypatch):
    said, out = [], io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbflate\n\xff\nmy")))
    assert predict(classifier, file="-", out=out, complain=said.append) == 1
    assert [line.split("\t")[0] for line in out.getvalue().splitlines()] == ["1", "3"]
    assert said == ["- line 2: byte 0xff at column 1 is not UTF-8"]


def test_command(shipped, classifier, tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(b"text\nlate\n\xff\nmy card\n")
    invoke, threads = CliRunner().invoke, ("--threads", "1")
    result = invoke(cli.app, ["predict", str(shipped), "--file", str(file), *threads])
    assert result.exit_code == 1
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == ["2", "4"]
    assert result.stderr.splitlines() == [
        f"{file} line 3: byte 0xff at column 1 is not UTF-8",
        "tinybert: 1 rows could not be read; the others were answered",
    ]
    result = invoke(cli.app, ["predict", str(shipped), *threads], input="late\n")
    (answer,) = classifier(["late"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"1\t{answer.label}\t{answer.score:.4f}\n"
    result = invoke(cli.app, ["predict", str(shipped), "--file", str(file), "--text", "body"])
    assert result.exit_code == 2
    assert "has no column `body`; it has text; name it with --text or --text2" in result.stderr
