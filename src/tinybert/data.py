"""From a user's table to splits a model can learn from, with everything odd about them said."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets as hf
from datasets import Dataset, DatasetDict

from tinybert import benchmarks
from tinybert import datasets as embedded
from tinybert.audit import count_oddities, cut_dev, drop_empty, find_leaks, row_keys
from tinybert.errors import ArtifactError, DataError, near_miss
from tinybert.sources import Columns, find_columns, read_splits
from tinybert.unlabelled import read_unlabelled

__all__ = ["MAIN", "TaskData", "load", "load_saved", "save"]

MAIN = {"classification": "accuracy", "regression": "pearson"}


@dataclass(frozen=True)
class TaskData:
    """Splits of one task.

    Args:
        train, dev, test: Columns ``text``, ``text2`` (pairs only), ``label`` (class index, or
            float target) and ``line`` (where the row stood in its file); test may be None.
        task: ``classification`` or ``regression``.
        labels: Label names by class index; empty for regression.
        pair: Whether a row has two texts.
        name: What the data are called in reports.
        metric: The metric that decides, by its name in ``metrics.compute``.
        notes: What was found and done, one sentence each.
        unlabelled: Columns ``text``, ``text2`` (pairs only), ``line``: texts for the teacher to
            label; None where there are none, and not saved.
    """

    train: Dataset
    dev: Dataset
    test: Dataset | None
    task: str
    labels: tuple[str, ...]
    pair: bool
    name: str
    metric: str
    notes: tuple[str, ...] = ()
    unlabelled: Dataset | None = None

    def splits(self) -> dict[str, Dataset]:
        """Return the splits there are, by name."""
        found = {"train": self.train, "dev": self.dev, "test": self.test}
        return {name: split for name, split in found.items() if split is not None}


def load(
    source: str | Path | None = None,
    *,
    text: str | None = None,
    text2: str | None = None,
    label: str | None = None,
    task: str = "auto",
    language: str | None = None,
    dev: str | Path | None = None,
    test: str | Path | None = None,
    dev_fraction: float = 0.1,
    drop_leaks: bool = False,
    unlabelled: str | Path | Sequence[str | Path] = (),
    unlabelled_rows: int | None = None,
    seed: int = 0,
) -> TaskData:
    """Read labelled texts and prepare them for training.

    Args:
        source: ``helpdesk``; a CSV, TSV, JSONL or Parquet file; a folder with train, dev and test
            files; a data set saved by ``datasets``; or a Hugging Face id, ``id:config`` if needed.
            None takes the named task's own data, or else ``helpdesk``.
        text, text2, label: Column names; None finds them by the usual names.
        task: ``classification``, ``regression``, or ``auto``: regression where the labels are
            numbers that are not all whole; or a GLUE or CLUE task by name, such as ``glue/mrpc``:
            its columns, its metric and, without a source, its data.
        language: Language of ``helpdesk``.
        dev, test: Files of these splits, where the source has none.
        dev_fraction: Share of the train split cut off as dev where there is none, by label, 0..1.
        drop_leaks: Take texts out of train that also stand in dev or test, and out of dev that
            stand in test.
        unlabelled: One or more files of texts without labels (see ``unlabelled.read_unlabelled``).
        unlabelled_rows: At most so many of them; None takes all.
        seed: Seeds the cut, and the draw of unlabelled rows.

    Returns:
        The splits, with notes on duplicates, leaks, empty texts and rare labels.

    Raises:
        DataError: Anything that makes the data unusable; file, line and value are named.
    """
    published = benchmarks.find(task) if "/" in task else None
    if published is not None:
        text, label = text or published.text, label or published.label
        text2, task = text2 or published.text2, published.task
    if source is None:
        source = published.hub if published else embedded.NAMES[0]
    dev_split = published.dev if published else None
    raw = read_splits(source, language=language, dev=dev, test=test, dev_split=dev_split)
    columns = find_columns(raw, str(source), text=text, text2=text2, label=label)
    notes: list[str] = []
    raw = _with_labels(raw, columns.label, published.ignored if published else (), notes)
    kind = _task(raw["train"][columns.label], task)
    labels, splits = _learnable(raw, columns, kind, str(source), notes)
    splits["train"] = drop_empty(splits["train"], notes)
    if "dev" not in splits:
        splits["train"], splits["dev"] = cut_dev(splits["train"], dev_fraction, seed, kind)
        notes.append(
            f"no dev split: {len(splits['dev']):,} rows of train cut off"
            f"{' by label' if labels else ''}, seed {seed}"
        )
    splits = find_leaks(splits, drop_leaks, notes)
    count_oddities(splits, labels, notes)
    if labels and len(set(splits["train"]["label"])) < 2:
        only = labels[splits["train"]["label"][0]]
        raise DataError(f"{source}: every train row has the label `{only}`; wanted two or more")
    paths = [unlabelled] if isinstance(unlabelled, str | Path) else list(unlabelled)
    if unlabelled_rows is not None and not paths:
        raise DataError(f"unlabelled_rows is {unlabelled_rows}, but no unlabelled file is named")
    pool = _pool(paths, columns, splits, unlabelled_rows, seed, notes)
    return TaskData(
        train=splits["train"],
        dev=splits["dev"],
        test=splits.get("test"),
        task=kind,
        labels=labels,
        pair=columns.text2 is not None,
        name=_name(source, language),
        metric=published.metric if published else MAIN[kind],
        notes=tuple(notes),
        unlabelled=pool,
    )


def _learnable(
    raw: dict[str, Dataset], columns: Columns, kind: str, source: str, notes: list[str]
) -> tuple[tuple[str, ...], dict[str, Dataset]]:
    """Return the labels' names and the splits with texts and targets alone; empty ones left out."""
    splits = {name: _select(split, columns, f"{source} {name}") for name, split in raw.items()}
    origins = {name: _origin(source, raw, name) for name in raw}
    labels: tuple[str, ...] = ()
    if kind == "classification":
        labels = _label_names(raw["train"], columns, source)
        splits = {n: _encode(s, labels, origins[n], notes, n) for n, s in splits.items()}
    else:
        splits = {n: _targets(s, origins[n]) for n, s in splits.items()}
    return labels, {n: s for n, s in splits.items() if len(s) or n == "train"}


