"""Answers for a stream of rows: constant memory, bad rows named, good rows kept."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, TextIO

from tinybert.errors import ConfigError, DataError
from tinybert.runtime.classify import Classifier
from tinybert.runtime.regress import Regressor
from tinybert.runtime.session import Input

__all__ = ["FORMATS", "predict", "read_rows", "write_rows"]

FORMATS = ("text", "jsonl", "csv")
_CHUNK = 256
Model = Classifier | Regressor


@dataclass(frozen=True)
class Row:
    """A row read: its line in the file, and either an input or what is wrong with it."""

    line: int
    value: Input | None
    problem: str = ""


def predict(
    artifact: str | Path | Model,
    texts: Sequence[str] = (),
    *,
    file: str | Path | None = None,
    out: TextIO | None = None,
    format: str = "text",
    text_column: str = "text",
    text2_column: str = "text2",
    threads: int | None = None,
    batch_size: int = 32,
    precision: str | None = None,
    complain: Callable[[str], None] = lambda message: print(message, file=sys.stderr),
) -> int:
    """Answer texts given here, or rows of a file or of standard input, and write the answers.

    A ``.jsonl``, ``.csv`` or ``.tsv`` file is read by its columns, any other as one text a line
    (for a pair model: two texts with a tab between). A row that cannot be read is named by its line
    and the others are answered.

    Args:
        artifact: The shipped folder, or a model from ``load``.
        texts: Texts to answer; for a pair model they are taken two by two.
        file: A file instead, or ``-`` for standard input.
        out: Where answers go; standard output if None.
        format: ``text`` (tab-separated), ``jsonl`` or ``csv``; each answer carries its line.
        text_column, text2_column: Columns of a table.
        threads, batch_size, precision: As for ``load``.
        complain: Told of each bad row.

    Returns:
        How many rows could not be read.

    Raises:
        ConfigError: Both or neither of texts and file, or an unknown format.
        DataError: No such file, or a table without the column.
        ArtifactError: The folder cannot be used.
    """
    if format not in FORMATS:
        raise ConfigError(f"format is `{format}`; wanted one of {', '.join(FORMATS)}")
    if bool(texts) == (file is not None):
        raise ConfigError("give either texts or a file (`-` for standard input)")
    model = _loaded(artifact, threads, precision, batch_size)
    columns = (text_column, text2_column) if model.card.pair else (text_column,)
    with ExitStack() as stack:
        if file is None:
            rows = _given(texts, model.card.pair)
        else:
            stream: IO[bytes] = (
                sys.stdin.buffer if str(file) == "-" else stack.enter_context(_open(file))
            )
            rows = read_rows(stream, str(file), columns)
        return write_rows(model, rows, out or sys.stdout, format, str(file or "argument"), complain)


def read_rows(stream: Iterable[bytes], name: str, columns: tuple[str, ...]) -> Iterator[Row]:
    """Read rows one by one from the lines of a file.

    Args:
        stream: Lines as bytes.
        name: The file's name; its ending decides how lines are read.
        columns: One column for single texts, two for pairs.

    Yields:
        Rows in order, bad ones with their problem.

    Raises:
        DataError: The table's header lacks a column.
    """
    suffix = Path(name).suffix
    if suffix == ".jsonl":
        yield from _json_rows(stream, columns)
    elif suffix in (".csv", ".tsv"):
        yield from _table_rows(stream, name, columns, tabs=suffix == ".tsv")
    else:
        yield from _plain_rows(stream, pair=len(columns) == 2)


def write_rows(
    model: Model,
    rows: Iterable[Row],
    out: TextIO,
    format: str,
    name: str,
    complain: Callable[[str], None],
) -> int:
    """Answer rows in chunks and write each answer as soon as its chunk is done.

    Returns:
        How many rows were bad.
    """
    bad = 0
    source = iter(rows)
    write = _writer(model, out, format)
    while chunk := list(islice(source, _CHUNK)):
        good = [row for row in chunk if row.value is not None]
        answers = iter(model([row.value for row in good if row.value is not None]))
        for row in chunk:
            if row.value is None:
                bad += 1
                complain(f"{name} line {row.line}: {row.problem}")
            else:
                write(row, next(answers))
        out.flush()
    return bad


def _loaded(
    artifact: str | Path | Model, threads: int | None, precision: str | None, batch_size: int
) -> Model:
    """Return a loaded model."""
    if isinstance(artifact, Classifier | Regressor):
        return artifact
    from tinybert.runtime import load

    return load(artifact, threads=threads, precision=precision, batch_size=batch_size)


def _open(file: str | Path) -> IO[bytes]:
    """Open a file for reading."""
    try:
        return open(file, "rb")
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error


def _given(texts: Sequence[str], pair: bool) -> Iterator[Row]:
    """Turn texts of the command line into rows."""
    if not pair:
        yield from (Row(i, text) for i, text in enumerate(texts, start=1))
        return
    if len(texts) % 2:
        raise ConfigError(f"{len(texts)} texts were given; a pair model takes them two by two")
    for i in range(0, len(texts), 2):
        yield Row(i // 2 + 1, (texts[i], texts[i + 1]))


def _decode(stream: Iterable[bytes]) -> Iterator[tuple[int, str | None, str]]:
    """Yield line number, text (None if not UTF-8) and the problem."""
    for number, raw in enumerate(stream, start=1):
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n"), ""
        except UnicodeDecodeError as error:
            byte = raw[error.start]
            yield number, None, f"byte 0x{byte:02x} at column {error.start + 1} is not UTF-8"


def _plain_rows(stream: Iterable[bytes], *, pair: bool) -> Iterator[Row]:
    for number, line, problem in _decode(stream):
        if line is None or not pair:
            yield Row(number, line, problem)
            continue
        parts = line.split("\t")
        if len(parts) == 2:
            yield Row(number, (parts[0], parts[1]))
        else:
            yield Row(number, None, f"{len(parts)} texts; wanted two with a tab between")


def _json_rows(stream: Iterable[bytes], columns: tuple[str, ...]) -> Iterator[Row]:
    for number, line, problem in _decode(stream):
        if line is not None and not line.strip():
            continue
        value: Any = None
        if line is not None:
            try:
                value = json.loads(line)
            except ValueError as error:
                problem = f"not JSON: {error}"
            else:
                if not isinstance(value, dict):
                    value, problem = None, "not a JSON object"
        yield Row(number, None, problem) if value is None else _row(number, value, columns)


def _table_rows(
    stream: Iterable[bytes], name: str, columns: tuple[str, ...], *, tabs: bool
) -> Iterator[Row]:
    """Read a table; a quoted value may go over lines, and a bad line is left out of its record."""
    broken: list[Row] = []
    last = 0

    def lines() -> Iterator[str]:
        nonlocal last
        for number, line, problem in _decode(stream):
            last = number
            if line is None:
                broken.append(Row(number, None, problem))
            else:
                yield line + "\n"

    reader = (
        csv.reader(lines(), delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(lines())
    )
    header: list[str] | None = None
    start = 1
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            yield Row(last, None, f"not CSV: {error}")
            start = last + 1
            continue
        yield from broken
        line, start = start + len(broken), last + 1
        broken.clear()
        if record is None:
            return
        if not record:
            continue
        if header is None:
            header = [column.strip() for column in record]
            missing = [column for column in columns if column not in header]
            if missing:
                raise DataError(
                    f"{name} has no column `{missing[0]}`; it has {', '.join(header)}; "
                    "name it with --text or --text2"
                )
        elif len(record) != len(header):
            yield Row(line, None, f"{len(record)} columns; wanted {len(header)}")
        else:
            yield _row(line, dict(zip(header, record, strict=True)), columns)


def _row(line: int, value: dict[str, Any], columns: tuple[str, ...]) -> Row:
    """Pick the text, or two texts, out of a record."""
    texts = [value.get(column) for column in columns]
    for column, text in zip(columns, texts, strict=True):
        if not isinstance(text, str):
            return Row(line, None, f"`{column}` is {text!r}; wanted a text")
    return Row(line, str(texts[0]) if len(texts) == 1 else (str(texts[0]), str(texts[1])))


def _writer(model: Model, out: TextIO, format: str) -> Callable[[Row, Any], None]:
    """Return what writes one answer."""
    regression = isinstance(model, Regressor)
    if format == "csv":
        table = csv.writer(out)
        table.writerow(["line", "value"] if regression else ["line", "label", "score"])

    def write(row: Row, answer: Any) -> None:
        if regression:
            cells: list[Any] = [row.line, f"{answer:.6g}"]
            record: dict[str, Any] = {"line": row.line, "value": answer}
        else:
            cells = [row.line, answer.label, f"{answer.score:.4f}"]
            record = {
                "line": row.line,
                "label": answer.label,
                "score": answer.score,
                "scores": answer.scores,
            }
        if format == "csv":
            table.writerow(cells)
        elif format == "jsonl":
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
        else:
            out.write("\t".join(map(str, cells)) + "\n")

    return write
