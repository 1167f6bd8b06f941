"""Quality of answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, pearsonr, spearmanr
from sklearn.metrics import f1_score, matthews_corrcoef

from tinybert.answer_metrics import answer_metrics
from tinybert.data import TaskData
from tinybert.ranking import rank_metrics
from tinybert.tag_metrics import tag_metrics

__all__ = [
    "Calibration",
    "answers",
    "calibration",
    "chance",
    "compute",
    "measure",
    "sigmoid",
    "softmax",
    "values",
]

Array = npt.NDArray[Any]


def measure(data: TaskData, split: str, logits: Array) -> dict[str, float]:
    """Return the metrics of answers to a split.

    Args:
        data: The task and its splits.
        split: ``train``, ``dev`` or ``test``.
        logits: Float (N, C) for its rows; C = 1 for regression and ranking. In tagging (W, C) for
            the words of all its rows; in answering (N, 4), from ``spans.answer_row``.

    Returns:
        As ``compute``; in tagging as ``tag_metrics``, in answering as ``answer_metrics``.
    """
    if data.task == "tagging":
        found, gold = answers(data.task, logits), data.targets(split)
        return tag_metrics(data.labels, found, gold, data.lengths(split))
    if data.task == "answering":
        return answer_metrics(data.splits()[split], logits)
    queries = list(data.splits()[split]["text"]) if data.task == "ranking" else None
    return compute(data.task, logits, data.targets(split), queries)


def compute(
    task: str, logits: Array, targets: Array, queries: Sequence[str] | None = None
) -> dict[str, float]:
    """Return the metrics of a task in which each text has one answer.

    Args:
        task: ``classification``, ``multilabel``, ``ranking`` or ``regression``.
        logits: Float (N, C); C = 1 for regression and ranking.
        targets: Class indices or values, (N,); 0 or 1 for each label, (N, C), in multilabel.
        queries: For ranking, the query of each row.

    Returns:
        ``accuracy`` and ``macro_f1`` (and where C = 2 ``f1`` of class 1 and ``matthews``);
        ``micro_f1``, ``macro_f1`` and ``exact`` (share of texts with every label right) in
        multilabel; those of ``ranking.rank_metrics``; or ``pearson``, ``spearman`` and ``mse``.
        Correlations of constant predictions are 0, and so is the F1 of a label that neither is nor
        is answered.
    """
    targets = np.asarray(targets)
    if task == "ranking":
        assert queries is not None
        return rank_metrics(np.asarray(logits).reshape(-1), targets, queries)
    if task == "multilabel":
        sets = answers(task, logits)
        wanted = targets.astype(bool)
        return {
            "micro_f1": float(f1_score(wanted, sets, average="micro", zero_division=0)),
            "macro_f1": float(f1_score(wanted, sets, average="macro", zero_division=0)),
            "exact": float(np.mean((sets == wanted).all(axis=1))),
        }
    if task == "regression":
        found = np.asarray(logits, dtype=np.float64).reshape(-1)
        constant = found.std() < 1e-12 or targets.std() < 1e-12
        return {
            "pearson": 0.0 if constant else float(pearsonr(found, targets)[0]),
            "spearman": 0.0 if constant else float(spearmanr(found, targets)[0]),
            "mse": float(np.mean((found - targets) ** 2)),
        }
    classes = answers(task, logits)
    result = {
        "accuracy": float(np.mean(classes == targets)),
        "macro_f1": float(f1_score(targets, classes, average="macro", zero_division=0)),
    }
    if logits.shape[1] == 2:
        result["f1"] = float(f1_score(targets, classes, zero_division=0))
        result["matthews"] = float(matthews_corrcoef(targets, classes))
    return result


def chance(limit: float, count: int) -> int:
    """Return the most events among ``count`` that a share of ``limit`` explains.

    More of them happen in less than one of twenty draws where the share is ``limit``, 0..1.
    """
    return int(binom.ppf(0.95, count, limit))


def answers(task: str, logits: Array) -> Array:
    """Return what logits (N, C) say: class indices (N,), or bool (N, C) in multilabel.

    A text carries the labels whose probability is above one half.
    """
    found: Array = np.asarray(logits) > 0 if task == "multilabel" else logits.argmax(axis=1)
    return found


def values(task: str, logits: Array) -> Array:
    """Return the numbers (N,) that logits (N, 1) stand for: relevance 0..1 in ranking."""
    flat: Array = np.asarray(logits).reshape(-1)
    return sigmoid(flat) if task == "ranking" else flat


@dataclass(frozen=True)
class Calibration:
    """How far confidence is from accuracy.

    Args:
        error: Expected calibration error, 0..1.
        confidence, accuracy: Means of each bin that holds answers.
        count: Answers in each such bin.
    """

    error: float
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    count: tuple[int, ...]


def calibration(logits: Array, targets: Array, bins: int = 15) -> Calibration:
    """Sort answers into bins by the probability of the chosen class and compare with accuracy.

    ECE = Σ_b n_b/N · |accuracy_b - confidence_b|

    Args:
        logits: Float (N, C).
        targets: Class indices (N,); or 0 or 1 for each label, (N, C): then each label of each text
            is an answer, with the probability of what was said of it.
        bins: Bins of equal width over 0..1.

    Source: Guo et al. 2017, equation 3.
    """
    if np.ndim(targets) == 2:
        probability = sigmoid(logits).reshape(-1)
        top = np.maximum(probability, 1 - probability)
        right = (probability > 0.5) == np.asarray(targets, dtype=bool).reshape(-1)
    else:
        probabilities = softmax(logits)
        top = probabilities.max(axis=1)
        right = probabilities.argmax(axis=1) == np.asarray(targets)
    index = np.minimum((top * bins).astype(int), bins - 1)
    held = [index == b for b in range(bins) if (index == b).any()]
    mean: Callable[[Array], float] = lambda values: float(np.mean(values))  # noqa: E731
    confidence = tuple(mean(top[mask]) for mask in held)
    accuracy = tuple(mean(right[mask]) for mask in held)
    count = tuple(int(mask.sum()) for mask in held)
    gaps = (n * abs(a - c) for n, a, c in zip(count, accuracy, confidence, strict=True))
    return Calibration(sum(gaps) / len(top), confidence, accuracy, count)


def softmax(logits: Array) -> Array:
    """Return probabilities (N, C) of logits (N, C)."""
    shifted = np.exp(np.asarray(logits, dtype=np.float64) - logits.max(axis=1, keepdims=True))
    result: Array = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def sigmoid(logits: Array) -> Array:
    """Return the probability of each label on its own, of logits of any shape."""
    result: Array = 0.5 * (1 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))
    return result
