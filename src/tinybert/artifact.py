"""The shipped folder: what its card says, and whether its files are the ones the card means."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tinybert.errors import ArtifactError, ConfigError

__all__ = [
    "CARD",
    "CTRANSLATE2",
    "FORMAT",
    "FP32",
    "INT8",
    "SMALL",
    "TARGET",
    "WRITTEN",
    "Card",
    "card_beside",
    "check_files",
    "check_target",
    "hash_file",
    "new_folder",
    "read_card",
    "write_atomic",
    "write_card",
]

CARD = "card.json"
FORMAT = 1
FP32 = "onnx/model.onnx"
INT8 = "onnx/model_quantized.onnx"
# Matrices and tables of fewer weights stay float32.
SMALL = 16_384
CTRANSLATE2 = "ctranslate2/model.bin"
TARGET = "target/tokenizer.json"
TASKS = (
    "answering",
    "classification",
    "embedding",
    "multilabel",
    "ranking",
    "regression",
    "summarization",
    "tagging",
    "translation",
)
WRITTEN = ("summarization", "translation")
VALUED = ("ranking", "regression")


@dataclass(frozen=True)
class Card:
    """What a reader must know before it trusts a shipped folder.

    Args:
        task: One of ``TASKS``.
        labels: Label names in the order of the logits; empty where an answer is no label.
        pair: Whether an input is two texts.
        max_length: Longest input in tokens, special tokens included.
        model: The model file to run, relative to the folder.
        files: SHA-256 of each file that is loaded, by its path relative to the folder.
        parameters: Number of weights.
        teacher: Name of the teacher the model was distilled from; empty if none.
        outside: In tagging, the tag of words past ``max_length``; empty elsewhere.
        reading: In answering, the lengths of ``spans.Reading`` and the ``threshold`` of no answer,
            None where there always is one; empty elsewhere.
        generation: Where answers are written texts: how they are searched for (see
            ``runtime.Decoding``), the ``prefix`` of tokens that each begins with, the ``positions``
            that one can have at most, and ``split``: ``sentence`` where the model learned from
            single sentences.
        metrics: Quality on held-out data, by metric name.
        parity: Outcome of the comparison with the PyTorch model (see ``ship.verify``).
        tinybert: Version of the library that wrote the folder.
        format: Version of this layout.
    """

    task: str
    labels: tuple[str, ...]
    pair: bool
    max_length: int
    model: str = FP32
    files: Mapping[str, str] = field(default_factory=dict)
    parameters: int = 0
    teacher: str = ""
    outside: str = ""
    reading: Mapping[str, Any] = field(default_factory=dict)
    generation: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    tinybert: str = ""
    format: int = FORMAT

    def decoding(self) -> dict[str, Any]:
        """Return how answers are searched for, where they are written texts."""
        others = ("prefix", "positions", "split", "carried")
        return {k: v for k, v in self.generation.items() if k not in others}


def read_card(folder: str | Path) -> Card:
    """Read and check ``card.json``.

    Args:
        folder: The shipped folder.

    Returns:
        The card.

    Raises:
        ArtifactError: No such folder or card, not JSON, a newer format, or a field is missing or
            of the wrong kind.
    """
    path = Path(folder) / CARD
    if not path.is_file():
        what = "is not a folder" if not Path(folder).is_dir() else f"has no {CARD}"
        raise ArtifactError(f"{folder} {what}; wanted a folder written by `tinybert export`")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path} is not valid JSON: {error}; export again") from error
    if not isinstance(values, dict):
        raise ArtifactError(f"{path} holds no object; export again")
    _check_values(path, values)
    known = {f.name for f in fields(Card)}
    card = Card(
        **{k: v for k, v in values.items() if k in known} | {"labels": tuple(values["labels"])}
    )
    return card


def _check_values(path: Path, values: dict[str, Any]) -> None:
    """Refuse a card whose format or fields this version cannot use."""
    version = values.get("format")
    if not isinstance(version, int) or version < 1:
        raise ArtifactError(f"{path} has format {version!r}; wanted a whole number; export again")
    if version > FORMAT:
        raise ArtifactError(
            f"{path} has format {version}, this tinybert reads 1 to {FORMAT}; "
            "upgrade tinybert or export again"
        )
    wanted: dict[str, type] = {
        "task": str,
        "labels": list,
        "pair": bool,
        "max_length": int,
        "model": str,
        "files": dict,
    }
    for name, kind in wanted.items():
        if not isinstance(values.get(name), kind):
            raise ArtifactError(
                f"{path}: `{name}` is {values.get(name)!r}; wanted {kind.__name__}; export again"
            )
    if values["task"] not in TASKS:
        raise ArtifactError(
            f"{path}: task `{values['task']}` is not one of {', '.join(TASKS)}; upgrade tinybert"
        )
    labels = values["labels"]
    least = {"classification": 2, "multilabel": 1, "tagging": 2}.get(values["task"], 0)
    if len(labels) < least:
        raise ArtifactError(f"{path}: {len(labels)} labels; wanted at least {least}")
    if not all(isinstance(label, str) for label in labels) or len(set(labels)) < len(labels):
        raise ArtifactError(f"{path}: labels are {labels}; wanted different texts; export again")
    if values["task"] == "tagging" and values.get("outside") not in labels:
        raise ArtifactError(
            f"{path}: `outside` is {values.get('outside')!r}; wanted one of the labels; export "
            "again"
        )
    if values["task"] == "answering":
        _check_reading(path, values.get("reading"))
    if not isinstance(values.get("generation", {}), dict):
        raise ArtifactError(
            f"{path}: `generation` is {values['generation']!r}; wanted dict; export again"
        )
    if values["max_length"] < 4:
        raise ArtifactError(
            f"{path}: max_length is {values['max_length']}; wanted at least 4; export again"
        )


def _check_reading(path: Path, reading: Any) -> None:
    """Refuse lengths that are none, and a threshold that is no number."""
    given = reading if isinstance(reading, dict) else {}
    for name, least in (("overlap", 0), ("question_length", 1), ("answer_length", 1)):
        if not isinstance(given.get(name), int) or given[name] < least:
            raise ArtifactError(
                f"{path}: `reading.{name}` is {given.get(name)!r}; wanted a whole number from "
                f"{least}; export again"
            )
    if not isinstance(given.get("threshold"), int | float | None):
        raise ArtifactError(
            f"{path}: `reading.threshold` is {given['threshold']!r}; wanted a number or null; "
            "export again"
        )


def write_card(folder: str | Path, card: Card) -> None:
    """Write ``card.json``; the old one stays until the new one is whole."""
    text = json.dumps(asdict(card), indent=2, ensure_ascii=False) + "\n"
    write_atomic(Path(folder) / CARD, text.encode())


def write_atomic(path: str | Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it, so that no half file is ever seen."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def card_beside(model: str | Path) -> Card | None:
    """Return the card of the run's artifact where a model lies in a run that has one."""
    run = Path(model).resolve().parent
    whole = (run / "run.json").is_file() and (run / "artifact" / CARD).is_file()
    return read_card(run / "artifact") if whole else None


