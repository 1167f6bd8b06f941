"""Reads files of tagged words, one word a line, so that every bad line is named."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset

from tinybert.errors import DataError
from tinybert.tables import decoded_lines

__all__ = ["CONLL", "read_conll"]

CONLL = (".conll", ".bio", ".iob2", ".bmes", ".txt")
_SPACES = re.compile(r"[ \t]+")
_WANTED = "wanted a word and its tag, with a tab or spaces between"

Line = tuple[int, list[str]]


def read_conll(path: str | Path) -> Dataset:
    """Read a file with one word and its tag a line and blank lines between texts.

    The first column is the word, the last its tag; columns between are passed over. Columns stand
    apart by tabs where the first line holds one, else by spaces. ``-DOCSTART-`` lines end a text. A
    line that begins with ``#`` is a comment where it does not end in a tag of other lines.

    Returns:
        Columns ``tokens`` and ``tags`` (lists of W texts), and ``line``, on which each text began.

    Raises:
        DataError: No such file, not UTF-8, empty, a line without a tag, or one with other columns
            than the first.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file} does not exist; wanted a {', '.join(CONLL)} file")
    lines = _split([(number, line.rstrip("\r\n")) for number, line in decoded_lines(file)])
    rows: dict[str, list[Any]] = {"tokens": [], "tags": [], "line": []}
    for part in _texts(lines, file):
        rows["tokens"].append([columns[0] for _, columns in part])
        rows["tags"].append([columns[-1] for _, columns in part])
        rows["line"].append(part[0][0])
    if not rows["line"]:
        raise DataError(f"{file} is empty; {_WANTED}")
    return Dataset.from_dict(rows)


def _split(lines: list[tuple[int, str]]) -> list[Line]:
    """Cut lines into columns; blank ones have none."""
    passed = ("#", "-DOCSTART-")
    first = next((x for _, x in lines if x.strip(" \t") and not x.startswith(passed)), "")
    if "\t" in first:
        cut = [(number, line.split("\t")) for number, line in lines]
    else:
        cut = [(number, _SPACES.split(line.strip(" \t"))) for number, line in lines]
    return [(number, columns if any(columns) else []) for number, columns in cut]


def _texts(lines: list[Line], file: Path) -> Iterator[list[Line]]:
    """Yield the lines of each text; the bad one is named."""
    sure = [columns for _, columns in lines if columns and columns[0][:1] != "#"]
    count = next((len(columns) for columns in sure if columns[0] != "-DOCSTART-"), 2)
    tags = {columns[-1] for columns in sure if len(columns) == count}
    text: list[Line] = []
    for number, columns in lines:
        if columns and columns[0] != "-DOCSTART-":
            if columns[0][:1] == "#" and (len(columns) != count or columns[-1] not in tags):
                continue
            _check(file, number, columns, count)
            text.append((number, columns))
        elif text:
            yield text
            text = []
    if text:
        yield text


def _check(file: Path, number: int, columns: list[str], count: int) -> None:
    """Refuse a line without a word or a tag, or with other columns than the first."""
    if count < 2 or len(columns) == 1 or not columns[-1]:
        raise DataError(f"{file} line {number}: `{columns[0]}` has no tag; {_WANTED}")
    if not columns[0]:
        raise DataError(f"{file} line {number}: tag `{columns[-1]}` has no word; {_WANTED}")
    if len(columns) != count:
        raise DataError(
            f"{file} line {number}: {len(columns)} columns ({' '.join(columns)[:60]}); "
            f"wanted {count} as on the first line"
        )
