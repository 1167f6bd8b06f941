"""Quality of an artifact or of a Hugging Face folder on labelled data."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinybert import metrics, runtime
from tinybert.artifact import CARD, Card, read_card, write_card
from tinybert.data import TaskData
from tinybert.distill.infer import load_whole, predict_logits, resolve
from tinybert.errors import DataError
from tinybert.heads import head_for, head_of
from tinybert.pairs import PairData
from tinybert.ship.model_card import write_model_card
from tinybert.text import Tokenizer

__all__ = ["check_answers", "evaluate", "logits_of"]


def evaluate(
    path: str | Path,
    data: TaskData | PairData,
    split: str = "test",
    *,
    max_length: int | None = None,
    target_token: str | None = None,
    record: bool = True,
) -> dict[str, float]:
    """Measure a model on a split; an artifact's figures are written into its card.

    Args:
        path: An artifact, or a classifier's folder or hub id.
        data: The labelled data, or pairs for a model that writes texts.
        split: ``train``, ``dev`` or ``test``.
        max_length: Longest input in tokens, for a folder; None takes that of the run it lies in,
            or 128. An artifact has its own.
        target_token: What every answer of a folder that writes texts begins with.
        record: Write an artifact's figures into its card: they are of the data it was made with.

    Returns:
        The metrics of ``metrics.measure``, or of ``text_metrics.measure``.

    Raises:
        DataError: The split is missing, or the model's labels are not the data's.
    """
    if isinstance(data, PairData):
        from tinybert.ship.writer import evaluate_writer

        return evaluate_writer(
            path, data, split, max_length=max_length, target_token=target_token, record=record
        )
    if split not in data.splits():
        raise DataError(f"{data.name} has no {split} split; it has {', '.join(data.splits())}")
    place = Path(path)
    length = max_length or _length_of_run(place)
    found = metrics.measure(data, split, logits_of(path, data, split, max_length=length))
    if record and (place / CARD).is_file():
        named = {f"{split}_{name}": value for name, value in found.items()}
        card = read_card(place)
        write_card(place, replace(card, metrics={**card.metrics, **named}))
        write_model_card(place)
    return found


def logits_of(
    path: str | Path, data: TaskData, split: str, *, max_length: int = 128
) -> npt.NDArray[np.float32]:
    """Return a model's logits for a split, as ``metrics.measure`` takes them.

    They come from the class that users call.

    Raises:
        DataError: The model's labels are not the data's, or its head is for another task.
    """
    texts, texts2 = data.texts(split)
    if (Path(path) / CARD).is_file():
        model = runtime.load_labeler(path)
        if isinstance(model, runtime.Embedder):
            return _cosines(model, texts, texts2, data)
        check_answers(str(path), model.card, data)
        return model.logits(data.inputs(split))
    network = load_whole(path)
    _check_kind(str(path), head_of(network), data)
    if data.labels:
        names = tuple(str(name) for name in (network.config.id2label or {}).values())
        _check_labels(str(path), names, data)
    tokenizer = Tokenizer(resolve(path), max_length=max_length)
    return predict_logits(
        network,
        texts,
        texts2,
        max_length=max_length,
        tokenizer=tokenizer,
        outside=data.outside,
        reading=data.reading,
    )


def _length_of_run(path: Path) -> int:
    """Return the longest input of the run that a folder lies in; 128 where it lies in none."""
    about = path.resolve().parent / "run.json"
    found = json.loads(about.read_text(encoding="utf-8")) if about.is_file() else {}
    return int(found.get("max_length", 128))


def _cosines(
    model: runtime.Embedder, texts: list[str], texts2: list[str] | None, data: TaskData
) -> npt.NDArray[np.float32]:
    """Return the cosines of pairs, (N, 1)."""
    if texts2 is None or data.task != "regression":
        raise DataError(
            f"{data.name} holds no pairs with a number; an embedder is measured on those"
        )
    cosines: npt.NDArray[np.float32] = (model(texts) * model(texts2)).sum(axis=1, keepdims=True)
    return cosines


def check_answers(path: str, card: Card, data: TaskData) -> None:
    """Refuse to compare the answers of an artifact with labels that mean something else.

    Raises:
        DataError: Its labels are not the data's, or it is for another task.
    """
    _check_kind(path, head_for(card.task), data)
    _check_labels(path, card.labels, data)


def _check_kind(path: str, head: str, data: TaskData) -> None:
    """Refuse to measure a model on data of a task that needs another head."""
    if head != head_for(data.task):
        does = {"text": "labels texts", "word": "tags words", "span": "finds answers"}[head]
        raise DataError(
            f"{path} {does}, the data {data.name} are for {data.task}; wanted data of its own task"
        )


def _check_labels(path: str, labels: tuple[str, ...], data: TaskData) -> None:
    """Refuse to compare answers whose numbers mean different labels; LABEL_0 means any."""
    nameless = labels == tuple(f"LABEL_{i}" for i in range(len(data.labels)))
    if labels != data.labels and not nameless:
        raise DataError(
            f"{path} has the labels {list(labels)}, the data {data.name} have {list(data.labels)}; "
            "wanted the same in the same order"
        )
