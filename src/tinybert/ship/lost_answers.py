"""The questions whose answers were lost and won on the way from teacher to student to artifact."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tinybert.answer_metrics import best_f1, no_answer, references, said
from tinybert.data import TaskData
from tinybert.ship.lost import listed

__all__ = ["changed", "place_differences"]

Array = npt.NDArray[Any]

_NONE = "(no answer)"


def changed(first: Array, second: Array) -> Array:
    """Return for which of N questions two systems answer differently, bool (N,).

    Args:
        first, second: Float (N, 4), from ``spans.answer_row``.
    """
    silent = no_answer(first), no_answer(second)
    moved = (first[:, :2] != second[:, :2]).any(axis=1)
    other: Array = (silent[0] != silent[1]) | (moved & ~silent[0])
    return other


def place_differences(
    data: TaskData,
    split: str,
    found: Mapping[str, Array],
    *,
    between: tuple[str, str] = ("teacher", "student"),
    most: int = 40,
) -> dict[str, Any]:
    """List the questions that two systems answer differently, the clearest loss or gain first.

    Args:
        data: The task and its splits.
        split: ``train``, ``dev`` or ``test``.
        found: Float (N, 4) by system, from ``spans.answer_row``.
        between: The two systems.
        most: Questions to list, as in ``lost.answer_differences``.

    Returns:
        As ``lost.answer_differences``: ``lost`` where the first has the greater F1, ``won`` where
        the second has, ``neither`` where they differ and are equally right. ``score`` is the
        answer's F1 with the best reference, 0..1.
    """
    rows = data.splits()[split]
    texts = {name: said(rows, own) for name, own in found.items()}
    right = {name: best_f1(rows, own) for name, own in texts.items()}
    gold, shown = references(rows), data.joined(split)
    a, b = (right[name] for name in between)
    kinds = {
        "lost": a > b,
        "won": a < b,
        "neither": (a == b) & changed(found[between[0]], found[between[1]]),
    }

    def entry(i: int) -> dict[str, Any]:
        row: dict[str, Any] = {"text": shown[i]}
        row["gold"] = " | ".join(dict.fromkeys(gold[i])) or _NONE
        for name, own in texts.items():
            row[name] = {"label": own[i] or _NONE, "score": float(right[name][i])}
            row[name]["right"] = bool(right[name][i] == 1)
        return row

    return listed(kinds, np.abs(a - b), entry, most)
