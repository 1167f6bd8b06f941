"""From a user's table to pairs of texts: a source and what shall be written for it."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets as hf
import numpy as np
from datasets import Dataset, DatasetDict

from tinybert import datasets as embedded
from tinybert.artifact import WRITTEN, write_atomic
from tinybert.errors import ArtifactError, ConfigError, DataError, near_miss
from tinybert.quiet import no_bars
from tinybert.sources import read_splits

__all__ = ["PairData", "load_pairs", "load_saved_pairs", "save_pairs"]

_TRANSLATION = "translation"
_NUMBERS = ("line", "id", "idx", "index")
_USUAL = {
    "translation": (("source", "target"), ("src", "tgt"), ("input", "output")),
    "summarization": (
        ("source", "target"),
        ("text", "summary"),
        ("document", "summary"),
        ("article", "highlights"),
        ("dialogue", "summary"),
        ("content", "title"),
        ("text", "subject"),
        ("body", "subject_line"),
        ("email_body", "subject_line"),
    ),
}


@dataclass(frozen=True)
class PairData:
    """Splits of pairs.

    Args:
        train, dev, test: Columns ``source``, ``target``, ``references`` (one right text or several,
            the target first) and ``line``; test may be None.
        task: ``translation`` or ``summarization``.
        name: What the data are called in reports.
        notes: What was found and done, one sentence each.
    """

    train: Dataset
    dev: Dataset
    test: Dataset | None
    task: str
    name: str
    notes: tuple[str, ...] = ()

    def splits(self) -> dict[str, Dataset]:
        """Return the splits there are, by name."""
        found = {"train": self.train, "dev": self.dev, "test": self.test}
        return {name: split for name, split in found.items() if split is not None}


def load_pairs(
    data: str | Path = "helpdesk",
    *,
    task: str,
    source: str | None = None,
    target: str | None = None,
    language: str | None = None,
    dev: str | Path | None = None,
    test: str | Path | None = None,
    dev_fraction: float = 0.1,
    seed: int = 0,
    whole: bool = False,
) -> PairData:
    """Read pairs of texts.

    Args:
        data: ``helpdesk`` (a message and its subject, or English and Chinese messages); a CSV, TSV,
            JSONL or Parquet file; a folder with train, dev and test files; a data set saved by
            ``datasets``; or a Hugging Face id, ``id:config`` if needed.
        task: ``translation`` or ``summarization``.
        source, target: Column names; None finds them by the usual names. A target may be a list of
            right texts: the first is learned from, all are measured against.
        language: Of the embedded data set's messages, ``en`` or ``zh``; in translation that of the
            source.
        dev, test: Files of these splits, where the data have none.
        dev_fraction: Share of train cut off as dev where there is none, 0..1.
        seed: Seeds the cut.
        whole: Take every row of a single file as each of the splits, to measure a model on.

    Raises:
        DataError: Anything that makes the data unusable; file, line and value are named.
        ConfigError: Another task.
    """
    if task not in WRITTEN:
        raise ConfigError(
            f"task is `{task}`; wanted {' or '.join(WRITTEN)}{near_miss(task, WRITTEN)}"
        )
    if str(data) in embedded.NAMES and not Path(data).exists():
        raw, columns = _helpdesk(task, language or "en")
    else:
        raw = read_splits(data, language=language, dev=dev, test=test, several=True)
        raw = {name: _by_language(rows, str(data)) for name, rows in raw.items()}
        columns = _columns(raw["train"], str(data), task, source, target)
    notes: list[str] = []
    splits = {n: _read(rows, columns, str(data), n, notes) for n, rows in raw.items()}
    if whole:
        splits = dict.fromkeys(("train", "dev", "test"), splits["train"])
    if "dev" not in splits:
        splits["train"], splits["dev"] = _cut(splits["train"], dev_fraction, seed, str(data))
        notes.append(f"no dev split: {len(splits['dev']):,} rows of train cut off, seed {seed}")
    return PairData(
        splits["train"],
        splits["dev"],
        splits.get("test"),
        task,
        Path(str(data)).stem,
        tuple(notes + _shared(splits, whole)),
    )


def save_pairs(data: PairData, folder: str | Path) -> None:
    """Write the prepared splits into a folder that ``load_saved_pairs`` reads."""
    place = Path(folder)
    with no_bars():
        DatasetDict(data.splits()).save_to_disk(str(place))
    about = {"task": data.task, "name": data.name, "notes": data.notes}
    text = json.dumps(about, indent=2, ensure_ascii=False)
    write_atomic(place / "pairs.json", f"{text}\n".encode())


def load_saved_pairs(run: str | Path) -> PairData:
    """Read the pairs that a run was trained on.

    Raises:
        ArtifactError: The folder holds no such run.
    """
    place = Path(run) / "data"
    if not (place / "pairs.json").is_file():
        raise ArtifactError(f"{run} holds no finished run; wanted a folder written by `seq2seq`")
    about = json.loads((place / "pairs.json").read_text(encoding="utf-8"))
    splits = hf.load_from_disk(str(place))
    return PairData(
        splits["train"],
        splits["dev"],
        splits.get("test"),
        about["task"],
        about["name"],
        tuple(about["notes"]),
    )


def _helpdesk(task: str, language: str) -> tuple[dict[str, Dataset], tuple[str, str]]:
    """Return the embedded messages with their subjects, or in both languages."""
    own = embedded.load("helpdesk", language=language)
    if task == "summarization":
        return dict(own), ("text", "subject")
    other = embedded.load("helpdesk", language="zh" if language == "en" else "en")
    joined = {}
    for name, rows in own.items():
        texts = dict(zip(other[name]["id"], other[name]["text"], strict=True))
        joined[name] = rows.add_column("target", [texts[i] for i in rows["id"]])
    return joined, ("text", "target")


def _by_language(rows: Dataset, origin: str) -> Dataset:
    """Return a column of texts for each language where one column, `translation`, has them all.

    Raises:
        DataError: A row of that column has other languages than the first.
    """
    if _TRANSLATION not in rows.column_names:
        return rows
    values = list(rows[_TRANSLATION])
    with suppress(TypeError, ValueError):
        values = [json.loads(value) for value in values]
    if not values or not all(isinstance(value, Mapping) for value in values):
        return rows
    names = list(values[0])
    for i, value in enumerate(values):
        if value.keys() != values[0].keys():
            raise DataError(
                f"{origin} row {i + 1}: `{_TRANSLATION}` has {', '.join(value)}; wanted "
                f"{', '.join(names)} as in the first row"
            )
    lines = list(rows["line"]) if "line" in rows.column_names else list(range(1, len(rows) + 1))
    found = Dataset.from_dict({n: [v[n] for v in values] for n in names} | {"line": lines})
    found.info.description = rows.info.description
    return found


def _columns(
    rows: Dataset, origin: str, task: str, source: str | None, target: str | None
) -> tuple[str, str]:
    """Choose the columns: those given, else the usual names, else the only two there are."""
    names = [name for name in rows.column_names if name != "line"]
    texts = [name for name in names if name.lower() not in _NUMBERS]
    for given in (source, target):
        if given is not None and given not in names:
            raise DataError(
                f"{origin} has no column `{given}`; it has {', '.join(names)}"
                f"{near_miss(given, names)}"
            )
    lower = {name.lower(): name for name in names}
    for first, second in _USUAL[task]:
        if first in lower and second in lower:
            source, target = source or lower[first], target or lower[second]
            break
    if source is None and target is None and len(texts) == 2 and task == "translation":
        source, target = texts
    if source is None or target is None:
        missing = "source" if source is None else "target"
        raise DataError(
            f"{origin} has the columns {', '.join(names)}; name the {missing} column with "
            f"--{missing}"
        )
    if source == target:
        raise DataError(f"{origin}: source and target are both `{source}`; wanted two columns")
    return source, target


def _read(
    rows: Dataset, columns: tuple[str, str], origin: str, split: str, notes: list[str]
) -> Dataset:
    """Return the rows of a split; those with an empty side are left out and counted."""
    for name in columns:
        if name not in rows.column_names:
            raise DataError(f"{origin}: split {split} has no column `{name}`")
    lines = rows["line"] if "line" in rows.column_names else range(1, len(rows) + 1)
    found: dict[str, list[Any]] = {"source": [], "target": [], "references": [], "line": []}
    empty = 0
    for line, source, target in zip(lines, *(rows[c] for c in columns), strict=True):
        references = list(target) if isinstance(target, Sequence) and not _text(target) else target
        given = references if isinstance(references, list) else [references]
        for name, value in zip(columns, (source, *given[:1]), strict=False):
            if value is not None and not isinstance(value, str):
                where = rows.info.description or origin
                raise DataError(f"{where} line {line}: `{name}` is {value!r}; wanted a text")
        kept = [text for text in given if text and str(text).strip()]
        if not source or not source.strip() or not kept:
            empty += 1
            continue
        for name, value in zip(found, (source, kept[0], kept, line), strict=True):
            found[name].append(value)
    if empty:
        notes.append(f"{empty:,} rows of {split} have no source or no target: left out")
    if not found["source"]:
        raise DataError(f"{origin}: split {split} has no rows with source and target")
    return Dataset.from_dict(found)


def _text(value: object) -> bool:
    """Whether a value is a text."""
    return isinstance(value, str)


def _cut(train: Dataset, fraction: float, seed: int, origin: str) -> tuple[Dataset, Dataset]:
    """Cut a dev split off train; equal sources stay together."""
    texts = [text.strip() for text in train["source"]]
    different = sorted(set(texts))
    if len(different) < 2:
        raise DataError(f"{origin}: too few rows to cut a dev split off; wanted two sources")
    count = min(len(different) - 1, max(1, round(fraction * len(different))))
    order = np.random.default_rng(seed).permutation(len(different))
    chosen = {different[i] for i in order[:count]}
    rows = {yes: [i for i, t in enumerate(texts) if (t in chosen) == yes] for yes in (True, False)}
    return train.select(rows[False]), train.select(rows[True])


def _shared(splits: Mapping[str, Dataset], whole: bool) -> list[str]:
    """Note sources that stand in two splits."""
    notes = []
    for upper in () if whole else ("dev", "test"):
        if upper in splits:
            held = {text.strip() for text in splits[upper]["source"]}
            count = sum(text.strip() in held for text in splits["train"]["source"])
            if count:
                notes.append(f"{count:,} train sources also stand in {upper}: kept")
    return notes
