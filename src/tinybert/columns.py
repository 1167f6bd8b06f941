"""From the columns of a source to texts and targets alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from tinybert.artifact import VALUED
from tinybert.asked import select_questions
from tinybert.errors import DataError
from tinybert.labels import by_name, encode, label_names, merge_columns, share_relevance
from tinybert.soft_labels import check_soft
from tinybert.sources import (
    Columns,
    asked_columns,
    find_columns,
    holds_answers,
    holds_tags,
)
from tinybert.tagged import encode_tags, select_words, tag_names

__all__ = ["choose_columns", "drop_unlabelled", "learnable", "merge_labels"]


def merge_labels(
    raw: dict[str, Dataset], label: str | None, task: str, source: str | Path
) -> tuple[dict[str, Dataset], str | None, str]:
    """Put columns of 0 and 1 together where ``label`` names several, with commas between.

    Args:
        raw: Splits of a source by name; a test split may lack the columns.
        label: Name of the label column, or of several.
        task: As it was asked for.
        source: What an error calls the data.

    Returns:
        The splits, the label's column and the task: as given, or ``label`` and ``multilabel``.

    Raises:
        DataError: A column is missing, or a value is neither 0 nor 1.
    """
    if label is None or "," not in label or label in raw["train"].column_names:
        return raw, label, task
    names = [name.strip() for name in label.split(",")]
    merged = {
        name: merge_columns(split, names, _origin(source, raw, name))
        for name, split in raw.items()
        if name != "test" or set(names) & set(split.column_names)
    }
    return merged, "label", "multilabel"


def choose_columns(
    raw: dict[str, Dataset],
    source: str,
    text: str | None,
    text2: str | None,
    label: str | None,
    task: str,
) -> tuple[Columns, str]:
    """Return the columns, and the task, which they decide where they hold lists of words.

    Args:
        raw: Splits of a source by name.
        source: What an error calls them.
        text, text2, label: Given names; None finds the usual ones.
        task: One of ``labels.TASKS``, or ``auto``: answering where there are questions, contexts
            and answers, tagging where texts are lists of words.

    Raises:
        DataError: A column is missing, ranking lacks its second text, or tagging has one.
    """
    if task == "auto" and holds_answers(raw["train"], text, text2, label):
        task = "answering"
    if task == "answering":
        return asked_columns(raw, source, text, text2, label), task
    if task == "auto" and text2 is None and holds_tags(raw["train"], text, label):
        task = "tagging"
    tagged = task == "tagging"
    columns = find_columns(raw, source, text=text, text2=text2, label=label, tagged=tagged)
    if task == "ranking" and columns.text2 is None:
        raise DataError(f"{source}: ranking wants query and passage; name them: --text, --text2")
    if tagged and columns.text2 is not None:
        raise DataError(f"{source}: text2 is `{columns.text2}`; tagging takes no pairs of texts")
    return columns, task


def _note_sets(names: Sequence[str], kind: str, separator: str, notes: list[str]) -> None:
    """Note classes that look like sets of other classes."""
    sets = [name for name in names if separator in name and {*name.split(separator)} <= {*names}]
    if kind == "classification" and sets:
        notes.append(
            f"labels such as `{sets[0]}` are taken for classes of their own; if a text may carry "
            "several labels, give --task multilabel"
        )


def learnable(
    raw: dict[str, Dataset],
    columns: Columns,
    kind: str,
    source: str,
    separator: str,
    notes: list[str],
    labels: Sequence[str] = (),
    mend: bool = False,
) -> tuple[tuple[str, ...], dict[str, Dataset]]:
    """Return the labels and the splits with texts and targets alone; empty ones left out.

    Args:
        raw: Splits of a source by name.
        columns: Their columns.
        kind: The task.
        source: What an error calls them.
        separator: Stands between the labels of a set that is written as text.
        notes: Told of rows that are left out.
        labels: The labels in their order; none: those of train.
        mend: In answering, mend answers that do not stand where they should.

    Raises:
        DataError: A text, label, tag or answer that cannot be used; line and value are named.
    """
    origins = {name: _origin(source, raw, name) for name in raw}
    if kind == "answering":
        assert columns.text2 is not None
        three = (columns.text, columns.text2, columns.label)
        names: list[str] = []
        splits = {
            name: select_questions(split, three, origins[name], mend=mend, notes=notes)
            for name, split in raw.items()
        }
    elif kind == "tagging":
        rows = {
            name: select_words(split, columns.text, columns.label, origins[name])
            for name, split in raw.items()
        }
        names = list(labels) or tag_names(rows["train"], origins["train"])
        splits = {
            name: encode_tags(split, names, origins[name], name, notes)
            for name, split in rows.items()
        }
    else:
        rows = {name: _select(split, columns, origins[name]) for name, split in raw.items()}
        for name, split in rows.items() if kind not in VALUED else ():
            check_soft(split["label"], split["line"], origins[name], several=kind == "multilabel")
        rows = share_relevance(rows, notes) if kind == "ranking" else rows
        names = list(labels)
        names = names or label_names(raw["train"], columns.label, kind, source, separator)
        _note_sets(names, kind, separator, notes)
        rows = {n: by_name(row, raw[n].features[columns.label], names) for n, row in rows.items()}
        splits = {
            name: encode(
                split,
                names,
                kind,
                origin=origins[name],
                name=name,
                separator=separator,
                notes=notes,
            )
            for name, split in rows.items()
        }
    return tuple(names), {n: s for n, s in splits.items() if len(s) or n == "train"}


def drop_unlabelled(
    raw: dict[str, Dataset], label: str, ignored: tuple[str, ...], notes: list[str]
) -> dict[str, Dataset]:
    """Leave out a test split without labels, and rows with a label that means none.

    Args:
        raw: Splits of a source by name.
        label: Column of the label.
        ignored: Labels that mean none.
        notes: Told what was left out.
    """
    found = dict(raw)
    if "test" in found and label not in found["test"].column_names:
        del found["test"]
        notes.append(f"test has no column `{label}` and is left out")
    if not ignored:
        return found
    for name, rows in found.items():
        kept = [i for i, value in enumerate(rows[label]) if str(value) not in ignored]
        if len(kept) < len(rows):
            shown = ", ".join(f"`{value}`" for value in ignored)
            notes.append(f"{len(rows) - len(kept):,} {name} rows labelled {shown} left out")
            found[name] = rows.select(kept)
    return found


def _origin(source: str | Path, raw: dict[str, Dataset], split: str) -> str:
    """Return what an error calls a split's file."""
    path = raw[split].info.description
    return path or f"{source} {split}"


def _select(split: Dataset, columns: Columns, origin: str) -> Dataset:
    """Keep text, second text, label and line under our names; refuse texts that are not texts."""
    line = split["line"] if "line" in split.column_names else range(1, len(split) + 1)
    out: dict[str, Any] = {"text": split[columns.text], "label": split[columns.label]}
    if columns.text2 is not None:
        out["text2"] = split[columns.text2]
    for name in ("text", "text2"):
        for value, number in zip(out.get(name, ()), line, strict=False):
            if not isinstance(value, str):
                column = columns.text if name == "text" else columns.text2
                raise DataError(
                    f"{origin} line {number}: column `{column}` is {value!r}; wanted a text"
                )
    return Dataset.from_dict(out | {"line": list(line)})
