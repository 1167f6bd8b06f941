"""Answers with any number of labels."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinybert.errors import ConfigError
from tinybert.runtime.answerer import Answerer
from tinybert.runtime.session import Input

__all__ = ["LabelSet", "MultiLabelClassifier"]


@dataclass(frozen=True)
class LabelSet:
    """One answer.

    Args:
        labels: The labels whose probability is above the threshold, the most probable first; there
            may be none.
        scores: Probability of every label, each on its own, 0..1.
    """

    labels: tuple[str, ...]
    scores: dict[str, float]


class MultiLabelClassifier(Answerer):
    """Gives texts or pairs of texts any number of labels."""

    def __call__(self, inputs: Iterable[Input], *, threshold: float = 0.5) -> list[LabelSet]:
        """Label every input, in order.

        Args:
            inputs: N texts, or N pairs ``(text, text2)``.
            threshold: Probability above which a label is given, 0..1.

        Returns:
            N answers.

        Raises:
            DataError: Not a list, or an element that is not what the model takes.
            ConfigError: The threshold is no probability.
        """
        if not 0 <= threshold <= 1:
            raise ConfigError(f"threshold is {threshold}; wanted 0 to 1")
        each = 0.5 * (1 + np.tanh(0.5 * self.logits(inputs).astype(np.float64)))
        return [self._answer(row, threshold) for row in each]

    def _answer(self, row: npt.NDArray[np.float64], threshold: float) -> LabelSet:
        given = [int(i) for i in np.argsort(-row, kind="stable") if row[i] > threshold]
        scores = {label: float(p) for label, p in zip(self.labels, row, strict=True)}
        return LabelSet(tuple(self.labels[i] for i in given), scores)
