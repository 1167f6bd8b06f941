"""Quality of the tags of words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from seqeval.metrics import f1_score, precision_score, recall_score

from tinybert.tags import PLAIN, as_bioes, scheme_of

__all__ = ["split_by_text", "tag_metrics"]

Array = npt.NDArray[Any]


def split_by_text(flat: Array, lengths: Sequence[int]) -> list[Array]:
    """Cut a row a word, (W, …), into one array for each text of so many words."""
    return np.split(flat, np.cumsum(np.asarray(lengths, dtype=np.int64))[:-1]) if lengths else []


def tag_metrics(
    labels: Sequence[str], found: Array, gold: Array, lengths: Sequence[int]
) -> dict[str, float]:
    """Return how well words are tagged.

    Args:
        labels: The tags; their scheme decides what is measured.
        found, gold: Tags of all words, int (W,).
        lengths: Words of each text, which make W.

    Returns:
        ``entity_f1`` (micro), ``precision`` and ``recall`` of whole entities, and
        ``token_accuracy``; of plain tags ``token_accuracy`` alone.

    Source: Tjong Kim Sang and De Meulder 2003, section 2: an entity counts where its kind and all
    its words are right. Computed by seqeval, whose default reads broken sequences as ``tags.spans``
    does; M, L and U are told to it as I, E and S.
    """
    accuracy = float(np.mean(found == gold)) if len(gold) else 0.0
    if scheme_of(labels) == PLAIN:
        return {"token_accuracy": accuracy}
    names = [as_bioes(tag) for tag in labels]
    wanted, given = (
        [[names[int(tag)] for tag in row] for row in split_by_text(flat, lengths)]
        for flat in (gold, found)
    )
    return {
        "entity_f1": float(f1_score(wanted, given, zero_division=0)),
        "precision": float(precision_score(wanted, given, zero_division=0)),
        "recall": float(recall_score(wanted, given, zero_division=0)),
        "token_accuracy": accuracy,
    }
