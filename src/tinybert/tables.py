"""Reads labelled tables so that every bad row is named by file, line and value."""

import csv
import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from tinybert.delimited import check_header
from tinybert.errors import DataError
from tinybert.text import lone_surrogate

__all__ = ["SUFFIXES", "decoded_lines", "ending", "holds_rows", "read_lines", "read_table", "stem"]

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_PACKED: Mapping[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
_MOST = 1 << 63


def read_table(path: str | Path, *, several: bool = False, header: Sequence[str] = ()) -> Dataset:
    """Read a CSV, TSV, JSONL or Parquet file; a ``.json`` file too where it is JSON Lines.

    One whose name goes on with ``.gz`` or ``.xz`` is unpacked. CSV follows RFC 4180; in TSV a quote
    is a character like any other. The first line holds the column names. Values stay as they are
    written: ``NA`` and ``null`` are texts.

    Args:
        path: The file.
        several: Beside lists of texts a single text is a list of one.
        header: Column names of a CSV or TSV file whose first line is a row of so many values, none
            of which is such a name.

    Returns:
        The file's columns, and ``line``: the line (in Parquet: the row) each row began on.

    Raises:
        DataError: No such file, an unknown ending, empty, not UTF-8, or a row that does not fit the
            header; file, line and value are named.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file} does not exist; wanted a {', '.join(SUFFIXES)} file")
    objects = ending(file) == ".jsonl" or holds_rows(file)
    if ending(file) not in SUFFIXES and not objects:
        raise DataError(f"{file} ends in `{file.suffix}`; wanted one of {', '.join(SUFFIXES)}")
    if file.stat().st_size == 0:
        raise DataError(f"{file} is empty; wanted a header and at least one row")
    if file.suffix == ".parquet":
        return _parquet(file)
    rows = list(_jsonl(file) if objects else _delimited(file, header))
    if not rows:
        raise DataError(f"{file} has no rows; wanted at least one")
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    columns: dict[str, list[Any]] = {name: [row.get(name) for _, row in rows] for name in names}
    columns = {name: _one_type(values, several) for name, values in columns.items()}
    return Dataset.from_dict(columns | {"line": [line for line, _ in rows]})


def ending(path: Path) -> str:
    """Return the ending of a file's name, that of the packed file where it is packed.

    >>> ending(Path("texts.csv.gz")), ending(Path("texts.txt"))
    ('.csv', '.txt')
    """
    return (path.with_suffix("") if path.suffix in _PACKED else path).suffix


def stem(path: Path) -> str:
    """Return a file's name without its ending, nor that of the packed file.

    >>> stem(Path("train.csv.gz")), stem(Path("train.50k.json"))
    ('train', 'train.50k')
    """
    return (path.with_suffix("") if path.suffix in _PACKED else path).stem


def holds_rows(path: str | Path) -> bool:
    """Whether a ``.json`` file is JSON Lines, as CLUE's are, and not one object as SQuAD's are.

    Raises:
        DataError: Its first line is not UTF-8.
    """
    file = Path(path)
    if file.suffix != ".json" or not file.is_file():
        return False
    first = next((line for _, line in decoded_lines(file) if line.strip()), "")
    try:
        row = json.loads(first)
    except ValueError:
        return False
    return isinstance(row, dict) and "data" not in row


def read_lines(path: str | Path) -> Dataset:
    """Read a plain text file, one text a line.

    Returns:
        Columns ``text`` (without the line's end) and ``line``.

    Raises:
        DataError: No such file, or not UTF-8.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file} does not exist; wanted a text file, one text a line")
    rows = [(number, line.rstrip("\r\n")) for number, line in decoded_lines(file)]
    return Dataset.from_dict({"text": [t for _, t in rows], "line": [n for n, _ in rows]})


def _parquet(file: Path) -> Dataset:
    """Read Parquet through ``datasets``."""
    try:
        found: Dataset = Dataset.from_parquet(str(file), keep_in_memory=True)
    except Exception as error:  # the reader raises many kinds for a damaged file
        cause = str(error.__cause__ or error).splitlines()[0]
        raise DataError(f"{file} cannot be read as Parquet: {cause}") from error
    if "line" in found.column_names:
        found = found.remove_columns("line")
    return found.add_column("line", list(range(1, len(found) + 1)))


def _delimited(file: Path, usual: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line and row of a CSV or TSV file."""
    tabs = ending(file) == ".tsv"
    lines = (line for _, line in decoded_lines(file))
    reader = (
        csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        if tabs
        else csv.reader(lines, strict=True)
    )
    header: list[str] | None = None
    start = 1
    try:
        for row in reader:
            line, start = start, reader.line_num + 1
            if not row:
                continue
            if header is None and len(row) == len(usual) and not {*row} & {*usual}:
                header = list(usual)
            elif header is None:
                header = [name.strip() for name in row]
                check_header(header, f"{file} line {line}")
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{file} line {line}: {len(row)} columns ({_short(row)}); "
                    f"wanted {len(header)}: {', '.join(header)}"
                )
            yield line, dict(zip(header, row, strict=True))
    except csv.Error as error:
        ends = f" on line {reader.line_num}; is a quote not closed?"
        raise DataError(
            f"{file} line {start}: {error}{ends if reader.line_num > start else ''}; wanted RFC "
            "4180 CSV"
        ) from error


def _jsonl(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line and object of a JSON Lines file."""
    for number, line in decoded_lines(file):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file} line {number}: not JSON ({error}): {_short(line)}") from error
        if not isinstance(row, dict):
            raise DataError(f"{file} line {number}: {_short(line)} is not an object")
        if "\\u" in line and (problem := lone_surrogate(json.dumps(row, ensure_ascii=False))):
            raise DataError(f"{file} line {number}: a text {problem}")
        yield number, row


def decoded_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line, of a packed file too.

    Raises:
        DataError: A byte that is not UTF-8, which is named by its line; or a damaged packed file.
    """
    for number, raw in enumerate(_raw_lines(file), start=1):
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            value = raw[error.start : error.start + 1].hex()
            raise DataError(
                f"{file} line {number}: byte 0x{value} at column {error.start + 1} is not "
                "UTF-8; save the file as UTF-8"
            ) from error


def _raw_lines(file: Path) -> Iterator[bytes]:
    """Yield the lines of a file, unpacked."""
    try:
        with _PACKED.get(file.suffix, open)(file, "rb") as stream:
            yield from stream
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{file} cannot be unpacked: {error}") from error


def _one_type(values: list[Any], several: bool) -> list[Any]:
    """Return values that a column can hold: numbers as they are, mixtures as text."""
    kinds = {type(v) for v in values if v is not None}
    if kinds <= {str} or (kinds <= {int} and all(v is None or -_MOST <= v < _MOST for v in values)):
        return values
    inner = {type(part) for v in values if isinstance(v, list) for part in v}
    if several and kinds == {list, str} and inner == {str}:
        return [[v] if isinstance(v, str) else v for v in values]
    if kinds == {list} and inner in ({str}, {int}, set()):
        return values
    if float in kinds and kinds <= {int, float}:
        return [v if v is None else float(v) for v in values]
    return [v if v is None or isinstance(v, str) else _json(v) for v in values]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _short(value: object) -> str:
    """Return the start of a value for a message."""
    text = value if isinstance(value, str) else repr(value)
    text = text.strip()
    return text if len(text) <= 60 else f"{text[:57]}..."
