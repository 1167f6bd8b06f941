"""The sets of the benchmarks: where they are, how they are cut, how long their students learn."""

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ENCODER_TEXT", "SETS", "Set", "chinese_texts", "digested", "prepare", "settings"]

HERE = Path(__file__).parent
ENCODER_TEXT = "unlabelled_zh/chinese_wikipedia_part.txt.xz"
_SEED = 0
_SHARE = 0.1


def _whole_sentences(source: Path, target: Path) -> None:
    """Cut the whole sentences out of SST-2's phrases."""
    header, *rows = (source / "train.tsv").read_text(encoding="utf-8").splitlines()
    kept = "\n".join([header, *whole_sentences(rows)]) + "\n"
    (target / "train.tsv").write_text(kept, encoding="utf-8")
    for split in ("dev", "test"):
        shutil.copyfile(source / f"{split}.tsv", target / f"{split}.tsv")


def whole_sentences(rows: list[str]) -> list[str]:
    """Return the rows whose phrase is no part of another row's, each phrase once."""
    phrases = {tuple(row.split("\t")[1].split()): row for row in reversed(rows)}
    inside = set()
    for words in phrases:
        count = len(words)
        spans = (words[a:b] for a in range(count) for b in range(a + 1, count + 1))
        inside |= {span for span in spans if len(span) < count and span in phrases}
    return [row for words, row in phrases.items() if words not in inside][::-1]


def _dev_from_train(source: Path, target: Path) -> None:
    """Cut a tenth of train off as dev, by label."""
    from tinybert.audit import cut_dev
    from tinybert.tables import read_table

    rows = read_table(source / "train.tsv")
    train, dev = cut_dev(rows, _SHARE, _SEED, "classification")
    _write(target, {"train": train, "dev": dev, "test": read_table(source / "test.tsv")})


def _all_from_one(source: Path, target: Path) -> None:
    """Cut a tenth off as test, and as much as dev, by label."""
    from tinybert.audit import cut_dev
    from tinybert.tables import read_table

    rest, test = cut_dev(read_table(source / "all.tsv"), _SHARE, _SEED, "classification")
    train, dev = cut_dev(rest, _SHARE / (1 - _SHARE), _SEED, "classification")
    _write(target, {"train": train, "dev": dev, "test": test})


@dataclass(frozen=True)
class Set:
    """A set and how it is learned.

    Args:
        epochs: By the student's layers: epochs of the layer and of the prediction stage.
        folder: Its folder in DIR; None: embedded.
        cut: Writes the splits, made of the files in the folder, into another folder; None takes the
            folder as it is.
        recipe: Name of its recipe where that is not the set's own.
        also: Metrics reported beside the one that decides.
        label_only: Whether the same student is also trained on the labels alone.
        teachers: Whether each seed has a teacher of its own, or all learn from the first seed's.
        taught_as: The set whose teachers these students learn from; None: its own.
        encoder: Whether teachers start from an encoder that is made here (see ``_encoder``).
        unlabelled: File of unlabelled texts in its folder.
    """

    epochs: Mapping[int, tuple[float, float]]
    folder: str | None = None
    cut: Callable[[Path, Path], None] | None = None
    recipe: str | None = None
    also: tuple[str, ...] = ()
    label_only: bool = False
    teachers: bool = True
    taught_as: str | None = None
    encoder: bool = False
    unlabelled: str | None = None


# The epochs of helpdesk, SST-2 and MRPC were chosen on dev, all others are first guesses. TNEWS has
# 18 times as many titles with the unlabelled ones: its labelled ones are read 18 times as often.
SETS: dict[str, Set] = {
    "helpdesk": Set({3: (6, 4), 2: (8, 5)}, label_only=True),
    "sst2-sentences": Set({4: (2, 2), 3: (6, 5), 2: (8, 6)}, "sst2", _whole_sentences),
    "sst2": Set({4: (1, 0.5), 3: (2, 1), 2: (6, 2)}, "sst2", teachers=False),
    "mrpc": Set({3: (3, 2), 2: (3, 2)}, "mrpc", also=("accuracy",), label_only=True),
    "stsb": Set({3: (6, 4), 2: (8, 5)}, "stsb_en", also=("spearman",), label_only=True),
    "cola": Set({3: (8, 6), 2: (12, 8)}, "cola", also=("accuracy",), label_only=True),
    "banking77": Set({3: (6, 4), 2: (8, 5)}, "banking77", _dev_from_train, also=("macro_f1",)),
    "helpdesk-zh": Set({2: (8, 4)}, label_only=True, encoder=True),
    "chnsenticorp": Set({2: (5, 3)}, "chnsenticorp", encoder=True),
    "waimai": Set({2: (5, 3)}, "waimai_10k", _all_from_one, also=("macro_f1",), encoder=True),
    "tnews": Set({2: (3, 3)}, "fewclue_tnews", encoder=True, unlabelled="unlabeled.jsonl"),
    "tnews-labelled": Set(
        {2: (54, 54)}, "fewclue_tnews", recipe="tnews", taught_as="tnews", encoder=True
    ),
}


def prepare(name: str, data: Path | None, work: Path) -> str:
    """Return where a set's splits are; those that have to be cut are written into ``work``.

    Raises:
        SystemExit: It is not embedded, and DIR was not given or lacks its folder.
    """
    wanted = SETS[name]
    if wanted.folder is None:
        return "helpdesk"
    if data is None or not (data / wanted.folder).is_dir():
        sys.exit(f"{name} needs --data DIR with a folder {wanted.folder} in it")
    source = data / wanted.folder
    if wanted.cut is None:
        return str(source)
    target = work / f"{name}-data"
    if not target.is_dir():
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        wanted.cut(source, partial)
        partial.rename(target)
    return str(target)


def settings(name: str, source: str) -> dict[str, Any]:
    """Return what a set puts over its recipe."""
    wanted = SETS[name]
    found: dict[str, Any] = {"data.source": source, "data.drop_leaks": wanted.folder is not None}
    if wanted.unlabelled:
        found["data.unlabelled"] = str(Path(source) / wanted.unlabelled)
    return found


def digested(name: str, source: str) -> Path:
    """Return the folder whose files a set's figures rest on."""
    embedded = HERE.parent / "src" / "tinybert" / "datasets" / "helpdesk"
    return embedded if SETS[name].folder is None else Path(source)


def chinese_texts(data: Path, work: Path) -> list[str]:
    """Return train's and the unlabelled texts of those Chinese sets that DIR holds."""
    from tinybert import data as data_room
    from tinybert.distill import recipe as recipes

    texts: list[str] = []
    for name, wanted in SETS.items():
        there = wanted.folder is None or (data / wanted.folder).is_dir()
        if not wanted.encoder or wanted.taught_as or not there:
            continue
        own = settings(name, prepare(name, data, work))
        values = recipes.load(HERE.parent / "recipes" / f"{name}.toml", own).data.model_dump()
        loaded = data_room.load(values.pop("source"), **values)
        texts += loaded.joined("train")
        texts += list(loaded.unlabelled["text"]) if loaded.unlabelled is not None else []
    return texts


def _write(target: Path, splits: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Write text and label of each split as JSON Lines."""
    for name, rows in splits.items():
        lines = [
            json.dumps({key: row[key] for key in ("text", "label")}, ensure_ascii=False)
            for row in rows
        ]
        (target / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
