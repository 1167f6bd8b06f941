"""From a user's table to splits a model can learn from, with everything odd about them said."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import datasets as hf
import numpy as np
import numpy.typing as npt
from datasets import Dataset, DatasetDict

from tinybert import benchmarks
from tinybert import datasets as embedded
from tinybert.audit import clean, row_keys
from tinybert.columns import choose_columns, drop_unlabelled, learnable, merge_labels
from tinybert.errors import ArtifactError, DataError
from tinybert.labels import check_places, choose_task
from tinybert.quiet import no_bars
from tinybert.sources import Columns, read_splits
from tinybert.spans import READING, Reading
from tinybert.tagged import outside_tag
from tinybert.tags import PLAIN, scheme_of
from tinybert.unlabelled import read_unlabelled

__all__ = ["MAIN", "TaskData", "load", "load_rows", "load_saved", "save"]

MAIN = {
    "answering": "answer_f1",
    "classification": "accuracy",
    "multilabel": "micro_f1",
    "ranking": "ndcg@10",
    "regression": "pearson",
    "tagging": "entity_f1",
}
_UNLABELLED = "unlabelled"


@dataclass(frozen=True)
class TaskData:
    """Splits of one task.

    Args:
        train, dev, test: Columns ``text``, ``text2`` (pairs only), ``words`` (tagging only: the
            words that make the text), ``label`` (class index, 0 or 1 for each label, index of each
            word's tag, float target, or start and end of each answer) and ``line`` (where the row
            stood in its file); train also ``soft_label`` (C shares) where its labels are soft. test
            may be None. In answering ``text`` is the question, ``text2`` its context.
        task: One of ``labels.TASKS``.
        labels: Label names by class index, or tags; empty for values.
        pair: Whether a row has two texts.
        name: What the data are called in reports.
        metric: The metric that decides, by its name in ``metrics.compute``.
        notes: What was found and done, one sentence each.
        unlabelled: Columns ``text``, ``text2`` (pairs only), ``line``: texts for the teacher to
            label; None where there are none, and not saved.
        reading: In answering, how long windows and answers are.
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
    reading: Reading = READING

    def splits(self) -> dict[str, Dataset]:
        """Return the splits there are, by name."""
        found = {"train": self.train, "dev": self.dev, "test": self.test}
        return {name: split for name, split in found.items() if split is not None}

    def texts(self, split: str) -> tuple[list[Any], list[str] | None]:
        """Return the N texts of a split (in tagging: lists of words), and the second of pairs."""
        rows = self.splits()[split]
        first = list(rows["words" if self.task == "tagging" else "text"])
        return first, list(rows["text2"]) if self.pair else None

    def inputs(self, split: str) -> list[Any]:
        """Return the N texts of a split as a loaded artifact takes them."""
        texts, texts2 = self.texts(split)
        return texts if texts2 is None else list(zip(texts, texts2, strict=True))

    def joined(self, split: str) -> list[str]:
        """Return the N texts of a split as one each; a pair's with a line's end between."""
        rows = self.splits()[split]
        texts = list(rows["text"])
        return list(map("\n".join, zip(texts, rows["text2"], strict=True))) if self.pair else texts

    def targets(self, split: str) -> npt.NDArray[Any]:
        """Return what is right for the N texts of a split; in tagging for its W words, (W,)."""
        given = self.splits()[split]["label"]
        if self.task == "tagging":
            return np.array([tag for row in given for tag in row], dtype=np.int64)
        if self.task == "answering":
            places = np.empty(len(given), dtype=object)
            places[:] = list(given)
            return places
        return np.asarray(given)

    def lengths(self, split: str) -> list[int]:
        """Return how many words each text of a split has; in tagging alone."""
        return [len(words) for words in self.splits()[split]["words"]]

    @property
    def unanswerable(self) -> bool:
        """Whether some questions of train or dev have no answer in their context."""
        return self.task == "answering" and not all(
            places for split in (self.train, self.dev) for places in split["label"]
        )

    @property
    def outside(self) -> int:
        """Index of the tag of words that stand past ``max_length``; 0 where no words are tagged."""
        return outside_tag(self.labels, self.train["label"]) if self.task == "tagging" else 0


