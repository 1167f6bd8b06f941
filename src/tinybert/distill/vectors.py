"""Neighbors in a file of word vectors, in GloVe's or word2vec's text format."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinybert.distill.words import is_chinese, is_word, runs
from tinybert.errors import DataError
from tinybert.tables import decoded_lines

__all__ = ["vector_neighbors"]

_BLOCK = 4096
_SPARE = 8
_LONGEST = 6

Matrix = npt.NDArray[np.float32]


def vector_neighbors(
    path: str | Path, texts: Sequence[str], count: int
) -> dict[str, tuple[str, ...]]:
    """Return the nearest words of each word that stands both in the texts and in the file.

    The file is read twice and never held: once for the vectors of the texts' words, once in blocks
    whose cosines with them are computed.

    Args:
        path: Each line a word and D numbers, spaces or tabs between; word2vec's first line, the
            number of words and D, may be there or not. A word may hold spaces. ``.gz`` and ``.xz``
            are unpacked.
        texts: The texts; of Chinese, words of up to six characters are looked for everywhere.
        count: K, neighbors a word.

    Returns:
        By word, up to a few more than K other words in its script, nearest first.

    Raises:
        DataError: No such file, or a bad line, by its number.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file} does not exist; wanted a file of word vectors")
    parts = list(_blocks(file, _wanted(texts)))
    if not parts:
        return {}
    words = [word for block, _ in parts for word in block]
    queries = _unit(np.concatenate([matrix for _, matrix in parts]))
    chinese = np.array([is_chinese(word) for word in words], dtype=bool)
    kept = count + _SPARE
    scores = np.full((len(words), kept), -np.inf, dtype=np.float32)
    best = np.full((len(words), kept), -1, dtype=np.int64)
    names: list[str] = []
    for block, matrix in _blocks(file):
        rows = [n for n, word in enumerate(block) if is_word(word)]
        found = [block[n] for n in rows]
        units, script = _unit(matrix[rows]), np.array([is_chinese(w) for w in found], dtype=bool)
        for start in range(0, len(words), _BLOCK // 2):
            part = slice(start, start + _BLOCK // 2)
            near = queries[part] @ units.T
            near[chinese[part][:, None] != script[None]] = -np.inf
            _merge(scores[part], best[part], near, len(names))
        names += found
    return {
        word: tuple(dict.fromkeys(names[n] for n in row if n >= 0 and names[n] != word))
        for word, row in zip(words, best, strict=True)
    }


def _merge(scores: Matrix, best: npt.NDArray[np.int64], near: Matrix, first: int) -> None:
    """Keep the largest of the scores so far and of a block's, in place, largest first."""
    kept = scores.shape[1]
    numbers = np.broadcast_to(np.arange(first, first + near.shape[1]), near.shape)
    values = np.concatenate([scores, near], axis=1)
    index = np.concatenate([best, np.where(near > -np.inf, numbers, -1)], axis=1)
    if near.shape[1]:
        top = np.argpartition(-values, kept - 1, axis=1)[:, :kept]
        values, index = (np.take_along_axis(a, top, axis=1) for a in (values, index))
    order = np.argsort(-values, axis=1, kind="stable")
    scores[:] = np.take_along_axis(values, order, axis=1)
    best[:] = np.take_along_axis(index, order, axis=1)


def _wanted(texts: Sequence[str]) -> set[str]:
    """Return every word of the texts, as written and in small letters; of Chinese every part."""
    found: set[str] = set()
    for run in {run for text in texts for run in runs(text)}:
        if is_chinese(run):
            found |= {
                run[i:j]
                for i in range(len(run))
                for j in range(i + 1, min(i + _LONGEST, len(run)) + 1)
            }
        else:
            found |= {run, run.lower()}
    return found


def _unit(matrix: Matrix) -> Matrix:
    """Return rows of length one; a row of zeros stays."""
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    return (matrix / np.where(length > 0, length, 1)).astype(np.float32)


def _blocks(file: Path, wanted: set[str] | None = None) -> Iterator[tuple[list[str], Matrix]]:
    """Yield words, or the wanted ones, and their vectors, float (N, D), some thousands at once."""
    words: list[str] = []
    numbers: list[list[float]] = []
    size = 0
    for line, text in decoded_lines(file):
        parts = text.rstrip(" \t\r\n").replace("\t", " ").split(" ")
        if line == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
            size = int(parts[1])
            continue
        size = size or len(parts) - 1
        count = len(parts) - 1
        if size < 1 or count < size or (count > size and _is_number(parts[-size - 1])):
            raise DataError(
                f"{file} line {line}: {count} numbers after `{parts[0][:40]}`; "
                f"wanted {size or 'some'}, separated by spaces"
            )
        word = " ".join(parts[:-size])
        if wanted is None or word in wanted:
            words.append(word)
            numbers.append(_numbers(file, line, word, parts[-size:]))
        if len(words) == _BLOCK:
            yield words, np.array(numbers, dtype=np.float32)
            words, numbers = [], []
    if size == 0:
        raise DataError(f"{file} is empty; wanted a word and its numbers on each line")
    if words:
        yield words, np.array(numbers, dtype=np.float32)


def _numbers(file: Path, line: int, word: str, parts: list[str]) -> list[float]:
    """Return a line's numbers, all of them finite."""
    try:
        values = [float(part) for part in parts]
        bad = next((p for p, v in zip(parts, values, strict=True) if not math.isfinite(v)), None)
    except ValueError:
        bad = next(part for part in parts if not _is_number(part))
    if bad is not None:
        raise DataError(
            f"{file} line {line}: `{bad[:40]}` after `{word[:40]}`; wanted a finite number"
        )
    return values


def _is_number(text: str) -> bool:
    """Whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
