"""What is odd about splits: empty texts, duplicates, texts that stand in two of them."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from datasets import Dataset

from tinybert.asked import check_answers
from tinybert.errors import DataError
from tinybert.soft_labels import SOFT

__all__ = ["clean", "count_oddities", "cut_dev", "drop_empty", "find_leaks", "row_keys"]


def clean(
    splits: Mapping[str, Dataset],
    task: str,
    labels: tuple[str, ...],
    source: str,
    notes: list[str],
    dev_fraction: float,
    seed: int,
    drop_leaks: bool,
) -> dict[str, Dataset]:
    """Return splits without empty texts, dev cut off train where there was none.

    Args:
        splits: ``train``, and ``dev`` and ``test`` where there are any.
        task: One of ``labels.TASKS``.
        labels: Names; none for values.
        source: What an error calls the data.
        notes: Told what was found and done.
        dev_fraction, seed, drop_leaks: As for ``data.load``.

    Raises:
        DataError: No text, one label alone, or too few rows to cut.
    """
    found = {**splits, "train": drop_empty(splits["train"], notes)}
    if task == "answering":
        check_answers(found["train"], source)
    if "dev" not in found:
        found["train"], found["dev"] = cut_dev(found["train"], dev_fraction, seed, task)
        cut = f"{len(found['dev']):,} rows of train cut off{' by label' if labels else ''}"
        notes.append(f"no dev split: {cut}, seed {seed}")
    found = find_leaks(found, drop_leaks, notes)
    count_oddities(found, labels, task, notes)
    _check_variety(found["train"], task, labels, source)
    return found


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


def _check_variety(train: Dataset, kind: str, labels: tuple[str, ...], source: str) -> None:
    """Refuse a train split in which every row is labelled alike."""
    given = list(train["label"])
    if kind == "tagging":
        given = [tag for row in given for tag in row]
    if not len(train):
        raise DataError(f"{source}: no train row has a text; wanted some")
    shared = SOFT in train.column_names and any(row != train[SOFT][0] for row in train[SOFT])
    if labels and not shared and all(label == given[0] for label in given):
        names = labels if kind == "multilabel" else [labels[given[0]]]
        shown = ", ".join(names)
        raise DataError(f"{source}: every train row has the label `{shown}`; wanted two or more")