def save(data: TaskData, folder: str | Path) -> None:
    """Write the prepared splits into a folder that ``load_saved`` reads."""
    place = Path(folder)
    DatasetDict(data.splits()).save_to_disk(str(place))
    about = {"task": data.task, "labels": data.labels, "pair": data.pair, "name": data.name}
    about |= {"metric": data.metric, "notes": data.notes}
    text = json.dumps(about, indent=2, ensure_ascii=False)
    (place / "task.json").write_text(text + "\n", encoding="utf-8")


def load_saved(run: str | Path) -> TaskData:
    """Read the splits that a run was trained on.

    Args:
        run: The run's folder.

    Raises:
        ArtifactError: The folder holds no run.
    """
    place = Path(run) / "data"
    if not (place / "task.json").is_file():
        raise ArtifactError(f"{run} holds no finished run; wanted a folder written by `distill`")
    about = json.loads((place / "task.json").read_text(encoding="utf-8"))
    splits = hf.load_from_disk(str(place))
    return TaskData(
        train=splits["train"],
        dev=splits["dev"],
        test=splits.get("test"),
        task=about["task"],
        labels=tuple(about["labels"]),
        pair=about["pair"],
        name=about["name"],
        metric=about.get("metric", MAIN[about["task"]]),
        notes=tuple(about["notes"]),
    )


def _pool(
    paths: Sequence[str | Path],
    columns: Columns,
    splits: dict[str, Dataset],
    rows: int | None,
    seed: int,
    notes: list[str],
) -> Dataset | None:
    """Read the unlabelled texts that stand in no split."""
    if not paths:
        return None
    held = {key for n, split in splits.items() if n != "train" for key in row_keys(split)}
    known = row_keys(splits["train"])
    pool, said = read_unlabelled(paths, columns, held=held, known=known, rows=rows, seed=seed)
    notes += said
    return pool


def _with_labels(
    raw: dict[str, Dataset], label: str, ignored: tuple[str, ...], notes: list[str]
) -> dict[str, Dataset]:
    """Leave out a test split without labels, and rows with a label that means none."""
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


def _name(source: str | Path, language: str | None) -> str:
    """Return what reports call the data."""
    if str(source) in embedded.NAMES:
        return f"{source} ({language or 'en'})"
    return Path(str(source)).stem if Path(str(source)).exists() else str(source)


def _origin(source: str | Path, raw: dict[str, Dataset], split: str) -> str:
    """Return what an error calls a split's file."""
    path = raw[split].info.description
    return path or f"{source} {split}"


