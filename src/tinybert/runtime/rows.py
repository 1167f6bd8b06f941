"""Reads rows of a file one by one, the bad ones with what is wrong with them."""

import csv
import json
import reprlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tinybert.delimited import check_header
from tinybert.errors import DataError
from tinybert.runtime.session import Input
from tinybert.text import lone_surrogate

__all__ = ["Row", "columns_of", "holds_table", "read_rows"]

_UNREAD = (".parquet", ".gz", ".xz", ".bz2", ".zip", ".xlsx", ".xls", ".arrow", ".feather")
_OBJECTS, _TABLES = (".jsonl", ".json"), (".csv", ".tsv")


@dataclass(frozen=True)
class Row:
    """A row read: its line in the file, and either an input or what is wrong with it."""

    line: int
    value: Input | None
    problem: str = ""


def holds_table(name: str | Path) -> bool:
    """Whether a file of this name has columns: CSV, TSV, JSON Lines."""
    return Path(name).suffix.lower() in (*_OBJECTS, *_TABLES)


def columns_of(path: str | Path) -> list[str]:
    """Return the columns of a table by its first line; none where that cannot be read."""
    try:
        with open(path, "rb") as file:
            first = next((line for line in _decode(file) if line.text.strip()), None)
        if first is None:
            return []
        if Path(path).suffix.lower() in _OBJECTS:
            return list(json.loads(first.text))
        return next(csv.reader([first.text], delimiter="\t" if str(path).endswith(".tsv") else ","))
    except (OSError, ValueError, TypeError, csv.Error):
        return []


def read_rows(stream: Iterable[bytes], name: str, columns: tuple[str, ...]) -> Iterator[Row]:
    """Read rows one by one from the lines of a file.

    Args:
        stream: Lines as bytes.
        name: The file's name; its ending decides how lines are read.
        columns: One column for single texts, two for pairs.

    Yields:
        Rows in order, bad ones with their problem.

    Raises:
        DataError: The table's header lacks a column or cannot be read.
    """
    suffix = Path(name).suffix.lower()
    if suffix in _UNREAD:
        raise DataError(
            f"{name} ends in `{suffix}`; wanted CSV, TSV, JSON Lines or plain text, unpacked"
        )
    if suffix in _OBJECTS:
        yield from _json_rows(stream, name, columns)
    elif suffix in _TABLES:
        yield from _table_rows(stream, name, columns, tabs=suffix == ".tsv")
    else:
        yield from _plain_rows(stream, pair=len(columns) == 2)


class _Line(NamedTuple):
    """A line as text, and what is wrong with its bytes, if anything."""

    number: int
    text: str
    problem: str


def _decode(stream: Iterable[bytes]) -> Iterator[_Line]:
    """Yield lines without their ends; bytes that are not UTF-8 become U+FFFD and are named."""
    for number, raw in enumerate(stream, start=1):
        code, problem = "utf-8-sig" if number == 1 else "utf-8", ""
        try:
            text = raw.decode(code)
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            problem = f"byte 0x{byte:02x} at column {error.start + 1} is not UTF-8"
            text = raw.decode(code, "replace")
        yield _Line(number, text.rstrip("\r\n"), problem)


def _plain_rows(stream: Iterable[bytes], *, pair: bool) -> Iterator[Row]:
    for number, line, problem in _decode(stream):
        parts = line.split("\t")
        if problem:
            yield Row(number, None, problem)
        elif not pair:
            yield Row(number, line)
        elif len(parts) == 2:
            yield Row(number, (parts[0], parts[1]))
        else:
            yield Row(number, None, f"{len(parts)} texts; wanted two with a tab between")


def _json_rows(stream: Iterable[bytes], name: str, columns: tuple[str, ...]) -> Iterator[Row]:
    first = True
    for number, line, problem in _decode(stream):
        if not line.strip():
            continue
        if number == 1 and line.lstrip().startswith("["):
            raise DataError(f"{name} is a JSON array; wanted JSON Lines, an object a line")
        value: Any = None
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            problem = problem or f"not JSON: {error}"
        if not problem and not isinstance(value, dict):
            problem = "not a JSON object"
        elif first and not problem and columns[0] not in value:
            raise DataError(
                f"{name} line {number} has no `{columns[0]}`; it has {', '.join(value)}; "
                "name it with --text or --text2"
            )
        first &= bool(problem)
        yield Row(number, None, problem) if problem else _row(number, value, columns)


class _Lines:
    """Hands lines to a CSV reader and remembers those of the record being read."""

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._source = _decode(stream)
        self._back: deque[_Line] = deque()
        self.taken: list[_Line] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._source)
        self.taken.append(line)
        return line.text + "\n"

    def put_back(self) -> None:
        """Let all lines of the record but its first be read again."""
        self._back.extendleft(reversed(self.taken[1:]))


def _records(stream: Iterable[bytes], *, tabs: bool) -> Iterator[tuple[int, list[str], str]]:
    """Yield the line, the cells and the problem of each record of a table.

    A quoted value may go over lines. Where its quote is never closed as it should be, its first
    line is given up and the lines after it are read on their own.
    """
    lines = _Lines(stream)
    reader = (
        csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        if tabs
        else csv.reader(lines, strict=True)
    )
    while True:
        lines.taken = []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"not CSV: {error}"
            if len(lines.taken) > 1:
                problem += f" on line {lines.taken[-1].number}; is a quote not closed?"
            lines.put_back()
            yield lines.taken[0].number, [], problem
            continue
        bad = [line for line in lines.taken if line.problem]
        yield from ((line.number, [], line.problem) for line in bad)
        if cells and not bad:
            yield lines.taken[0].number, cells, ""


def _table_rows(
    stream: Iterable[bytes], name: str, columns: tuple[str, ...], *, tabs: bool
) -> Iterator[Row]:
    """Read a table whose first record holds the column names."""
    header: list[str] | None = None
    for line, cells, problem in _records(stream, tabs=tabs):
        if header is None:
            if problem:
                raise DataError(f"{name} line {line}: {problem}; wanted the column names")
            header = [column.strip() for column in cells]
            check_header(header, f"{name} line {line}")
            missing = [column for column in columns if column not in header]
            if missing:
                raise DataError(
                    f"{name} has no column `{missing[0]}`; it has {', '.join(header)}; "
                    "name it with --text or --text2"
                )
        elif problem:
            yield Row(line, None, problem)
        elif len(cells) != len(header):
            yield Row(line, None, f"{len(cells)} columns; wanted {len(header)}")
        else:
            yield _row(line, dict(zip(header, cells, strict=True)), columns)


def _row(line: int, value: dict[str, Any], columns: tuple[str, ...]) -> Row:
    """Pick the text, or two texts, out of a record."""
    texts = [value.get(column) for column in columns]
    for column, text in zip(columns, texts, strict=True):
        if not isinstance(text, str):
            return Row(line, None, f"`{column}` is {reprlib.repr(text)}; wanted a text")
        if problem := lone_surrogate(text):
            return Row(line, None, f"`{column}` {problem}")
    return Row(line, str(texts[0]) if len(texts) == 1 else (str(texts[0]), str(texts[1])))
