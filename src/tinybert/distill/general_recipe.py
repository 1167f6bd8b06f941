"""The recipe of general distillation: every setting as typed data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tinybert.distill.recipe import EncoderSettings, RunSettings, Section, read

__all__ = ["CorpusSettings", "GeneralRecipe", "TrainingSettings", "load"]


class CorpusSettings(Section):
    """Where the plain texts are (see ``corpus.open_corpus``).

    ``dev_rows`` of the first rows are only measured; ``buffer`` rows are held in memory to draw
    the next one from.
    """

    texts: tuple[str, ...] = ()
    column: str = "text"
    dev_rows: int = Field(64, ge=1)
    buffer: int = Field(10_000, ge=1)


class TrainingSettings(Section):
    """What the student imitates, for how long and how fast.

    ``layers``: attention scores, hidden states and embeddings, each with its weight.
    ``relations``: how queries, keys and values of one teacher layer (counted from 1; None takes the
    last) relate to each other, for unlike numbers of heads. At most one of ``steps``, ``tokens``
    and ``epochs`` is given; without any it is 10,000 steps. Every ``every`` steps the held-out rows
    are measured and a checkpoint is written.
    """

    losses: Literal["layers", "relations"] = "layers"
    attention: float = Field(1.0, ge=0)
    hidden: float = Field(1.0, ge=0)
    embedding: float = Field(1.0, ge=0)
    relation_layer: int | None = None
    relation_heads: int = 12
    steps: int | None = Field(None, ge=1)
    tokens: int | None = Field(None, ge=1)
    epochs: float | None = Field(None, gt=0)
    learning_rate: float = Field(5e-4, gt=0)
    batch_size: int = Field(32, ge=1)
    warmup: float = Field(0.05, ge=0, lt=1)
    every: int = Field(1000, ge=1)


class GeneralRecipe(RunSettings):
    """Everything that decides what general distillation makes."""

    out: str = "runs/general"
    teacher: str = "sentence-transformers/all-MiniLM-L6-v2"
    corpus: CorpusSettings = CorpusSettings()
    student: EncoderSettings = EncoderSettings()
    training: TrainingSettings = TrainingSettings()


def load(
    path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> GeneralRecipe:
    """Read the recipe of a general distillation; see ``recipe.read``."""
    return read(GeneralRecipe, path, overrides)