def load(
    source: str | Path | None = None,
    *,
    text: str | None = None,
    text2: str | None = None,
    label: str | None = None,
    label_separator: str = "|",
    task: str = "auto",
    language: str | None = None,
    dev: str | Path | None = None,
    test: str | Path | None = None,
    dev_fraction: float = 0.1,
    drop_leaks: bool = False,
    unlabelled: str | Path | Sequence[str | Path] = (),
    unlabelled_rows: int | None = None,
    seed: int = 0,
    overlap: int = Reading.overlap,
    question_length: int = Reading.question_length,
    answer_length: int = Reading.answer_length,
    mend_answers: bool = False,
) -> TaskData:
    """Read labelled texts and prepare them for training.

    Args:
        source: ``helpdesk``; a CSV, TSV, JSONL or Parquet file, one of ``conll.read_conll`` or
            ``squad.read_squad``; a folder of train, dev and test, or saved by ``datasets``; or a
            Hugging Face id, ``id:config``. None takes the named task's data, or ``helpdesk``.
        text, text2, label: Column names; None finds them by the usual names. Several columns of 0
            and 1 with commas between are labels of which a text may carry any number.
        label_separator: Stands between several labels of a text, where they are no lists.
        task: One of ``labels.TASKS``; ``auto``, told by columns and ``labels.choose_task``; or a
            GLUE or CLUE task by name, such as ``glue/mrpc``: its columns, metric and, without a
            source, data.
        language: Language of ``helpdesk``.
        dev, test: Files of these splits, where the source has none.
        dev_fraction: Share of the train split cut off as dev where there is none, by label, 0..1.
        drop_leaks: Drop texts of train that stand in dev or test, and of dev that stand in test.
        unlabelled: Files of texts without labels (see ``unlabelled.read_unlabelled``).
        unlabelled_rows: At most so many of them; None takes all.
        seed: Seeds the cut, and the draw of unlabelled rows.
        overlap, question_length, answer_length: In answering, as ``spans.Reading`` has them.
        mend_answers: Look for answers that stand elsewhere (see ``asked.select_questions``).

    Returns:
        The splits, with notes on duplicates, leaks, empty texts and rare labels.

    Raises:
        DataError: Anything that makes the data unusable; file, line and value are named.
    """
    published = benchmarks.find(task) if "/" in task else None
    source = source or (published.hub if published else embedded.NAMES[0])
    names = (text, text2, label)
    more = _published_as(published, names)
    raw = read_splits(source, language=language, dev=dev, test=test, **more)
    notes: list[str] = []
    raw, columns, kind = _chosen(raw, str(source), names, task, published, notes)
    mend = mend_answers or bool(published and published.mend)
    labels, splits = learnable(raw, columns, kind, str(source), label_separator, notes, mend=mend)
    splits = clean(splits, kind, labels, str(source), notes, dev_fraction, seed, drop_leaks)
    pool = _pool(unlabelled, columns, kind, splits, unlabelled_rows, seed, notes)
    return TaskData(
        train=splits["train"],
        dev=splits["dev"],
        test=splits.get("test"),
        name=_name(source, language),
        unlabelled=pool,
        reading=Reading(overlap, question_length, answer_length),
        **_about(kind, labels, columns, published, notes),
    )


def _about(
    kind: str,
    labels: tuple[str, ...],
    columns: Columns,
    published: benchmarks.Benchmark | None,
    notes: Sequence[str],
) -> dict[str, Any]:
    """Return what ``TaskData`` says of a task."""
    metric = published.metric if published else _main(kind, labels)
    about = {"task": kind, "labels": labels, "pair": columns.text2 is not None}
    return about | {"metric": metric, "notes": tuple(notes)}


def _published_as(
    published: benchmarks.Benchmark | None, names: Sequence[str | None]
) -> dict[str, Any]:
    """Return which dev split and header a task's files have; where others are named, their own."""
    if published is None:
        return {}
    own = {*names} - {None, *published.header}
    return {"dev_split": published.dev, "header": () if own else published.header}


