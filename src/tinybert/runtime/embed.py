"""Answers with vectors."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from tinybert.runtime.answerer import Answerer
from tinybert.runtime.session import Input

__all__ = ["Embedder"]


class Embedder(Answerer):
    """Turns texts into vectors of length 1, near each other where texts mean the same."""

    def __call__(self, inputs: Iterable[Input]) -> npt.NDArray[np.float32]:
        """Return a vector for every text, in order.

        Args:
            inputs: N texts.

        Returns:
            Float32 (N, E); the cosine of two texts is the product of their vectors.

        Raises:
            DataError: Not a list, or an element that is no text.
        """
        return self.logits(inputs)
