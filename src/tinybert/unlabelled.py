"""Texts without labels, for a teacher to label: read, cleaned and counted."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets

from tinybert.errors import DataError, near_miss
from tinybert.sources import Columns
from tinybert.tables import SUFFIXES, ending, holds_rows, read_lines, read_table

__all__ = ["read_unlabelled"]

Key = tuple[str, str]


def read_unlabelled(
    paths: Sequence[str | Path],
    columns: Columns,
    *,
    held: Collection[Key],
    known: Collection[Key],
    rows: int | None,
    seed: int,
) -> tuple[Dataset, list[str]]:
    """Read texts that nobody labelled.

    Args:
        paths: Plain text (``.txt``, one text a line), or CSV, TSV, JSONL or Parquet with the text
            columns of the labelled data; a file with the columns ``text`` and ``text2`` will do;
            all but Parquet may be packed as ``.gz`` or ``.xz``.
        columns: Column names of the labelled data.
        held: Texts of dev and test, without spaces around: they are left out.
        known: Texts of train, likewise: they need no second reading.
        rows: At most so many, drawn by seed; None takes all.
        seed: Seeds the draw.

    Returns:
        Columns ``text``, ``text2`` (pairs only), ``line``; and a note on what was left out.

    Raises:
        DataError: A file or row cannot be used, or no row is left.
    """
    names = [columns.text, *([columns.text2] if columns.text2 is not None else [])]
    read = concatenate_datasets([_read(Path(path), names) for path in paths])
    second = read["text2"] if columns.text2 is not None else [""] * len(read)
    keys = [(a.strip(), b.strip()) for a, b in zip(read["text"], second, strict=True)]
    counts = dict.fromkeys(("empty", "held", "repeated"), 0)
    kept, seen = [], set(known)
    for i, key in enumerate(keys):
        if not all(key[: len(names)]):
            counts["empty"] += 1
        elif key in held:
            counts["held"] += 1
        elif key in seen:
            counts["repeated"] += 1
        else:
            seen.add(key)
            kept.append(i)
    listed = ", ".join(Path(path).name for path in paths)
    said = (
        f"unlabelled {listed}: {len(kept):,} texts; dropped: {counts['empty']:,} empty, "
        f"{counts['held']:,} that stand in dev or test, {counts['repeated']:,} seen before"
    )
    if not kept:
        raise DataError(f"{said}; nothing is left")
    if rows is not None and rows < len(kept):
        picked = np.sort(np.random.default_rng(seed).permutation(len(kept))[:rows])
        kept = [kept[i] for i in picked]
        said += f"; {rows:,} drawn, seed {seed}"
    return read.select(kept), [said]


def _read(path: Path, names: Sequence[str]) -> Dataset:
    """Read one file's texts and their lines."""
    if ending(path) == ".txt":
        if len(names) > 1:
            raise DataError(
                f"{path} is plain text, the labelled data are pairs; wanted a table with the "
                f"columns {' and '.join(names)}"
            )
        return read_lines(path)
    if ending(path) not in SUFFIXES and not holds_rows(path):
        wanted = ", ".join((".txt", *SUFFIXES))
        problem = f"ends in `{path.suffix}`" if path.is_file() else "does not exist"
        problem = "is a folder" if path.is_dir() else problem
        raise DataError(f"{path} {problem}; wanted a file that ends in one of {wanted}")
    table = read_table(path)
    there = [name for name in table.column_names if name != "line"]
    ours = ["text", "text2"][: len(names)]
    chosen = names if set(names) <= set(there) else ours
    if not set(chosen) <= set(there):
        missing = next(name for name in names if name not in there)
        raise DataError(
            f"{path} has no column `{missing}`; it has {', '.join(there)}"
            f"{near_miss(missing, there)}"
        )
    found: dict[str, Any] = {"line": list(table["line"])}
    for name, column in zip(ours, chosen, strict=True):
        found[name] = list(table[column])
        for value, line in zip(found[name], found["line"], strict=True):
            if not isinstance(value, str):
                raise DataError(
                    f"{path} line {line}: column `{column}` is {value!r}; wanted a text"
                )
    return Dataset.from_dict({name: found[name] for name in (*ours, "line")})