def _chosen(
    raw: dict[str, Dataset],
    source: str,
    names: tuple[str | None, str | None, str | None],
    task: str,
    published: benchmarks.Benchmark | None,
    notes: list[str],
) -> tuple[dict[str, Dataset], Columns, str]:
    """Find text, second text and label, and what kind of task they make."""
    text, text2, label = names
    if published is not None:
        usual = published.columns(raw["train"].column_names)
        text, text2, label = text or usual[0], text2 or usual[1], label or usual[2]
        task = published.task
    raw, label, task = merge_labels(raw, label, task, source)
    columns, task = choose_columns(raw, source, text, text2, label, task)
    raw = drop_unlabelled(raw, columns.label, published.ignored if published else (), notes)
    return raw, columns, choose_task(raw["train"][columns.label], task)


def load_rows(
    path: str | Path,
    *,
    task: str,
    labels: Sequence[str] = (),
    text: str | None = None,
    text2: str | None = None,
    label: str | None = None,
    label_separator: str = "|",
) -> TaskData:
    """Read one labelled file to measure a model on: nothing is cut off, and it may lack labels.

    Args:
        path: A CSV, TSV, JSONL or Parquet file.
        task: One of ``labels.TASKS``, ``auto``, or a GLUE or CLUE task by name.
        labels: The model's labels in its order; none: those of the file.
        text, text2, label, label_separator: As for ``load``.

    Returns:
        The same rows as train, dev and test.

    Raises:
        DataError: The file cannot be used, or a label is not one of the model's.
    """
    origin = str(path)
    published = benchmarks.find(task) if "/" in task else None
    raw = read_splits(path, **_published_as(published, (text, text2, label)))
    raw, columns, kind = _chosen(raw, origin, (text, text2, label), task, published, [])
    mend = bool(published and published.mend)
    notes: list[str] = []
    if labels and kind == "classification" and published is None:
        check_places(raw["train"], columns.label, labels, origin)
    found, splits = learnable(raw, columns, kind, origin, label_separator, notes, labels, mend)
    rows = splits["train"]
    if not len(rows):
        raise DataError(f"{origin}: no row has a label; wanted labels to measure a model by")
    return TaskData(
        train=rows,
        dev=rows,
        test=rows,
        name=_name(path, None),
        **_about(kind, found, columns, published, notes),
    )


def _main(kind: str, labels: Sequence[str]) -> str:
    """Return the metric that decides."""
    plain = kind == "tagging" and scheme_of(labels) == PLAIN
    return "token_accuracy" if plain else MAIN[kind]


def save(data: TaskData, folder: str | Path) -> None:
    """Write the prepared splits, and unlabelled texts, into a folder that ``load_saved`` reads."""
    place = Path(folder)
    with no_bars():
        DatasetDict(data.splits()).save_to_disk(str(place))
        if data.unlabelled is not None:
            data.unlabelled.save_to_disk(str(place / _UNLABELLED))
    about = {"task": data.task, "labels": data.labels, "pair": data.pair, "name": data.name}
    about |= {"metric": data.metric, "notes": data.notes}
    if data.task == "answering":
        about["reading"] = asdict(data.reading)
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
    more = place / _UNLABELLED
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
        reading=Reading.of(about.get("reading", {})),
        unlabelled=hf.load_from_disk(str(more)) if more.is_dir() else None,
    )


def _pool(
    unlabelled: str | Path | Sequence[str | Path],
    columns: Columns,
    kind: str,
    splits: dict[str, Dataset],
    rows: int | None,
    seed: int,
    notes: list[str],
) -> Dataset | None:
    """Read the unlabelled texts that stand in no split."""
    paths = [unlabelled] if isinstance(unlabelled, str | Path) else list(unlabelled)
    if not paths:
        if rows is not None:
            raise DataError(f"unlabelled_rows is {rows}, but no unlabelled file is named")
        return None
    plain = Columns("text", None, "label") if kind == "tagging" else columns
    held = {key for n, split in splits.items() if n != "train" for key in row_keys(split)}
    known = row_keys(splits["train"])
    pool, said = read_unlabelled(paths, plain, held=held, known=known, rows=rows, seed=seed)
    notes += said
    return pool


def _name(source: str | Path, language: str | None) -> str:
    """Return what reports call the data."""
    if str(source) in embedded.NAMES:
        return f"{source} ({language or 'en'})"
    return Path(str(source)).stem if Path(str(source)).exists() else str(source)
