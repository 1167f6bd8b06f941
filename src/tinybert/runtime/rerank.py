"""Answers with the order of passages for a query."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tinybert.errors import ConfigError, DataError
from tinybert.runtime.answerer import Answerer
from tinybert.runtime.session import Input

__all__ = ["Ranked", "Reranker"]


@dataclass(frozen=True)
class Ranked:
    """A passage in its place.

    Args:
        index: Where it stood in the list that was given, counted from 0.
        score: Relevance, 0..1.
        passage: Its text.
    """

    index: int
    score: float
    passage: str


class Reranker(Answerer):
    """Says how relevant passages are for a query."""

    def __call__(self, inputs: Iterable[Input]) -> list[float]:
        """Return the relevance, 0..1, of every pair ``(query, passage)``, in order.

        Raises:
            DataError: Not a list, or an element that is not a pair of texts.
        """
        scores = 0.5 * (1 + np.tanh(0.5 * self.logits(inputs)[:, 0].astype(np.float64)))
        return [float(score) for score in scores]

    def rank(self, query: str, passages: Sequence[str], top: int | None = None) -> list[Ranked]:
        """Order passages by their relevance for a query, the most relevant first.

        Args:
            query: What was asked.
            passages: N passages, as a search brought them; equal scores keep their order.
            top: How many to return; None returns all.

        Returns:
            At most ``top`` passages.

        Raises:
            DataError: The query or a passage is not a text.
            ConfigError: ``top`` is below 1.
        """
        if top is not None and top < 1:
            raise ConfigError(f"top is {top}; wanted at least 1")
        if isinstance(passages, str):
            raise DataError("passages is one text; wanted a list of passages")
        given = list(passages)
        scores = self([(query, passage) for passage in given])
        order = sorted(range(len(given)), key=lambda i: -scores[i])
        return [Ranked(i, scores[i], given[i]) for i in order[:top]]
