"""What a student lost and won against its teacher, class by class and text by text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinybert.metrics import answers, sigmoid, softmax

__all__ = ["answer_differences", "confusion", "listed", "recalls", "value_differences"]

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
        targets: Class indices (N,), or 0 or 1 for each label (N, C).
        labels: Class names.

    Returns:
        One row a class that the split has: ``label``, ``count``, and for each system its recall.
    """
    gold = np.asarray(targets)
    carried = gold.astype(bool) if gold.ndim == 2 else gold[:, None] == np.arange(len(labels))
    found = {name: _given(values, several=gold.ndim == 2) for name, values in logits.items()}
    rows = []
    for index, label in enumerate(labels):
        mask = carried[:, index]
        if not mask.any():
            continue
        row: dict[str, Any] = {"label": label, "count": int(mask.sum())}
        row |= {name: float(np.mean(sets[mask, index])) for name, sets in found.items()}
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
        targets: Class indices (N,), or 0 or 1 for each label (N, C).
        labels: Class names.
        between: The two systems.
        most: Texts to list; of each kind at least a quarter of them, as far as there are.

    Returns:
        ``count``, ``lost`` (only the first is right), ``won`` (only the second is), ``neither``,
        and ``texts``: ``kind``, ``text``, ``gold`` and each system's label (or labels, with commas
        between) and its probability (of several labels: of the least sure answer).
    """
    gold = np.asarray(targets)
    several = gold.ndim == 2
    a, b = (_given(logits[name], several=several) for name in between)
    carried = gold.astype(bool) if several else gold[:, None] == np.arange(len(labels))
    right_a, right_b = ((found == carried).all(axis=1) for found in (a, b))
    kinds = {
        "lost": right_a & ~right_b,
        "won": ~right_a & right_b,
        "neither": (a != b).any(axis=1) & ~right_a & ~right_b,
    }
    sure = np.minimum(*(_surety(logits[name], several=several) for name in between))

    def entry(i: int) -> dict[str, Any]:
        shown = {name: _answer(logits[name][i], labels, several) for name in logits}
        return {"text": texts[i], "gold": _named(carried[i], labels)} | shown

    return listed(kinds, sure, entry, most)


def listed(
    kinds: Mapping[str, Array], sure: Array, entry: Callable[[int], dict[str, Any]], most: int
) -> dict[str, Any]:
    """Count the texts of each kind, and list the surest of them.

    Args:
        kinds: By kind: whether each of N texts is of it.
        sure: How surely each text is answered, (N,).
        entry: Says of a text, by its place, what is shown.
        most: Texts to list; of each kind at least a quarter of them, as far as there are.
    """
    order = {
        kind: sorted(np.flatnonzero(mask), key=lambda i: -sure[i]) for kind, mask in kinds.items()
    }
    picked = _share({kind: len(rows) for kind, rows in order.items()}, most)
    entries = [
        {"kind": kind} | entry(int(i)) for kind, rows in order.items() for i in rows[: picked[kind]]
    ]
    counts = {kind: int(mask.sum()) for kind, mask in kinds.items()}
    return {"count": sum(counts.values()), **counts, "texts": entries}


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


def _given(logits: Array, *, several: bool) -> Array:
    """Return which labels are given, bool (N, C)."""
    if several:
        return answers("multilabel", logits)
    found: Array = logits.argmax(axis=1)[:, None] == np.arange(logits.shape[1])
    return found


def _surety(logits: Array, *, several: bool) -> Array:
    """Return the probability of each text's answer; of several labels, of the least sure."""
    if not several:
        found: Array = softmax(logits).max(axis=1)
        return found
    each = sigmoid(logits)
    least: Array = np.maximum(each, 1 - each).min(axis=1)
    return least


def _answer(logits: Array, labels: Sequence[str], several: bool) -> dict[str, Any]:
    """Return what one text is answered, and how surely."""
    given = _given(logits[None], several=several)[0]
    score = float(_surety(logits[None], several=several)[0])
    return {"label": _named(given, labels), "score": score}


def _named(given: Array, labels: Sequence[str]) -> str:
    """Return the labels that are given, with commas between; a dash where there is none."""
    return ", ".join(labels[int(i)] for i in np.flatnonzero(given)) or "–"


def _share(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """Share ``most`` places: a quarter each as far as wanted, the rest in order."""
    given = {kind: min(count, most // 4) for kind, count in counts.items()}
    for kind, count in counts.items():
        given[kind] += min(count - given[kind], most - sum(given.values()))
    return given
