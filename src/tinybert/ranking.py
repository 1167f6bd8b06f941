"""Quality of an order of passages for each query."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["rank_metrics"]

Array = npt.NDArray[Any]


def rank_metrics(
    scores: Array, relevance: Array, queries: Sequence[str], depth: int = 10
) -> dict[str, float]:
    """Return how well scores order the passages of each query.

    NDCG@k = Σ_{r≤k} rel_r / log2(r + 1), divided by that of the best order; MRR@k = 1/r of the
    first passage with relevance above one half, 0 beyond k. Passages that tie share their places:
    each place counts with the mean relevance of those that tie for it.

    Args:
        scores: Float (N,), higher is better.
        relevance: Float (N,), 0..1.
        queries: The query of each row; rows of equal text belong together.
        depth: k.

    Returns:
        ``ndcg@10`` and ``mrr@10`` (or another k), means over the queries with a relevant passage;
        0 where there is none.

    Source: Jarvelin and Kekalainen 2002, section 2.2, with relevance itself as the gain; the mean
    reciprocal rank of Voorhees 1999, section 4.
    """
    groups: dict[str, list[int]] = {}
    for i, query in enumerate(queries):
        groups.setdefault(query.strip(), []).append(i)
    gains, ranks = [], []
    for rows in groups.values():
        own, gold = np.asarray(scores)[rows], np.asarray(relevance, dtype=np.float64)[rows]
        if gold.max() <= 0:
            continue
        discount = 1 / np.log2(np.arange(2, len(rows) + 2))
        discount[depth:] = 0
        best = float(np.sort(gold)[::-1] @ discount)
        gains.append(float(_shared(own, gold) @ discount) / best)
        ranks.append(_reciprocal(own, gold, depth))
    found = {f"ndcg@{depth}": gains, f"mrr@{depth}": ranks}
    return {name: float(np.mean(values)) if values else 0.0 for name, values in found.items()}


def _shared(scores: Array, relevance: Array) -> Array:
    """Return the relevance at each place, the best first; ties share theirs."""
    order = np.argsort(-scores, kind="stable")
    placed = relevance[order].astype(np.float64)
    levels = scores[order]
    for level in np.unique(levels):
        placed[levels == level] = placed[levels == level].mean()
    return placed


def _reciprocal(scores: Array, relevance: Array, depth: int) -> float:
    """Return 1/r of the first relevant passage, in the middle of those it ties with."""
    right = relevance > 0.5
    if not right.any():
        return 0.0
    top = scores[right].max()
    rank = float((scores > top).sum() + ((scores == top).sum() + 1) / 2)
    return 1 / rank if rank <= depth else 0.0
