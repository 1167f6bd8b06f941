"""Answers with one label."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinybert.runtime.answerer import Answerer
from tinybert.runtime.session import Input

__all__ = ["Classifier", "Prediction"]


@dataclass(frozen=True)
class Prediction:
    """One answer.

    Args:
        label: The most probable label.
        score: Its probability, 0..1.
        scores: Probability of every label.
    """

    label: str
    score: float
    scores: dict[str, float]


class Classifier(Answerer):
    """Gives texts or pairs of texts one label each."""

    def __call__(self, inputs: Iterable[Input]) -> list[Prediction]:
        """Label every input, in order.

        Args:
            inputs: N texts, or N pairs ``(text, text2)``.

        Returns:
            N predictions.

        Raises:
            DataError: Not a list, or an element that is not what the model takes.
        """
        return [self._prediction(row) for row in probabilities(self.logits(inputs))]

    def _prediction(self, row: npt.NDArray[np.float32]) -> Prediction:
        best = int(row.argmax())
        scores = {label: float(p) for label, p in zip(self.labels, row, strict=True)}
        return Prediction(self.labels[best], float(row[best]), scores)


def probabilities(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return softmax(logits) over the last axis, float32 (N, C)."""
    if not len(logits):
        return logits
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: npt.NDArray[np.float32] = shifted / shifted.sum(axis=-1, keepdims=True)
    return result