def check_target(to: str | Path, *, holds: str = CARD, called: str = "artifact") -> None:
    """Refuse to replace something else, or what cannot be replaced as a whole.

    Args:
        to: The folder that shall be written.
        holds: File by which one is known that may be replaced.
        called: What such a one is.

    Raises:
        ConfigError: ``to`` is a file, a folder of something else, where a file system is mounted
            (such as a container's volume), or the folder that one stands in.
    """
    target = Path(to).resolve()
    if target.is_file():
        raise ConfigError(f"{to} is a file; wanted a folder to write")
    if target.is_dir() and any(target.iterdir()) and not (target / holds).is_file():
        raise ConfigError(f"{to} is not empty and holds no {called}; choose another folder")
    if target.is_dir() and (os.path.ismount(target) or target.samefile(os.curdir)):
        raise ConfigError(f"{to} cannot be replaced as a whole; wanted a folder in it")


@contextmanager
def new_folder(target: str | Path, *, replace: bool = True) -> Iterator[Path]:
    """Give an empty folder under a temporary name that takes the target's at the end.

    Where writing fails it is removed, and what the target holds stays.

    Args:
        target: The folder, or a link to it; those above it are made.
        replace: Whether what it holds may go; else it must be empty at the end too.

    Raises:
        OSError: It is not empty, and ``replace`` is False.
    """
    place = Path(target).resolve()
    partial, old = (place.with_name(f".{place.name}.{state}") for state in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if replace and place.is_dir():
            shutil.rmtree(old, ignore_errors=True)
            place.rename(old)
        elif place.is_dir():
            place.rmdir()
        partial.rename(place)
    except BaseException:
        if old.is_dir() and not place.exists():
            old.rename(place)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def hash_file(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_files(folder: str | Path, card: Card) -> None:
    """Compare every file that the card names with its hash.

    Raises:
        ArtifactError: A file is missing, altered, or lies outside the folder; all are named.
    """
    root = Path(folder)
    problems = []
    for name, digest in {card.model: "", **card.files}.items():
        path = root / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            problems.append(f"{name} points outside the folder")
        elif not path.is_file():
            problems.append(f"{name} is missing")
        elif not digest:
            problems.append(f"{name} has no hash in {CARD}")
        elif hash_file(path) != digest:
            problems.append(f"{name} is not the file that {CARD} means (its SHA-256 differs)")
    if problems:
        raise ArtifactError(f"{folder}: {'; '.join(problems)}; copy or export the folder again")
