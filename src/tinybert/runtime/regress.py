"""Answers with a number."""

from collections.abc import Iterable

from tinybert.runtime.answerer import Answerer
from tinybert.runtime.session import Input

__all__ = ["Regressor"]


class Regressor(Answerer):
    """Scores texts or pairs of texts."""

    def __call__(self, inputs: Iterable[Input]) -> list[float]:
        """Return a value for every input, in order, in the units of the training targets.

        Raises:
            DataError: Not a list, or an element that is not what the model takes.
        """
        return [float(value) for value in self.logits(inputs)[:, 0]]
