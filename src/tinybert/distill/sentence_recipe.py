"""The recipe of a sentence encoder: every setting as typed data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tinybert.distill.recipe import EncoderSettings, PackSettings, RunSettings, Section, read

__all__ = ["SentenceRecipe", "SentenceTexts", "SentenceTraining", "load"]


class SentenceTexts(Section):
    """Where the texts are.

    ``texts`` are files of single texts (``.txt``, one a line; or tables with ``column``). ``dev``
    is a table of pairs with a number that grows with their likeness: it chooses the epoch.
    Without it, ``held_out`` of the texts do.
    """

    texts: tuple[str, ...] = ()
    column: str = "text"
    rows: int | None = Field(None, ge=1)
    held_out: int = Field(200, ge=1)
    dev: str | None = None


class SentenceTraining(Section):
    """How long and how fast the student learns."""

    epochs: float = Field(3.0, gt=0)
    learning_rate: float = Field(3e-4, gt=0)
    batch_size: int = Field(32, ge=1)
    warmup: float = Field(0.1, ge=0, lt=1)


class SentenceRecipe(RunSettings):
    """Everything that decides what a sentence encoder becomes.

    ``pooling`` None takes the teacher's.
    """

    out: str = "runs/embeddings"
    teacher: str = "sentence-transformers/all-MiniLM-L6-v2"
    pooling: Literal["mean", "cls"] | None = None
    data: SentenceTexts = SentenceTexts()
    student: EncoderSettings = EncoderSettings()
    training: SentenceTraining = SentenceTraining()
    ship: PackSettings = PackSettings()


def load(
    path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> SentenceRecipe:
    """Read the recipe of a sentence encoder; see ``recipe.read``."""
    return read(SentenceRecipe, path, overrides)
