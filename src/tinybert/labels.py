"""Turns the labels of a source into what is learned: a class, a set of labels, or a number."""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import datasets as hf
from datasets import Dataset

from tinybert import benchmarks
from tinybert.artifact import TASKS as _SHIPPED
from tinybert.artifact import VALUED, WRITTEN
from tinybert.errors import DataError, near_miss
from tinybert.soft_labels import SOFT, named, read_soft, shares

__all__ = [
    "TASKS",
    "by_name",
    "check_places",
    "choose_task",
    "encode",
    "label_names",
    "merge_columns",
    "share_relevance",
]

TASKS = tuple(task for task in _SHIPPED if task not in ("embedding", *WRITTEN))
_ALSO_CALLED = {
    **dict.fromkeys(("ner", "pos", "token-classification"), "tagging"),
    **dict.fromkeys(("qa", "squad", "question-answering"), "answering"),
    **dict.fromkeys(("rerank", "reranking", "text-ranking"), "ranking"),
    **dict.fromkeys(("sts", "similarity"), "regression"),
}
_MOST_NAMES = 50
_NONE = "-1"  # what published data sets write where a label is not told
_LISTS = hf.List(hf.Value("string"))


def choose_task(values: Sequence[Any], task: str) -> str:
    """Decide between classes, sets of labels and real-valued targets.

    Args:
        values: The labels of train.
        task: One of ``TASKS``, or ``auto``: sets where the labels are lists, regression
            where they are numbers that are not all whole, else classes.

    Raises:
        DataError: An unknown task.
    """
    if task in TASKS:
        return task
    if task in WRITTEN:
        raise DataError(
            f"task is `{task}`: such a student is made by `tinybert seq2seq --task {task}`"
        )
    if task == "embedding":
        raise DataError("task is `embedding`: such a student is made by `tinybert embed`")
    if task != "auto":
        known = (*TASKS, "auto", *benchmarks.NAMES)
        meant = _ALSO_CALLED.get(task.lower())
        raise DataError(
            f"task is `{task}`; wanted {', '.join(TASKS)}, auto, or a task by name such as "
            "glue/mrpc" + (f"; did you mean `{meant}`?" if meant else near_miss(task, known))
        )
    given = [v for v in values if v not in (None, "")]
    if given and all(isinstance(v, list) for v in given):
        return "multilabel"
    numbers = [_number(v) for v in given]
    whole = all(n is not None and (math.isnan(n) or n == int(n)) for n in numbers)
    return "regression" if None not in numbers and not whole else "classification"


def merge_columns(rows: Dataset, names: Sequence[str], origin: str) -> Dataset:
    """Put columns of 0 and 1, one a label, together into one column ``label`` of lists.

    Raises:
        DataError: A column is missing, or a value is neither 0 nor 1.
    """
    missing = [name for name in names if name not in rows.column_names]
    if missing:
        raise DataError(
            f"{origin} has no column `{missing[0]}`; it has {', '.join(rows.column_names)}"
            f"{near_miss(missing[0], rows.column_names)}"
        )
    lines = rows["line"] if "line" in rows.column_names else range(1, len(rows) + 1)
    sets: list[list[str]] = [[] for _ in range(len(rows))]
    for name in names:
        for found, value, line in zip(sets, rows[name], lines, strict=True):
            number = _number(value)
            if number not in (0, 1):
                raise DataError(
                    f"{origin} line {line}: column `{name}` is {value!r}; wanted 0 or 1"
                )
            if number == 1:
                found.append(name)
    merged = rows.remove_columns([*names]).add_column("label", sets, feature=_LISTS)
    merged.info.description = rows.info.description
    return merged


