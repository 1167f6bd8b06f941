"""Answers with a number."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from tinybert.artifact import Card
from tinybert.runtime.session import Input, Session

__all__ = ["Regressor"]


class Regressor:
    """Scores texts or pairs of texts; may be shared by many threads.

    Args:
        session: The loaded artifact.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.card: Card = session.card

    def __call__(self, inputs: Iterable[Input]) -> list[float]:
        """Return a value for every input, in order, in the units of the training targets.

        Raises:
            DataError: Not a list, or an element that is not what the model takes.
        """
        return [float(value) for value in self.logits(inputs)[:, 0]]

    def logits(self, inputs: Iterable[Input]) -> npt.NDArray[np.float32]:
        """Return the model's raw outputs, float32 (N, 1), in order."""
        return self._session.logits(inputs)
