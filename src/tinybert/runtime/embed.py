"""Answers with vectors."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from tinybert.artifact import Card
from tinybert.runtime.session import Input, Session

__all__ = ["Embedder"]


class Embedder:
    """Turns texts into vectors, near each other where texts mean the same.

    May be shared by many threads. Texts longer than the card's ``max_length`` are truncated as
    ``text.Tokenizer`` says.

    Args:
        session: The loaded artifact.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.card: Card = session.card

    def __call__(self, inputs: Iterable[Input]) -> npt.NDArray[np.float32]:
        """Return a vector for every text, in order.

        Args:
            inputs: N texts.

        Returns:
            Float32 (N, E); the cosine of two texts is the product of their vectors.

        Raises:
            DataError: Not a list, or an element that is no text.
        """
        return self._session.logits(inputs)

    logits = __call__
