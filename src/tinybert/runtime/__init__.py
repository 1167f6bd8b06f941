"""Answers from a shipped folder, without PyTorch."""

from pathlib import Path

from tinybert.artifact import WRITTEN, read_card
from tinybert.errors import ArtifactError, ConfigError
from tinybert.runtime.classify import Classifier, Prediction
from tinybert.runtime.embed import Embedder
from tinybert.runtime.generation import Decoding, Hypothesis, open_artifact
from tinybert.runtime.multilabel import LabelSet, MultiLabelClassifier
from tinybert.runtime.question import Answer, QuestionAnswerer
from tinybert.runtime.regress import Regressor
from tinybert.runtime.rerank import Ranked, Reranker
from tinybert.runtime.session import Session
from tinybert.runtime.stream import Labeler, Model, predict
from tinybert.runtime.summarize import Summarizer
from tinybert.runtime.tag import Entity, Tagger
from tinybert.runtime.translate import Translator

__all__ = [
    "Answer",
    "Classifier",
    "Decoding",
    "Embedder",
    "Entity",
    "Hypothesis",
    "LabelSet",
    "Labeler",
    "Model",
    "MultiLabelClassifier",
    "Prediction",
    "QuestionAnswerer",
    "Ranked",
    "Regressor",
    "Reranker",
    "Session",
    "Summarizer",
    "Tagger",
    "Translator",
    "load",
    "load_labeler",
    "predict",
]

_KINDS: dict[str, type[Labeler]] = {
    "answering": QuestionAnswerer,
    "classification": Classifier,
    "embedding": Embedder,
    "multilabel": MultiLabelClassifier,
    "ranking": Reranker,
    "regression": Regressor,
    "tagging": Tagger,
}


def load(
    path: str | Path,
    *,
    threads: int | None = None,
    precision: str | None = None,
    batch_size: int = 32,
    optimize: bool = True,
    engine: str = "auto",
) -> Model:
    """Load a shipped folder.

    Args:
        path: The artifact.
        threads: Threads a call may use; None leaves it to the number of cores.
        precision: ``int8`` or ``fp32``; None takes what the card names.
        batch_size: Texts that run through the model together.
        optimize: Let ONNX Runtime rewrite the graph; off, it runs as it was exported.
        engine: ``native`` (the package's own, for int8 encoders), ``onnx`` (ONNX Runtime), or
            ``auto``: the own one where it knows the model; the environment variable
            ``TINYBERT_ENGINE`` may name another.

    Returns:
        A classifier, one that gives any number of labels, an embedder, a reranker, a regressor, a
        tagger, one that finds answers in contexts, a translator or a summarizer, as the card's task
        says. It may be shared by many threads.

    Raises:
        ArtifactError: The folder is damaged, incomplete or of a newer format.
        ConfigError: A setting is out of range, the folder has no model of that precision,
            or the engine cannot run it.
        MissingExtraError: It writes texts, and CTranslate2 is not installed.
    """
    card = read_card(path)
    if card.task in WRITTEN:
        if engine != "auto":
            raise ConfigError(f"engine is `{engine}`; {path} writes texts, which CTranslate2 does")
        if precision not in (None, "int8"):
            raise ConfigError(f"precision is `{precision}`; {path} has int8 alone")
        generator = open_artifact(path, card, threads=threads, batch_size=batch_size)
        kind = Translator if card.task == "translation" else Summarizer
        return kind(generator, card)
    return load_labeler(
        path,
        threads=threads,
        precision=precision,
        batch_size=batch_size,
        optimize=optimize,
        engine=engine,
    )


def load_labeler(
    path: str | Path,
    *,
    threads: int | None = None,
    precision: str | None = None,
    batch_size: int = 32,
    optimize: bool = True,
    engine: str = "auto",
) -> Labeler:
    """Load a shipped folder whose model gives logits: any but those that write texts.

    Args:
        path, threads, precision, batch_size, optimize, engine: As for ``load``.

    Raises:
        ArtifactError: The folder is damaged, incomplete, of a newer format, or writes texts.
        ConfigError: A setting is out of range, or the folder has no model of that precision.
    """
    card = read_card(path)
    if card.task not in _KINDS:
        raise ArtifactError(f"{path} is for {card.task}; wanted one of {', '.join(_KINDS)}")
    session = Session(
        path,
        card,
        threads=threads,
        precision=precision,
        batch_size=batch_size,
        optimize=optimize,
        engine=engine,
    )
    return _KINDS[card.task](session)
