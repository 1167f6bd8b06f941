"""More text for the teacher to label: random passages of the training texts."""

import re

import numpy as np
from datasets import Dataset, concatenate_datasets

from tinybert.soft_labels import SOFT

__all__ = ["add_crops", "sample"]

_SHARE = (0.2, 0.8)


def add_crops(train: Dataset, copies: int, *, seed: int) -> Dataset:
    """Return the training rows and, after them, random passages of their texts.

    Each passage is a run of words (of characters where a text has no spaces) of 20 to 80 % of the
    text's length. In a pair one of the two texts, drawn at random, is cut. Passages have no label:
    that of their row need not hold for them, only the teacher's answers may be learned from them.

    Args:
        train: Columns ``text``, ``text2`` (pairs only), ``label``, ``line``.
        copies: Passages a row; repeated and one-word passages are left out.
        seed: Seeds the draw.

    Returns:
        The rows, then the passages, without labels, told apart by a column ``passage``.
    """
    rows = train.add_column("passage", [False] * len(train))
    if copies == 0:
        return rows
    random = np.random.default_rng(seed)
    pair = "text2" in train.column_names
    seen = set(train["text"])
    found: dict[str, list[object]] = {name: [] for name in rows.column_names}
    for row in train:
        unlabelled = {name: None for name in ("label", SOFT) if name in row}
        for _ in range(copies):
            name = "text2" if pair and random.random() < 0.5 else "text"
            cut = _passage(row[name], random)
            key = cut if not pair else "\n".join((row | {name: cut})[n] for n in ("text", "text2"))
            if not cut or key in seen:
                continue
            seen.add(key)
            for column, value in (row | unlabelled | {name: cut, "passage": True}).items():
                found[column].append(value)
    extra = Dataset.from_dict(found, features=rows.features)
    return concatenate_datasets([rows, extra])


def sample(texts: Dataset, rows: int | None, seed: int) -> Dataset:
    """Return at most so many rows, drawn by seed, in their old order; None takes all."""
    if rows is None or rows >= len(texts):
        return texts
    return texts.select(np.sort(np.random.default_rng(seed).permutation(len(texts))[:rows]))


def _passage(text: str, random: np.random.Generator) -> str:
    """Return a random run of words, or of characters where there are few spaces."""
    words = text.split()
    units = words if len(words) * 12 > len(text) else re.findall(r"[A-Za-z0-9]+|\S", text)
    joint = " " if units is words else ""
    if len(units) < 3:
        return ""
    low, high = (round(share * len(units)) for share in _SHARE)
    length = int(random.integers(max(2, low), max(2, high) + 1))
    start = int(random.integers(0, len(units) - length + 1))
    return joint.join(units[start : start + length])
