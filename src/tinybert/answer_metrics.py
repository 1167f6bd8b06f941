"""Quality of answers that are spans of a context."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset

__all__ = [
    "answer_metrics",
    "best_f1",
    "choose_threshold",
    "exact",
    "f1",
    "no_answer",
    "references",
    "said",
]

Array = npt.NDArray[Any]

_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNITS = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_DROPPED = str.maketrans("", "", string.punctuation)


def answer_metrics(split: Dataset, found: Array) -> dict[str, float]:
    """Return how well questions are answered, the best of several references counted.

    Args:
        split: Columns ``text2`` (contexts) and ``label`` (N lists of start and end, in characters;
            empty: no answer).
        found: Float (N, 4), from ``spans.answer_row``.

    Returns:
        ``answer_f1`` and ``exact``; where some questions have no answer also
        ``has_answer_f1`` and ``has_answer_exact`` of those that have one, and
        ``no_answer_exact`` of those that have none.

    Source: Rajpurkar et al. 2016 and 2018, the official ``evaluate-v2.0.py``; where a context is
        written without spaces, Cui et al. 2019 (CMRC 2018).
    Differs: CMRC's code names the punctuation that it drops; here it is all that is no letter,
        digit or character.
    """
    texts, wanted = said(split, found), references(split)
    has = np.array([golds != [""] for golds in wanted], dtype=bool)
    spaceless = [_spaceless(context) for context in split["text2"]]
    same = np.array(
        [
            max(exact(text, gold, s) for gold in golds)
            for text, golds, s in zip(texts, wanted, spaceless, strict=True)
        ]
    )
    each = best_f1(split, texts)
    metrics = {"answer_f1": _mean(each), "exact": _mean(same)}
    if has.all():
        return metrics
    return metrics | {
        "has_answer_f1": _mean(each[has]),
        "has_answer_exact": _mean(same[has]),
        "no_answer_exact": _mean(same[~has]),
    }


def best_f1(split: Dataset, texts: Sequence[str]) -> Array:
    """Return the F1 of each of N answers with the best of its references, float (N,)."""
    return np.array(
        [
            max(f1(text, gold, _spaceless(context)) for gold in golds)
            for text, golds, context in zip(texts, references(split), split["text2"], strict=True)
        ]
    )


def choose_threshold(split: Dataset, found: Array) -> float:
    """Return the threshold of no answer with the best mean F1.

    Args:
        split: As for ``answer_metrics``.
        found: Float (N, 4), from ``spans.answer_row`` with the threshold 0.

    Returns:
        A value between two margins (logit of no answer less that of the best span); below the
        least, or above the greatest, where that is best.

    Source: ``find_best_thresh`` of the official ``evaluate-v2.0.py``.
    """
    none = np.array([golds == [""] for golds in references(split)], dtype=np.float64)
    gain = best_f1(split, said(split, found, always=True)) - none
    margin = found[:, 3] - found[:, 2]
    order = np.argsort(margin, kind="stable")
    ordered = margin[order]
    edges = np.concatenate([[ordered[0] - 1], (ordered[1:] + ordered[:-1]) / 2, [ordered[-1] + 1]])
    total = np.concatenate([[0.0], np.cumsum(gain[order])])
    tied = np.concatenate([[False], ordered[1:] == ordered[:-1], [False]])
    return float(edges[int(np.where(tied, -np.inf, total).argmax())])


def said(split: Dataset, found: Array, *, always: bool = False) -> list[str]:
    """Return the N answers as texts, empty where there is none; ``always`` there is one."""
    texts = (
        context[int(start) : int(end)]
        for context, (start, end) in zip(split["text2"], found[:, :2], strict=True)
    )
    silent = np.zeros(len(found), dtype=bool) if always else no_answer(found)
    return ["" if none else text for text, none in zip(texts, silent, strict=True)]


def no_answer(found: Array) -> Array:
    """Return for which of N rows there is no answer, bool (N,)."""
    silent: Array = (found[:, 3] > found[:, 2]) | (found[:, 0] >= found[:, 1])
    return silent


def references(split: Dataset) -> list[list[str]]:
    """Return the right answers of N questions; one empty text where there is none."""
    return [
        [context[start:end] for start, end in places] or [""]
        for context, places in zip(split["text2"], split["label"], strict=True)
    ]


def exact(answer: str, gold: str, spaceless: bool = False) -> float:
    """Return 1 where two answers are the same once normalized, else 0.

    >>> exact("The Rhine.", "rhine"), exact("莱茵河。", "莱茵河", spaceless=True)
    (1.0, 1.0)
    """
    return float(_units(answer, spaceless) == _units(gold, spaceless))


def f1(answer: str, gold: str, spaceless: bool = False) -> float:
    """Return the F1 of what two answers share: words, or of the longest run of characters.

    >>> round(f1("the upper Rhine", "Rhine"), 3), round(f1("莱茵河上", "莱茵河", spaceless=True), 3)
    (0.667, 0.857)
    """
    own, wanted = _units(answer, spaceless), _units(gold, spaceless)
    if not own or not wanted:
        return float(own == wanted)
    shared = _longest_run(own, wanted) if spaceless else (Counter(own) & Counter(wanted)).total()
    return 2 * shared / (len(own) + len(wanted))


def _units(text: str, spaceless: bool) -> list[str]:
    """Return what is compared: words without articles and punctuation, or characters."""
    low = text.lower()
    return _UNITS.findall(low) if spaceless else _ARTICLES.sub(" ", low.translate(_DROPPED)).split()


def _longest_run(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the length of the longest run of units that stands in both."""
    best, above = 0, [0] * (len(b) + 1)
    for unit in a:
        row = [0] * (len(b) + 1)
        for j, other in enumerate(b):
            if unit == other:
                row[j + 1] = above[j] + 1
        best, above = max(best, *row), row
    return best


def _spaceless(context: str) -> bool:
    """Whether a context is written without spaces between words."""
    return len(re.findall(f"[{_HAN}]", context)) > 0.2 * len(context)


def _mean(values: Array) -> float:
    """Return the mean; 0 of nothing."""
    return float(values.mean()) if len(values) else 0.0