def label_names(train: Dataset, column: str, task: str, source: str, separator: str) -> list[str]:
    """Return the labels of train in a fixed order: given, numeric or alphabetic; none for values.

    Args:
        train: The split.
        column: Name of the label column.
        task: One of ``TASKS``.
        source: What an error calls the data.
        separator: Stands between the labels of a set that is written as text.

    Raises:
        DataError: Too few labels, or so many that the column cannot hold labels.
    """
    if task in VALUED:
        return []
    feature = train.features[column]
    inner = getattr(feature, "feature", None) if task == "multilabel" else feature
    if isinstance(inner, hf.ClassLabel):
        return list(inner.names)
    if task == "multilabel":
        found = {name for value in train[column] for name in _set(value, separator)}
    else:
        read = (name for value in train[column] for name in named(value) or [_label(value)])
        found = {name for name in read if name is not None}
    numbers = all(_number(name) is not None for name in found)
    by: Callable[[str], Any] = float if numbers else str
    names = sorted(found, key=by)
    least = 1 if task == "multilabel" else 2
    if len(names) < least:
        shown = f"only the label `{names[0]}`" if names else "no label"
        wanted = "at least one label" if task == "multilabel" else "two or more classes"
        raise DataError(f"{source}: {shown} in train; wanted {wanted}")
    if len(names) > max(_MOST_NAMES, len(train) // 2):
        raise DataError(
            f"{source}: {len(names):,} different labels in {len(train):,} rows of column "
            f"`{column}`; wanted classes; name the right column with --label"
        )
    return names


def by_name(rows: Dataset, feature: Any, names: Sequence[str]) -> Dataset:
    """Return rows whose labels are the names that a ``ClassLabel`` gives its numbers.

    So a class called 1 is not taken for the one of place 1. Classes that are called otherwise than
    the labels keep their places, and numbers below 0, which mean none, stay.

    Args:
        rows: Column ``label``.
        feature: Its type in the source.
        names: The labels.
    """
    inner = getattr(feature, "feature", feature)
    if not isinstance(inner, hf.ClassLabel) or {*inner.names} != {*names}:
        return rows

    def name(value: Any) -> Any:
        if isinstance(value, list):
            return [name(part) for part in value]
        return inner.names[value] if isinstance(value, int) and value >= 0 else value

    values = [name(value) for value in rows["label"]]
    if any(isinstance(value, str) for value in values):
        values = [value if isinstance(value, str | None) else str(value) for value in values]
    return rows.remove_columns("label").add_column("label", values)


def encode(
    split: Dataset,
    names: Sequence[str],
    task: str,
    *,
    origin: str,
    name: str,
    separator: str,
    notes: list[str],
) -> Dataset:
    """Turn the column ``label`` into what is learned.

    Args:
        split: Columns ``label`` and ``line``.
        names: From ``label_names``.
        task: One of ``TASKS``.
        origin: What an error calls the split.
        name: ``train``, ``dev`` or ``test``.
        separator: As for ``label_names``.
        notes: Told of rows of dev and test that are left out, for they name labels train lacks.

    Returns:
        The split with ``label``: class index; C floats 0 or 1; or a finite float. Where labels of
        train are soft ones, ``label`` is the likeliest class and ``soft_label`` has C shares.

    Raises:
        DataError: A label or number that cannot be used; line and value are named.
    """
    if task in VALUED:
        return _numbers(split, origin, name, notes, bounded=task == "ranking")
    if task == "classification":
        return _classes(split, names, origin, name, notes)
    return _sets(split, names, origin, name, separator, notes)


def _classes(
    split: Dataset, names: Sequence[str], origin: str, name: str, notes: list[str]
) -> Dataset:
    """Turn labels into class indices; leave out dev and test rows of classes that train lacks."""
    index: dict[Any, int] = {label: i for i, label in enumerate(names)}
    soft = read_soft(split["label"], split["line"], origin)
    values = [
        raw if own is None else max(own, key=own.__getitem__)
        for raw, own in zip(split["label"], soft, strict=True)
    ]
    if all(isinstance(v, int) for v in values) and not set(map(str, values)) & index.keys():
        if set(values) == {-1} and name != "train":
            return _unlabelled(split, name, notes)
        index |= {i: i for i in range(len(names))}
        keys: list[Any] = list(values)
    else:
        keys = [_label(v) for v in values]
    kept = _known([[key] for key in keys], index, names, split, origin, name, notes)
    encoded = [index[keys[i]] for i in kept]
    found = split.select(kept).remove_columns("label").add_column("label", encoded)
    if name != "train" or not any(soft):
        return found
    notes.append(f"train has soft labels in {sum(map(bool, soft)):,} rows")
    rows = shares([soft[i] for i in kept], encoded, names)
    return found.add_column(SOFT, rows, feature=_floats(len(names)))


def _sets(
    split: Dataset,
    names: Sequence[str],
    origin: str,
    name: str,
    separator: str,
    notes: list[str],
) -> Dataset:
    """Turn sets of labels into rows of 0 and 1."""
    index: dict[Any, int] = {label: i for i, label in enumerate(names)}
    keys = [_set(value, separator) for value in split["label"]]
    places = {str(i): i for i in range(len(names))}
    if not set().union(*keys) & index.keys() and set().union(*keys) <= places.keys():
        index = places
    kept = _known(keys, index, names, split, origin, name, notes)
    rows = [[0.0] * len(names) for _ in kept]
    for row, i in zip(rows, kept, strict=True):
        for key in keys[i]:
            row[index[key]] = 1.0
    sets = split.select(kept).remove_columns("label")
    return sets.add_column("label", rows, feature=_floats(len(names)))


def _floats(count: int) -> hf.List:
    """Return the type of a row with a number for each of so many labels."""
    return hf.List(hf.Value("float32"), length=count)


def _known(
    keys: Sequence[Sequence[Any]],
    index: Mapping[Any, int],
    names: Sequence[str],
    split: Dataset,
    origin: str,
    name: str,
    notes: list[str],
) -> list[int]:
    """Return the rows whose labels all are known; refuse what looks like a slip of the pen."""
    strangers: Counter[str] = Counter()
    bare = 0
    kept = []
    for i, (row, line) in enumerate(zip(keys, split["line"], strict=True)):
        unknown = [key for key in row if key not in index]
        if unknown and str(unknown[0]) == _NONE:
            bare += 1
            continue
        for key in unknown:
            near = near_miss(str(key), names)
            if key is None or name == "train" or near or str(key).strip() in index:
                nearest = near.replace("did you mean", "nearest:").rstrip("?")
                raise DataError(
                    f"{origin} line {line}: label `{'' if key is None else key}` is not one of "
                    f"the {len(names)} labels of the training set{nearest}"
                )
        strangers.update(map(str, unknown[:1]))
        if not unknown:
            kept.append(i)
    if bare:
        notes.append(f"{bare:,} {name} rows without a label ({_NONE}) left out")
    if strangers:
        listed = ", ".join(f"`{k}` ({n})" for k, n in strangers.items())
        notes.append(
            f"{sum(strangers.values())} {name} rows of classes that train lacks left out: {listed}"
        )
    return kept


def check_places(rows: Dataset, column: str, names: Sequence[str], origin: str) -> None:
    """Refuse whole numbers for the places of a model's labels where -1 is one of them.

    Args:
        rows: A single file's.
        column: Name of the label column.
        names: The model's labels.
        origin: What an error calls the file.

    Raises:
        DataError: -1 stands beside other numbers, and no label is called by any of them.
    """
    values = list(rows[column])
    numbers = {v for v in values if isinstance(v, int)}
    if isinstance(rows.features[column], hf.ClassLabel) or {*map(str, numbers)} & {*names}:
        return
    if -1 in numbers and len(numbers) > 1:
        raise DataError(
            f"{origin} line {rows['line'][values.index(-1)]}: label -1 beside "
            f"{', '.join(map(str, sorted(numbers - {-1})))}; the model's labels are "
            f"{', '.join(names)}: wanted these names, or their places from 0"
        )


def share_relevance(rows: Mapping[str, Dataset], notes: list[str]) -> dict[str, Dataset]:
    """Divide relevance in grades, as 0 to 3, by the highest grade; other values stay.

    Args:
        rows: Splits by name, column ``label``.
        notes: Told of it.
    """
    values = {name: [_number(value) for value in split["label"]] for name, split in rows.items()}
    flat = [
        value
        for name, own in values.items()
        for value in own
        if name == "train" or value not in (None, float(_NONE))
    ]
    whole = all(value is not None and value >= 0 and value == int(value) for value in flat)
    top = max((value for value in flat if value is not None), default=0.0) if whole else 0.0
    if top <= 1:
        return dict(rows)
    notes.append(f"relevance is in grades up to {top:g}: each is divided by {top:g}")
    return {
        name: split.remove_columns("label").add_column(
            "label",
            [v if v is None or v == float(_NONE) else v / top for v in values[name]],
        )
        for name, split in rows.items()
    }


def _unlabelled(split: Dataset, name: str, notes: list[str]) -> Dataset:
    """Leave out a split that was published without its labels."""
    notes.append(f"{name} has no labels (all {_NONE}) and is left out")
    return split.select([])


def _numbers(split: Dataset, origin: str, name: str, notes: list[str], *, bounded: bool) -> Dataset:
    """Turn labels into finite floats; relevance is bounded by 0 and 1."""
    values = [_number(v) for v in split["label"]]
    if name != "train" and {*values} == {float(_NONE)}:
        return _unlabelled(split, name, notes)
    for value, raw, line in zip(values, split["label"], split["line"], strict=True):
        if value is None or not math.isfinite(value):
            raise DataError(f"{origin} line {line}: target is {raw!r}; wanted a finite number")
        if bounded and not 0 <= value <= 1:
            raise DataError(f"{origin} line {line}: relevance is {raw!r}; wanted 0 to 1")
    return split.remove_columns("label").add_column("label", values)


def _set(value: Any, separator: str) -> list[str]:
    """Return the labels of a set: of a list, of a JSON list, or of a text with separators."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            value = value.split(separator)
    elif isinstance(value, str):
        value = value.split(separator)
    parts = value if isinstance(value, list) else [value]
    names = [_label(part.strip() if isinstance(part, str) else part) for part in parts]
    return list(dict.fromkeys(name for name in names if name is not None))


def _label(value: Any) -> str | None:
    """Return a class as it is named; None where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value) if str(value) else None


def _number(value: Any) -> float | None:
    """Return a value as a number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) or math.isnan(number) else None
