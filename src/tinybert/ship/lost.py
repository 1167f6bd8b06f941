"""What a student lost and won against its teacher, class by class and text by text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinybert.metrics import softmax

__all__ = ["answer_differences", "confusion", "recalls", "value_differences"]

Array = npt.NDArray[Any]


def confusion(logits: Array, targets: Array, classes: int) -> list[list[int]]:
    """Count answers by gold class (row) and answered class (column), (C, C)."""
    flat = np.asarray(targets) * classes + logits.argmax(axis=1)
    counts = np.bincount(flat, minlength=classes * classes).reshape(classes, classes)
    table: list[list[int]] = counts.tolist()
    return table


def recalls(
    logits: Mapping[str, Array], targets: Array, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Return each class's recall by system, the greatest loss from teacher to student first.

    Args:
        logits: Float (N, C) by system; ``teacher`` and ``student`` are there.
        targets: Class indices (N,).
        labels: Class names.

    Returns:
        One row a class that the split has: ``label``, ``count``, and for each system its recall.
    """
    rows = []
    for index, label in enumerate(labels):
        mask = np.asarray(targets) == index
        if not mask.any():
            continue
        row: dict[str, Any] = {"label": label, "count": int(mask.sum())}
        row |= {
            name: float(np.mean(values[mask].argmax(axis=1) == index))
            for name, values in logits.items()
        }
        rows.append(row)
    return sorted(rows, key=lambda row: row["student"] - row["teacher"])


def answer_differences(
    texts: Sequence[str],
    logits: Mapping[str, Array],
    targets: Array,
    labels: Sequence[str],
    *,
    between: tuple[str, str] = ("teacher", "student"),
    most: int = 40,
) -> dict[str, Any]:
    """List the texts that two systems answer differently, the surest disagreement first.

    Args:
        texts: N texts.
        logits: Float (N, C) by system.
        targets: Class indices (N,).
        labels: Class names.
        between: The two systems.
        most: Texts to list; of each kind at least a quarter of them, as far as there are.

    Returns:
        ``count``, ``lost`` (only the first is right), ``won`` (only the second is), ``neither``,
        and ``texts``: ``kind``, ``text``, ``gold`` and each system's label and probability.
    """
    first, second = (softmax(logits[name]) for name in between)
    a, b, gold = first.argmax(axis=1), second.argmax(axis=1), np.asarray(targets)
    kinds = {
        "lost": (a == gold) & (b != gold),
        "won": (a != gold) & (b == gold),
        "neither": (a != b) & (a != gold) & (b != gold),
    }
    sure = np.minimum(first.max(axis=1), second.max(axis=1))
    order = {
        kind: sorted(np.flatnonzero(mask), key=lambda i: -sure[i]) for kind, mask in kinds.items()
    }
    picked = _share({kind: len(rows) for kind, rows in order.items()}, most)
    listed = []
    for kind, rows in order.items():
        for i in map(int, rows[: picked[kind]]):
            entry = {"kind": kind, "text": texts[i], "gold": labels[int(gold[i])]}
            listed.append(entry | {name: _top(logits[name][i], labels) for name in logits})
    counts = {kind: int(mask.sum()) for kind, mask in kinds.items()}
    return {"count": sum(counts.values()), **counts, "texts": listed}


def value_differences(
    texts: Sequence[str],
    values: Mapping[str, Array],
    targets: Array,
    *,
    between: tuple[str, str] = ("teacher", "student"),
    most: int = 40,
) -> dict[str, Any]:
    """List the texts on which two regressors are furthest apart, the greatest distance first.

    Args:
        texts: N texts.
        values: Float (N,) by system.
        targets: Float (N,).
        between: The two systems.
        most: Texts to list.

    Returns:
        ``mean`` and ``largest`` absolute difference, and ``texts``: ``text``, ``gold``,
        ``difference`` and each system's value.
    """
    a, b = (np.asarray(values[name], dtype=np.float64) for name in between)
    apart = np.abs(b - a)
    listed = []
    for i in np.argsort(-apart, kind="stable")[:most]:
        entry = {"text": texts[int(i)], "gold": float(targets[i]), "difference": float(b[i] - a[i])}
        listed.append(entry | {name: float(found[i]) for name, found in values.items()})
    return {"mean": float(apart.mean()), "largest": float(apart.max()), "texts": listed}


def _top(logits: Array, labels: Sequence[str]) -> dict[str, Any]:
    """Return the chosen label and its probability."""
    probabilities = softmax(logits[None])[0]
    best = int(probabilities.argmax())
    return {"label": labels[best], "score": float(probabilities[best])}


def _share(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """Share ``most`` places: a quarter each as far as wanted, the rest in order."""
    given = {kind: min(count, most // 4) for kind, count in counts.items()}
    for kind, count in counts.items():
        given[kind] += min(count - given[kind], most - sum(given.values()))
    return given
