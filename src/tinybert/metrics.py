"""Quality of answers, and the baselines that every student stands beside."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import pearsonr, spearmanr
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, matthews_corrcoef

from tinybert.data import TaskData

__all__ = [
    "Calibration",
    "answers",
    "calibration",
    "compute",
    "majority",
    "sigmoid",
    "softmax",
    "tfidf",
]

Array = npt.NDArray[Any]


def compute(task: str, logits: Array, targets: Array) -> dict[str, float]:
    """Return the metrics of a task.

    Args:
        task: ``classification``, ``multilabel`` or ``regression``.
        logits: Float (N, C); C = 1 for regression.
        targets: Class indices or values, (N,); 0 or 1 for each label, (N, C), in multilabel.

    Returns:
        ``accuracy`` and ``macro_f1`` (and where C = 2 ``f1`` of class 1 and ``matthews``);
        ``micro_f1``, ``macro_f1`` and ``exact`` (share of texts with every label right) in
        multilabel; or ``pearson``, ``spearman`` and ``mse``. Correlations of constant predictions
        are 0, and so is the F1 of a label that neither is nor is answered.
    """
    targets = np.asarray(targets)
    if task == "multilabel":
        sets = answers(task, logits)
        wanted = targets.astype(bool)
        return {
            "micro_f1": float(f1_score(wanted, sets, average="micro", zero_division=0)),
            "macro_f1": float(f1_score(wanted, sets, average="macro", zero_division=0)),
            "exact": float(np.mean((sets == wanted).all(axis=1))),
        }
    if task == "regression":
        values = np.asarray(logits, dtype=np.float64).reshape(-1)
        constant = values.std() < 1e-12 or targets.std() < 1e-12
        return {
            "pearson": 0.0 if constant else float(pearsonr(values, targets)[0]),
            "spearman": 0.0 if constant else float(spearmanr(values, targets)[0]),
            "mse": float(np.mean((values - targets) ** 2)),
        }
    classes = answers(task, logits)
    found = {
        "accuracy": float(np.mean(classes == targets)),
        "macro_f1": float(f1_score(targets, classes, average="macro", zero_division=0)),
    }
    if logits.shape[1] == 2:
        found["f1"] = float(f1_score(targets, classes, zero_division=0))
        found["matthews"] = float(matthews_corrcoef(targets, classes))
    return found


def answers(task: str, logits: Array) -> Array:
    """Return what logits (N, C) say: class indices (N,), or bool (N, C) in multilabel.

    A text carries the labels whose probability is above one half.
    """
    found: Array = np.asarray(logits) > 0 if task == "multilabel" else logits.argmax(axis=1)
    return found


def majority(data: TaskData, split: str = "dev") -> dict[str, float]:
    """Return the metrics of always answering train's most frequent class, or its mean target.

    In multilabel: the labels that more than half of the texts carry, else the most frequent one.
    """
    train, rows = np.asarray(data.train["label"]), data.splits()[split]
    targets = np.asarray(rows["label"])
    if data.task == "regression":
        return compute(data.task, np.full((len(targets), 1), train.mean()), targets)
    if data.task == "multilabel":
        shares = train.mean(axis=0)
        usual = shares - min(0.5, shares.max() - 1e-9)
        return compute(data.task, np.tile(usual, (len(targets), 1)), targets)
    counts = np.bincount(train, minlength=len(data.labels)).astype(np.float64)
    return compute(data.task, np.tile(counts, (len(targets), 1)), targets)


def tfidf(data: TaskData, split: str = "dev") -> Array:
    """Return logits of TF-IDF with logistic regression (ridge for regression), trained on train.

    Word 1- and 2-grams; character 1- to 3-grams where words are not set apart by spaces.

    Returns:
        Float (N, C) for the rows of the split; C = 1 for regression.
    """
    train, rows = _joined(data, "train"), _joined(data, split)
    spaceless = sum(" " in text.strip() for text in train) < len(train) / 2
    vectorizer = (
        TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True, min_df=1)
        if spaceless
        else TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    )
    inputs, queries = vectorizer.fit_transform(train), vectorizer.transform(rows)
    targets = np.asarray(data.train["label"])
    if data.task == "regression":
        ridge: Array = Ridge(alpha=1.0).fit(inputs, targets).predict(queries)
        return ridge.reshape(-1, 1)
    if data.task == "multilabel":
        columns = [_one_label(inputs, queries, column) for column in targets.T]
        return np.stack(columns, axis=1)
    model = LogisticRegression(C=10.0, max_iter=2000).fit(inputs, targets)
    logits = np.full((len(rows), len(data.labels)), -1e9)
    logits[:, model.classes_] = np.log(model.predict_proba(queries) + 1e-12)
    return logits


def _one_label(inputs: Any, queries: Any, column: Array) -> Array:
    """Return the logits of one label; where train knows one answer alone, that answer."""
    if len(set(column.tolist())) == 1:
        return np.full(queries.shape[0], 1.0 if column[0] else -1.0)
    model = LogisticRegression(C=10.0, max_iter=2000).fit(inputs, column)
    logits: Array = model.decision_function(queries)
    return logits


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


def _joined(data: TaskData, split: str) -> list[str]:
    """Return each row's text, pairs joined."""
    rows = data.splits()[split]
    if not data.pair:
        return list(rows["text"])
    return [f"{a}\n{b}" for a, b in zip(rows["text"], rows["text2"], strict=True)]
