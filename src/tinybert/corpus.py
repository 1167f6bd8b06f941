"""Reads plain text as a stream of documents, so that a corpus may be larger than memory."""

import codecs
import gzip
import json
import lzma
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import datasets as hf

from tinybert.errors import ConfigError, DataError, near_miss

__all__ = ["Corpus", "open_corpus"]

_TEXT, _ROWS, _PACKED = ".txt", ".jsonl", {".xz": lzma.open, ".gz": gzip.open}
_WANTED = "a .txt or .jsonl file, either also as .xz or .gz"
_OTHERS = {".csv", ".tsv", ".json", ".parquet", ".tar"}
_LONGEST = 1 << 16


@dataclass(frozen=True)
class Corpus:
    """Where the texts are, in order.

    Args:
        places: Files that exist, and Hugging Face ids.
        column: Column of the text in JSON Lines and in Hugging Face data sets.
    """

    places: tuple[Path | str, ...]
    column: str

    def documents(self) -> Iterator[str]:
        """Yield the documents, the same ones in the same order each time.

        In a text file a blank line ends a document and each line is a paragraph of it; elsewhere a
        row is a document. Documents of more than 65,536 characters come in parts, empty ones not
        at all.

        Raises:
            DataError: A damaged file, bytes that are not UTF-8, or a row without a text; file and
                line are named.
        """
        for place in self.places:
            if isinstance(place, str):
                found = _hub(place, self.column)
            elif _kind(place) == _ROWS:
                found = _rows(place, self.column)
            else:
                found = _paragraphs(place)
            yield from (text for text in found if text)


def open_corpus(sources: Sequence[str | Path], column: str = "text") -> Corpus:
    """Find the files of a corpus.

    Args:
        sources: Files (``.txt``, ``.jsonl``; packed: ``.xz``, ``.gz``, taken for text where no
            other ending stands before), folders of such files, or Hugging Face ids (``id`` or
            ``id:config``; their train split is streamed).
        column: Column of the text where there are columns.

    Returns:
        The corpus; nothing is read yet.

    Raises:
        ConfigError: No source at all.
        DataError: A file that does not exist or is of another kind, or a folder without any.
    """
    if not sources:
        raise ConfigError("no text is named; wanted --text with files, folders or Hugging Face ids")
    places: list[Path | str] = []
    for source in sources:
        place = Path(source)
        if place.is_dir():
            places += _folder(place)
        elif place.is_file():
            if _kind(place) is None:
                raise DataError(f"{place} ends in `{place.suffix}`; wanted {_WANTED}")
            places.append(place)
        elif _kind(place) or place.is_absolute() or str(source).startswith("."):
            raise DataError(f"{source} does not exist; wanted {_WANTED}, or a folder of such files")
        else:
            places.append(str(source))
    return Corpus(tuple(places), column)


def _folder(place: Path) -> list[Path]:
    """Return the text files below a folder, by name."""
    found = sorted(path for path in place.rglob("*") if path.is_file() and _kind(path))
    if not found:
        listed = ", ".join(path.name for path in sorted(place.iterdir())[:5]) or "nothing"
        raise DataError(f"{place} holds {listed}; wanted {_WANTED}")
    return found


def _kind(path: Path) -> str | None:
    """Return ``.txt`` or ``.jsonl``, or None for a file of another kind."""
    suffixes = path.suffixes
    packed = bool(suffixes) and suffixes[-1] in _PACKED
    inner = suffixes[-2:-1] if packed else suffixes[-1:]
    if inner and inner[0] in (_TEXT, _ROWS):
        return inner[0]
    return _TEXT if packed and not {*inner} & _OTHERS else None


def _paragraphs(path: Path) -> Iterator[str]:
    """Yield documents: lines up to a blank one, joined by spaces."""
    parts: list[str] = []
    size = 0
    for _, part in _lines(path, _LONGEST):
        if part.strip():
            parts.append(part.rstrip("\r\n") + " " if part.endswith("\n") else part)
            size += len(part)
        if not part.strip() or size >= _LONGEST:
            yield "".join(parts).strip()
            parts, size = [], 0
    yield "".join(parts).strip()


def _rows(path: Path, column: str) -> Iterator[str]:
    """Yield the texts of a JSON Lines file."""
    for number, line in _lines(path, -1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path} line {number}: not JSON ({error})") from error
        yield from _parts(_text(row, column, f"{path} line {number}"))


def _hub(name: str, column: str) -> Iterator[str]:
    """Yield the texts of a Hugging Face data set's train split, streamed."""
    place, _, config = name.partition(":")
    try:
        stream: Iterable[Any] = hf.load_dataset(
            place, config or None, split="train", streaming=True
        )
        for number, row in enumerate(stream, start=1):
            yield from _parts(_text(row, column, f"{name} row {number}"))
    except DataError:
        raise
    except Exception as error:  # the hub's client raises many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{name} is no file or folder here and no Hugging Face data set could be read: {reason}"
        ) from error


def _text(row: Any, column: str, where: str) -> str:
    """Return a row's text."""
    if not isinstance(row, dict):
        raise DataError(f"{where}: {str(row)[:60]!r} is not an object")
    if column not in row:
        raise DataError(
            f"{where}: no column `{column}`; it has {', '.join(row) or 'none'}"
            f"{near_miss(column, row)}; name the text's with --column"
        )
    value = row[column]
    if not isinstance(value, str):
        raise DataError(f"{where}: column `{column}` is {str(value)[:60]}; wanted a text")
    return value


def _parts(text: str) -> Iterator[str]:
    """Cut a long text into parts."""
    text = text.strip()
    for start in range(0, len(text), _LONGEST):
        yield text[start : start + _LONGEST]


def _lines(path: Path, limit: int) -> Iterator[tuple[int, str]]:
    """Yield line numbers and lines; one of more than ``limit`` bytes comes in parts."""
    opener: Any = _PACKED.get(path.suffix, open)
    decoder = codecs.getincrementaldecoder("utf-8")()
    number = 1
    try:
        with opener(path, "rb") as stream:
            for raw in _chunks(stream, limit):
                text = decoder.decode(raw, final=not raw or raw.endswith(b"\n"))
                yield number, text.removeprefix("\ufeff") if number == 1 else text
                number += raw.endswith(b"\n")
    except UnicodeDecodeError as error:
        byte = error.object[error.start : error.start + 1].hex()
        raise DataError(
            f"{path} line {number}: byte 0x{byte} is not UTF-8; save the file as UTF-8"
        ) from error
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path} line {number} cannot be read: {error}") from error


def _chunks(stream: IO[bytes], limit: int) -> Iterator[bytes]:
    """Yield lines or parts of lines; where the last one has no end, an empty one after it."""
    raw = b"\n"
    while chunk := stream.readline(limit):
        raw = chunk
        yield raw
    if not raw.endswith(b"\n"):
        yield b""
