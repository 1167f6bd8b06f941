"""Packs a stream of documents into full rows of token ids, in a seeded order."""

from collections.abc import Iterable, Iterator
from itertools import count, islice
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import IterableDataset

from tinybert.corpus import Corpus
from tinybert.errors import DataError
from tinybert.text import Tokenizer

__all__ = ["PackedRows", "pack", "shuffle"]

Row = npt.NDArray[np.int32]
_BATCH = 1 << 18


class PackedRows(IterableDataset[dict[str, Row]]):
    """The rows of a corpus, pass after pass without end, without the first ones.

    Args:
        corpus: The texts.
        tokenizer: Its ``max_length`` is the length of a row in tokens.
        held_out: So many of the first rows are never yielded.
        buffer: Rows in memory among which the next one is drawn.
        seed: Seeds the order; each pass has an order of its own.
    """

    def __init__(
        self, corpus: Corpus, tokenizer: Tokenizer, *, held_out: int, buffer: int, seed: int
    ) -> None:
        self._corpus, self._tokenizer = corpus, tokenizer
        self._held_out, self._buffer, self._seed = held_out, buffer, seed

    def first(self) -> list[Row]:
        """Return the held-out rows.

        Raises:
            DataError: No text at all, less than one row, or nothing left to learn from.
        """
        found = list(islice(self._rows(), self._held_out + 1))
        length = self._tokenizer.max_length
        if not found:
            tokens = sum(map(len, self._tokenizer.pieces(list(self._corpus.documents()))))
            what = f"gives only {tokens:,} tokens" if tokens else "is empty"
            raise DataError(
                f"the corpus {what}; wanted more than one row of {length} tokens; name more text, "
                "or lower max_length"
            )
        if len(found) <= self._held_out:
            raise DataError(
                f"the corpus gives {len(found):,} rows of {length} tokens, {self._held_out} are "
                "held out for measuring; name more text, or lower max_length or corpus.dev_rows"
            )
        return found[:-1]

    def count(self) -> int:
        """Return the rows of a pass; reads the whole corpus."""
        return sum(1 for _ in self._rows()) - self._held_out

    def __iter__(self) -> Iterator[dict[str, Row]]:
        for turn in count():
            random = np.random.default_rng([self._seed, turn])
            rows = islice(self._rows(), self._held_out, None)
            row = None
            for row in shuffle(rows, self._buffer, random):
                yield {"input_ids": row}
            if row is None:
                raise DataError("the corpus has fewer rows than it had when the run began")

    def _rows(self) -> Iterator[Row]:
        return pack(self._corpus.documents(), self._tokenizer)


def pack(documents: Iterable[str], tokenizer: Tokenizer) -> Iterator[Row]:
    """Yield full rows of token ids; documents follow each other with a separator between.

    Each row begins and ends with the special tokens of the tokenizer's own template. The separator
    is the last of them (``[SEP]``, ``</s>``). What is left at the end and fills no row is dropped,
    so that nothing is ever padded.

    Args:
        documents: The texts.
        tokenizer: Its ``max_length`` is the length T of a row.

    Returns:
        Int32 (T,) each.
    """
    start, end = tokenizer.frame()
    room = tokenizer.max_length - len(start) - len(end)
    left: list[int] = []
    for batch in _batches(documents):
        for ids in tokenizer.pieces(batch):
            if left and ids:
                left += end[-1:]
            left += ids
            whole = len(left) // room * room
            for first in range(0, whole, room):
                yield np.asarray([*start, *left[first : first + room], *end], dtype=np.int32)
            left = left[whole:]


def shuffle(rows: Iterable[Row], buffer: int, random: np.random.Generator) -> Iterator[Row]:
    """Yield the rows in an order drawn from a buffer of so many.

    Args:
        rows: Any number of rows.
        buffer: Rows in memory; where all of them fit, every order is equally likely.
        random: Decides the order.
    """
    held: list[Any] = []
    for row in rows:
        if len(held) < buffer:
            held.append(row)
            continue
        place = int(random.integers(buffer))
        yield held[place]
        held[place] = row
    for place in random.permutation(len(held)):
        yield held[place]


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    """Group documents for the tokenizer, a few hundred thousand characters at a time."""
    batch: list[str] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