def _task(values: Sequence[Any], task: str) -> str:
    """Decide between classes and real-valued targets."""
    if task in ("classification", "regression"):
        return task
    if task != "auto":
        known = ("classification", "regression", "auto", *benchmarks.NAMES)
        raise DataError(
            f"task is `{task}`; wanted classification, regression, auto, or a task by name such as "
            f"glue/mrpc{near_miss(task, known)}"
        )
    numbers = [_number(v) for v in values if v is not None]
    whole = all(n is not None and (math.isnan(n) or n == int(n)) for n in numbers)
    return "regression" if None not in numbers and not whole else "classification"


def _number(value: Any) -> float | None:
    """Return a value as a number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) or math.isnan(number) else None


def _select(split: Dataset, columns: Columns, origin: str) -> Dataset:
    """Keep text, second text, label and line under our names; refuse texts that are not texts."""
    line = split["line"] if "line" in split.column_names else range(1, len(split) + 1)
    out: dict[str, Any] = {"text": split[columns.text], "label": split[columns.label]}
    if columns.text2 is not None:
        out["text2"] = split[columns.text2]
    where = split.info.description or origin
    for name in ("text", "text2"):
        for value, number in zip(out.get(name, ()), line, strict=False):
            if not isinstance(value, str):
                column = columns.text if name == "text" else columns.text2
                raise DataError(
                    f"{where} line {number}: column `{column}` is {value!r}; wanted a text"
                )
    return Dataset.from_dict(out | {"line": list(line)})


def _label_names(train: Dataset, columns: Columns, source: str) -> tuple[str, ...]:
    """Return the classes of the train split in a fixed order: given, numeric or alphabetic."""
    feature = train.features[columns.label]
    if isinstance(feature, hf.ClassLabel):
        return tuple(feature.names)
    found = {_label(v) for v in train[columns.label]} - {None}
    numbers = all(_number(v) is not None for v in found)
    names = sorted(found, key=(lambda v: float(v)) if numbers else str)
    if len(names) < 2:
        shown = f"only the label `{names[0]}`" if names else "no label"
        raise DataError(f"{source}: {shown} in train; wanted two or more classes")
    if len(names) > max(50, len(train) // 2):
        raise DataError(
            f"{source}: {len(names):,} different labels in {len(train):,} rows of column "
            f"`{columns.label}`; wanted classes; name the right column with --label"
        )
    return tuple(str(name) for name in names)


def _label(value: Any) -> str | None:
    """Return a class as it is named; None where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value) if str(value) else None


def _encode(
    split: Dataset, labels: tuple[str, ...], origin: str, notes: list[str], name: str
) -> Dataset:
    """Turn labels into class indices; leave out dev and test rows of classes that train lacks."""
    index: dict[Any, int] = {label: i for i, label in enumerate(labels)}
    values = split["label"]
    if all(isinstance(v, int) for v in values) and not set(map(str, values)) & index.keys():
        if set(values) == {-1} and name != "train":
            notes.append(f"{name} has no labels (all -1) and is left out")
            return split.select([])
        index |= {i: i for i in range(len(labels))}
        keys: list[Any] = list(values)
    else:
        keys = [_label(v) for v in values]
    strangers: Counter[str] = Counter()
    for key, line in zip(keys, split["line"], strict=True):
        if key in index:
            continue
        near = near_miss(str(key), labels)
        if key is None or name == "train" or near or str(key).strip() in index:
            nearest = near.replace("did you mean", "nearest:").rstrip("?")
            raise DataError(
                f"{origin} line {line}: label `{'' if key is None else key}` is not one of the "
                f"{len(labels)} labels of the training set{nearest}"
            )
        strangers[str(key)] += 1
    if strangers:
        listed = ", ".join(f"`{k}` ({n})" for k, n in strangers.items())
        notes.append(
            f"{sum(strangers.values())} {name} rows of classes that train lacks left out: {listed}"
        )
    kept = [i for i, key in enumerate(keys) if key in index]
    encoded = [index[keys[i]] for i in kept]
    return split.select(kept).remove_columns("label").add_column("label", encoded)


def _targets(split: Dataset, origin: str) -> Dataset:
    """Turn labels into finite floats."""
    values = [_number(v) for v in split["label"]]
    for value, raw, line in zip(values, split["label"], split["line"], strict=True):
        if value is None or not math.isfinite(value):
            raise DataError(f"{origin} line {line}: target is {raw!r}; wanted a finite number")
    return split.remove_columns("label").add_column("label", values)
