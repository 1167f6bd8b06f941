"""The texts whose entities were lost and won on the way from teacher to student to artifact."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinybert.metrics import softmax
from tinybert.ship.lost import listed
from tinybert.tag_metrics import split_by_text
from tinybert.tags import PLAIN, Span, scheme_of, spans

__all__ = ["word_differences"]

Array = npt.NDArray[Any]


def word_differences(
    words: Sequence[Sequence[str]],
    logits: Mapping[str, Array],
    targets: Array,
    labels: Sequence[str],
    *,
    between: tuple[str, str] = ("teacher", "student"),
    most: int = 40,
) -> dict[str, Any]:
    """List the texts in which two systems find other entities, the surest disagreement first.

    Args:
        words: The words of N texts, W in all.
        logits: Float (W, C) by system.
        targets: Tags (W,).
        labels: The tags. Where they are plain, a tagged word stands for an entity.
        between: The two systems.
        most: Texts to list, as in ``lost.answer_differences``.

    Returns:
        As ``lost.answer_differences``. The ``gold`` and ``label`` of a text name the entities that
        not all have found in it; ``score`` is the probability of the least sure of the tags that
        the two systems set differently.
    """
    lengths = [len(text) for text in words]
    plain = scheme_of(labels) == PLAIN

    def read(flat: Array) -> list[list[Span]]:
        rows = split_by_text(flat, lengths)
        return [spans([labels[int(tag)] for tag in row], plain=plain) for row in rows]

    chosen = {name: found.argmax(axis=1) for name, found in logits.items()}
    gold, given = read(targets), {name: read(tags) for name, tags in chosen.items()}
    scores = {
        name: _least(softmax(found).max(axis=1), chosen[between[0]] != chosen[between[1]], lengths)
        for name, found in logits.items()
    }
    first, second = (given[name] for name in between)
    right_a, right_b = (_same(own, gold) for own in (first, second))
    kinds = {
        "lost": right_a & ~right_b,
        "won": ~right_a & right_b,
        "neither": ~_same(first, second) & ~right_a & ~right_b,
    }

    def entry(i: int) -> dict[str, Any]:
        shared = set(gold[i]).intersection(*(given[name][i] for name in given))
        row: dict[str, Any] = {"text": " ".join(words[i])}
        row["gold"] = _named(gold[i], shared, words[i])
        for name, found in given.items():
            row[name] = {"label": _named(found[i], shared, words[i]), "score": scores[name][i]}
        return row

    return listed(kinds, np.minimum(*(np.array(scores[name]) for name in between)), entry, most)


def _same(first: Sequence[Sequence[Span]], second: Sequence[Sequence[Span]]) -> Array:
    """Return in which texts both find the same, bool (N,)."""
    return np.array([a == b for a, b in zip(first, second, strict=True)], dtype=bool)


def _least(probability: Array, counted: Array, lengths: Sequence[int]) -> list[float]:
    """Return the least probability of the words that count in each text; 1 where none does."""
    rows = split_by_text(np.where(counted, probability, 1.0), lengths)
    return [float(row.min(initial=1.0)) for row in rows]


def _named(found: Sequence[Span], shared: set[Span], words: Sequence[str]) -> str:
    """Name entities and what they are; a dash where there is none."""
    own = [span for span in found if span not in shared]
    parts = (f"{' '.join(words[span.start : span.end])}: {span.kind}" for span in own)
    return "; ".join(parts) or "–"
