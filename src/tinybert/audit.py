"""What is odd about splits: empty texts, duplicates, texts that stand in two of them."""

from collections import Counter
from typing import Any

import numpy as np
from datasets import Dataset

from tinybert.errors import DataError
from tinybert.soft_labels import SOFT

__all__ = ["count_oddities", "cut_dev", "drop_empty", "find_leaks", "row_keys"]


def drop_empty(train: Dataset, notes: list[str]) -> Dataset:
    """Take empty texts out of train."""
    kept = [i for i, text in enumerate(train["text"]) if text.strip()]
    if len(kept) < len(train):
        notes.append(f"{len(train) - len(kept):,} empty texts taken out of train")
    return train.select(kept) if len(kept) < len(train) else train


def row_keys(split: Dataset) -> list[tuple[str, str]]:
    """Return what makes two rows the same: their texts without spaces around."""
    second = split["text2"] if "text2" in split.column_names else [""] * len(split)
    return [(a.strip(), b.strip()) for a, b in zip(split["text"], second, strict=True)]


def cut_dev(train: Dataset, fraction: float, seed: int, task: str) -> tuple[Dataset, Dataset]:
    """Cut a dev split off train; equal texts stay together, classes keep their shares.

    In ranking all passages of a query stay together, in answering all questions about a context.
    """
    keys = row_keys(train)
    if task in ("answering", "ranking"):
        shared = train["text"] if task == "ranking" else train["text2"]
        keys = [(text.strip(), "") for text in shared]
    first = {key: i for i, key in reversed(list(enumerate(keys)))}
    labels = train["label"]
    groups: dict[Any, list[tuple[str, str]]] = {}
    for key, i in first.items():
        groups.setdefault(labels[i] if task == "classification" else 0, []).append(key)
    random = np.random.default_rng(seed)
    chosen: set[tuple[str, str]] = set()
    for group in sorted(groups):
        members = sorted(groups[group])
        count = min(len(members) - 1, max(1, round(fraction * len(members))))
        chosen |= {members[i] for i in random.permutation(len(members))[:count]}
    if not chosen:
        raise DataError("too few rows to cut a dev split off train; wanted two of some class")
    inside = [key in chosen for key in keys]
    return (
        train.select([i for i, yes in enumerate(inside) if not yes]),
        train.select([i for i, yes in enumerate(inside) if yes]),
    )


def find_leaks(splits: dict[str, Dataset], drop: bool, notes: list[str]) -> dict[str, Dataset]:
    """Count, and drop if asked, texts that stand in two splits."""
    for lower, upper in (("train", "dev"), ("train", "test"), ("dev", "test")):
        if upper not in splits:
            continue
        held = set(row_keys(splits[upper]))
        kept = [i for i, key in enumerate(row_keys(splits[lower])) if key not in held]
        shared = len(splits[lower]) - len(kept)
        if shared:
            done = f"dropped from {lower}" if drop else "kept; --drop-leaks drops them"
            share = len(held & set(row_keys(splits[lower]))) / max(1, len(held))
            notes.append(
                f"{shared:,} {lower} rows also stand in {upper} ({share:.1%} of it): {done}"
            )
            if drop:
                splits[lower] = splits[lower].select(kept)
                if not kept:
                    raise DataError(f"every {lower} row also stands in {upper}; nothing is left")
    return splits


def count_oddities(
    splits: dict[str, Dataset], labels: tuple[str, ...], task: str, notes: list[str]
) -> None:
    """Note duplicates, contradictions and labels seen once."""
    seen: dict[tuple[str, str], set[Any]] = {}
    keys = row_keys(splits["train"])
    given = splits["train"]["label"]
    for key, label in zip(keys, given, strict=True):
        seen.setdefault(key, set()).add(str(label))
    if len(seen) < len(keys):
        notes.append(f"{len(keys) - len(seen):,} duplicate rows in train: kept")
    torn = sum(len(found) > 1 for found in seen.values())
    if torn and labels:
        notes.append(f"{torn:,} train texts are labelled in more than one way")
    carried = given
    if SOFT in splits["train"].column_names:
        carried = (i for row in splits["train"][SOFT] for i, share in enumerate(row) if share)
    elif task == "multilabel":
        carried = (i for row in given for i, on in enumerate(row) if on)
    elif task == "answering":
        carried = ()
    elif task == "tagging":
        carried = (tag for row in given for tag in row)
    counts: Counter[Any] = Counter(carried)
    for what, wanted in (("seen once", 1), ("never seen", 0)):
        names = [label for i, label in enumerate(labels) if counts[i] == wanted]
        if names:
            notes.append(f"labels {what} in train: {', '.join(names)}")
    for name in ("dev", "test"):
        empty = sum(not text.strip() for text in splits[name]["text"]) if name in splits else 0
        if empty:
            notes.append(f"{empty:,} empty texts in {name}: kept")
