"""Finds the splits of a data source and the columns that hold text and label."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets as hf
from datasets import Dataset

from tinybert import datasets as embedded
from tinybert.conll import CONLL, read_conll
from tinybert.errors import DataError, near_miss
from tinybert.squad import SQUAD, read_squad
from tinybert.tables import SUFFIXES, ending, holds_rows, read_table, stem

__all__ = ["Columns", "asked_columns", "find_columns", "holds_answers", "holds_tags", "read_splits"]

_SPLITS = {
    "train": ("train", "training"),
    "dev": ("dev", "validation", "valid", "val", "eval"),
    "test": ("test",),
}
_PAIRS = (
    ("text", "text2"),
    ("sentence1", "sentence2"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("query", "passage"),
    ("question", "sentence"),
)
_TEXTS = (
    "text",
    "sentence",
    "review",
    "content",
    "message",
    "comment",
    "query",
    "question",
    "title",
)
_LABELS = (
    "label",
    "labels",
    "class",
    "category",
    "intent",
    "sentiment",
    "target",
    "score",
    "rating",
    "stars",
)
_ASKED = ("question", "context", "answers")
_WORDS = ("tokens", "words")
_TAGS = ("tags", "ner_tags", "pos_tags", "labels", "label")


# What stands behind a split's name: SQuAD's version, the thousands of rows of CLUE's OCNLI.
_VERSION = re.compile(r"(?:-v\d[\d.]*|\.(\d+)k)$")


@dataclass(frozen=True)
class Columns:
    """Names of the columns in the source; ``text2`` is None for single texts."""

    text: str
    text2: str | None
    label: str


def read_splits(
    source: str | Path,
    *,
    language: str | None = None,
    dev: str | Path | None = None,
    test: str | Path | None = None,
    dev_split: str | None = None,
    several: bool = False,
    header: Sequence[str] = (),
) -> dict[str, Dataset]:
    """Read train, and dev and test where there are any, from a source (see ``data.load``).

    Of several dev splits ``dev_split`` names the one to take. ``several``, ``header``: see
    ``read_table``.

    Returns:
        Splits by our names; each one's ``info.description`` is the file it came from.

    Raises:
        DataError: No such source, no train split, or a file that cannot be read.
    """
    place = Path(source)
    how = {"several": several, "header": header}
    if str(source) in embedded.NAMES and not place.exists():
        found: dict[str, Dataset] = dict(embedded.load(str(source), language=language or "en"))
    elif language is not None:
        raise DataError(f"language is for embedded data sets; {source} is not one")
    elif place.is_dir():
        found = _folder(place, dev_split, how)
    elif place.is_file() or {place.suffix, ending(place)} & {*SUFFIXES, *CONLL, SQUAD}:
        found = {"train": _table(place, how)}
    else:
        found = _hub(str(source), dev_split)
    for name, path in (("dev", dev), ("test", test)):
        if path is not None:
            found[name] = _table(Path(path), how)
    return found


def find_columns(
    splits: Mapping[str, Dataset],
    source: str,
    *,
    text: str | None = None,
    text2: str | None = None,
    label: str | None = None,
    tagged: bool = False,
) -> Columns:
    """Choose the columns: those given, else the usual names.

    ``tagged`` looks for lists of words and of tags in place of a text and its label.

    Raises:
        DataError: A given column is missing, or none of the usual names is there.
    """
    names = [n for n in splits["train"].column_names if n != "line"]
    for given in (text, text2, label):
        if given is not None and given not in names:
            raise DataError(
                f"{source} has no column `{given}`; it has {', '.join(names)}"
                f"{near_miss(given, names)}"
            )
    lower = {name.lower(): name for name in names}
    if text is None:
        pairs = [p for p in _PAIRS if p[0] in lower and p[1] in lower]
        if pairs and text2 is None and not tagged:
            text, text2 = lower[pairs[0][0]], lower[pairs[0][1]]
        else:
            text = _usual(lower, _WORDS if tagged else _TEXTS, "text", source, names)
    label = label or _usual(lower, _TAGS if tagged else _LABELS, "label", source, names)
    if len({text, text2, label}) < 3:
        raise DataError(f"columns text `{text}`, text2 `{text2}`, label `{label}` must differ")
    for split, rows in splits.items():
        for name in (text, text2, label if split != "test" else None):
            if name is not None and name not in rows.column_names:
                raise DataError(f"{source}: split {split} has no column `{name}` that train has")
    return Columns(text, text2, label)


def holds_answers(rows: Dataset, text: str | None, text2: str | None, label: str | None) -> bool:
    """Whether a split has a question, a context and answers, under given or the usual names."""
    named = zip((text, text2, label), _ASKED, strict=True)
    return all((given or usual) in rows.column_names for given, usual in named) and (
        (label or _ASKED[2]) == _ASKED[2]
    )


def asked_columns(
    splits: Mapping[str, Dataset],
    source: str,
    text: str | None,
    text2: str | None,
    label: str | None,
) -> Columns:
    """Choose the columns of questions, contexts and answers: those given, else SQuAD's names.

    Raises:
        DataError: A column is missing in train or dev.
    """
    names = tuple(given or usual for given, usual in zip((text, text2, label), _ASKED, strict=True))
    for split, rows in splits.items():
        for name, flag in zip(names, ("text", "text2", "label"), strict=True):
            if name in rows.column_names or (split == "test" and flag == "label"):
                continue
            shown = [n for n in rows.column_names if n not in ("line", "place")]
            raise DataError(
                f"{source}: split {split} has no column `{name}`; it has {', '.join(shown)}"
                f"{near_miss(name, shown)}; name it with --{flag}"
            )
    return Columns(*names)


def holds_tags(rows: Dataset, text: str | None, label: str | None) -> bool:
    """Whether a split holds lists of words and lists of tags, under given or the usual names."""
    lower = {name.lower(): name for name in rows.column_names}
    for given, usual in ((text, _WORDS), (label, _TAGS)):
        name = given or next((lower[name] for name in usual if name in lower), None)
        if name not in rows.column_names or not isinstance(rows.features[name], hf.List):
            return False
    return True


def _usual(
    lower: Mapping[str, str], usual: tuple[str, ...], what: str, source: str, names: list[str]
) -> str:
    """Return the first usual name that is there."""
    for name in usual:
        if name in lower:
            return lower[name]
    raise DataError(
        f"{source} has the columns {', '.join(names)}; none of them is called {', '.join(usual)}; "
        f"name the {what} column with --{what}"
    )


def _table(path: Path, how: Mapping[str, Any]) -> Dataset:
    """Read one file and remember where it came from."""
    if path.suffix == SQUAD and not holds_rows(path):
        rows = read_squad(path)
    else:
        rows = read_conll(path) if path.suffix in CONLL else read_table(path, **how)
    rows.info.description = str(path)
    return rows


def _folder(place: Path, dev_split: str | None, how: Mapping[str, Any]) -> dict[str, Dataset]:
    """Read a folder of split files, or one that ``datasets`` saved."""
    if (place / "dataset_dict.json").is_file():
        saved = hf.load_from_disk(str(place))
        return _named({name: saved[name] for name in saved}, str(place), dev_split)
    there = sorted(place.iterdir(), key=lambda file: (_thousands(file), file))
    files = {
        _VERSION.sub("", stem(f)): f
        for kinds in (CONLL, (SQUAD,), SUFFIXES)
        for f in there
        if (ending(f) if kinds is SUFFIXES else f.suffix) in kinds
    }
    chosen = {
        name: next((files[s] for s in _aliases(name, dev_split) if s in files), None)
        for name in _SPLITS
    }
    if chosen["train"] is None:
        listed = ", ".join(f.name for f in there) or "nothing"
        raise DataError(
            f"{place} holds {listed}; wanted train.csv, .tsv, .jsonl or .parquet, train.conll "
            "for tags of words, or train.json in SQuAD's layout"
        )
    return {name: _table(file, how) for name, file in chosen.items() if file is not None}


def _thousands(file: Path) -> int:
    """Return how many thousands of rows a file's name speaks of, so that the most come last."""
    found = _VERSION.search(file.stem)
    return int(found.group(1) or 0) if found else 0


def _hub(source: str, dev_split: str | None) -> dict[str, Dataset]:
    """Load a data set from the hub."""
    name, _, config = source.partition(":")
    try:
        loaded: Any = hf.load_dataset(name, config or None)
    except Exception as error:  # the hub's client raises many kinds
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"{source} is no file or folder here and no Hugging Face data set could be loaded: "
            f"{reason}"
        ) from error
    return _named({split: loaded[split] for split in loaded}, source, dev_split)


def _aliases(name: str, dev_split: str | None) -> tuple[str, ...]:
    """Return what a split may be called, the likeliest first; of dev, also as GLUE's files are."""
    if name != "dev" or dev_split is None:
        return _SPLITS[name]
    return dev_split, dev_split.replace("validation", "dev"), *_SPLITS[name]


def _named(splits: Mapping[str, Dataset], source: str, dev_split: str | None) -> dict[str, Dataset]:
    """Give splits our names."""
    found = {}
    for name in _SPLITS:
        match = next((alias for alias in _aliases(name, dev_split) if alias in splits), None)
        if match is not None:
            found[name] = splits[match]
    if "train" not in found:
        raise DataError(f"{source} has the splits {', '.join(splits)}; wanted one called train")
    return found
