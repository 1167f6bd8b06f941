"""Answers from a shipped folder, without PyTorch."""

from pathlib import Path

from tinybert.artifact import read_card
from tinybert.runtime.classify import Classifier, Prediction
from tinybert.runtime.embed import Embedder
from tinybert.runtime.multilabel import LabelSet, MultiLabelClassifier
from tinybert.runtime.regress import Regressor
from tinybert.runtime.rerank import Ranked, Reranker
from tinybert.runtime.session import Session
from tinybert.runtime.stream import Model, predict
from tinybert.runtime.tag import Entity, Tagger

__all__ = [
    "Classifier",
    "Embedder",
    "Entity",
    "LabelSet",
    "Model",
    "MultiLabelClassifier",
    "Prediction",
    "Ranked",
    "Regressor",
    "Reranker",
    "Session",
    "Tagger",
    "load",
    "predict",
]

_KINDS: dict[str, type[Model]] = {
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
        A classifier, one that gives any number of labels, an embedder, a reranker, a regressor or
        a tagger, as the card's task says. It may be shared by many threads.

    Raises:
        ArtifactError: The folder is damaged, incomplete or of a newer format.
        ConfigError: A setting is out of range, the folder has no model of that precision,
            or the engine cannot run it.
    """
    card = read_card(path)
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
