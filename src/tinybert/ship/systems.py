"""The systems a report compares: their answers, quality and size."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from tinybert import answer_baselines, baselines, metrics, runtime, tag_baselines
from tinybert.artifact import read_card
from tinybert.data import TaskData
from tinybert.distill.infer import load_classifier, predict_logits
from tinybert.distill.teach import dev_metrics
from tinybert.errors import ArtifactError
from tinybert.text import Tokenizer

__all__ = ["NAMES", "Run", "System", "answer", "open_run", "stage_logs"]

Array = npt.NDArray[Any]

NAMES = {
    "majority": "Majority class",
    "mean": "Mean of train",
    "unordered": "Passages in no order",
    "tfidf": "TF-IDF + logistic regression",
    "tfidf_ridge": "TF-IDF + ridge regression",
    "tfidf_cosine": "TF-IDF cosine",
    "majority_tag": "Most frequent tag",
    "lexicon": "Each word's usual tag",
    "features": "Logistic regression on words",
    "unread": "Answers without the question",
    "overlap": "Words near the question's",
    "label_only": "Student without a teacher",
    "teacher": "Teacher",
    "student": "Student",
    "artifact": "Artifact",
}


_BASELINES = {
    "answering": ("unread", "overlap"),
    "regression": ("mean", "tfidf_ridge"),
    "ranking": ("unordered", "tfidf_cosine"),
    "tagging": ("majority_tag", "lexicon", "features"),
}
_ANSWERS = {
    "lexicon": tag_baselines.lexicon,
    "features": tag_baselines.features,
    "overlap": answer_baselines.overlap,
}


@dataclass(frozen=True)
class Run:
    """A run's folder and what ``run.json`` says of it."""

    folder: Path
    about: dict[str, Any]

    @property
    def max_length(self) -> int:
        """Longest input in tokens."""
        return int(self.about["max_length"])

    def models(self) -> dict[str, Path]:
        """Return the folders of the models there are, by system."""
        teacher = Path(self.about["teacher"])
        found = {
            "label_only": self.folder / "label_only",
            "teacher": self.folder / "teacher" if (self.folder / "teacher").is_dir() else teacher,
            "student": self.folder / "student",
            "artifact": self.folder / "artifact",
        }
        return {name: place for name, place in found.items() if place.is_dir()}


@dataclass(frozen=True)
class System:
    """One system's answers on the measured split.

    Args:
        key: One of ``NAMES``.
        quality: Metrics by name.
        logits: Float (N, C), in tagging (W, C), in answering (N, 4); None where a system has no
            logits of its own.
        parameters: Number of weights, if counted.
        file_mb: Size of the weights on disk, MB (10⁶ bytes), if on disk.
        precision: ``fp32``, ``int8`` or empty.
    """

    key: str
    quality: dict[str, float]
    logits: Array | None = None
    parameters: int | None = None
    file_mb: float | None = None
    precision: str = ""


def stage_logs(run: Path, stages: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """Return what those of a run's stages logged that it has, in the order given.

    Args:
        run: Its folder.
        stages: Their names.
    """
    paths = {name: run / "stages" / name / "log.json" for name in stages}
    return {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name, path in paths.items()
        if path.is_file()
    }


def open_run(folder: str | Path) -> Run:
    """Read ``run.json``.

    Raises:
        ArtifactError: The folder holds no finished run, or its student or teacher is gone.
    """
    place = Path(folder)
    path = place / "run.json"
    if not path.is_file():
        what = "is not a folder" if not place.is_dir() else "has no run.json"
        raise ArtifactError(f"{folder} {what}; wanted the folder of a run that `distill` finished")
    try:
        run = Run(place, json.loads(path.read_text(encoding="utf-8")))
        if run.about.get("task") == "embedding":
            raise ArtifactError(
                f"{folder} holds a sentence encoder; its figures are in run.json, and "
                "`tinybert evaluate` measures its artifact"
            )
        missing = {"teacher", "student"} - run.models().keys()
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is damaged: {error}; run `tinybert distill` again") from error
    if missing:
        raise ArtifactError(
            f"{folder} has no {' and no '.join(sorted(missing))} folder; wanted a whole run; "
            "run `tinybert distill` again"
        )
    return run


def answer(run: Run, data: TaskData, split: str) -> Iterator[System]:
    """Let every system answer the split, baselines first, the artifact last."""
    simplest, *others = _BASELINES.get(data.task, ("majority", "tfidf"))
    yield System(simplest, baselines.majority(data, split), parameters=0)
    for key in others:
        logits = _ANSWERS.get(key, baselines.tfidf)(data, split)
        yield System(key, metrics.measure(data, split, logits), logits)
    for name, folder in run.models().items():
        if name == "artifact":
            yield _artifact(folder, data, split)
        else:
            yield _torch(name, folder, run.max_length, data, split)


def _torch(key: str, folder: Path, max_length: int, data: TaskData, split: str) -> System:
    """Read a Hugging Face folder's answers."""
    texts, texts2 = data.texts(split)
    model = load_classifier(folder)
    tokenizer = Tokenizer(folder, max_length=max_length)
    threshold = getattr(model.config, "no_answer_threshold", None)
    if data.task == "answering" and data.unanswerable == (threshold is None):
        dev_metrics(model, tokenizer, data)()
    logits = predict_logits(
        model,
        texts,
        texts2,
        max_length=max_length,
        tokenizer=tokenizer,
        outside=data.outside,
        reading=data.reading,
    )
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return System(
        key,
        metrics.measure(data, split, logits),
        logits,
        parameters=sum(weight.numel() for weight in model.parameters()),
        file_mb=size / 1e6,
        precision="fp32",
    )


def _artifact(folder: Path, data: TaskData, split: str) -> System:
    """Read the shipped folder's answers through the class users call."""
    card = read_card(folder)
    logits = runtime.load_labeler(folder).logits(data.inputs(split))
    model = folder / card.model
    return System(
        "artifact",
        metrics.measure(data, split, logits),
        logits,
        parameters=card.parameters or None,
        file_mb=model.stat().st_size / 1e6,
        precision="int8" if "quantized" in model.name else "fp32",
    )
