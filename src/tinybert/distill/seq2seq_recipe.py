"""The recipe of a student that writes texts: every setting as typed data."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tinybert.artifact import WRITTEN
from tinybert.distill.recipe import RunSettings, Section, WordSettings, read

__all__ = [
    "PairSettings",
    "SearchSettings",
    "Seq2SeqRecipe",
    "SourceSettings",
    "StudentTraining",
    "TargetSettings",
    "WriterSettings",
    "WriterShip",
    "WriterStudent",
    "WriterTeacher",
    "WriterTraining",
    "load",
    "writes",
]


class PairSettings(Section):
    """Where the pairs are and which columns hold what (see ``pairs.load_pairs``).

    ``monolingual`` names files of further sources, one text a line or a column ``source`` of a
    table: the teacher writes their targets. ``copied`` adds pairs, so many as a share of train, in
    which other numbers, names and addresses stand in place of those that both sides have, so that
    a small model learns to copy them. ``carried`` lets it translate marks in place of numbers and
    of web and mail addresses, which the artifact puts back (see ``runtime.carried``).
    """

    path: str = "helpdesk"
    source: str | None = None
    target: str | None = None
    language: str | None = None
    dev: str | None = None
    test: str | None = None
    dev_fraction: float = Field(0.1, gt=0, lt=0.9)
    monolingual: tuple[str, ...] = ()
    copied: float = Field(0.0, ge=0, le=1)
    carried: bool = False

    @field_validator("monolingual", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        """Take a single file for a list of one."""
        return (value,) if isinstance(value, str) else value


class WriterTraining(Section):
    """How long and how fast a model learns.

    The rate rises over the share ``warmup`` of the steps and then falls with the inverse square
    root of the step. ``beta2`` is Adam's; None takes 0.999, and 0.98 for new weights, which may
    not begin to read their sources with more (``distinct`` stays 0). ``average`` takes the mean of
    the weights of so many last checkpoints where that is better on dev than the best one alone.
    Training stops after ``patience`` measurements without a better one; those before half of the
    dev answers differ do not count.
    """

    epochs: float = Field(20.0, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    batch_size: int = Field(64, ge=1)
    warmup: float = Field(0.1, ge=0, lt=1)
    beta2: float | None = Field(None, gt=0, lt=1)
    smoothing: float = Field(0.1, ge=0, lt=1)
    average: int = Field(3, ge=1)
    patience: int | None = Field(5, ge=1)
    dev_rows: int = Field(300, ge=1)

    def settled(self, *, new: bool) -> Self:
        """Return the settings with ``beta2`` for new weights, or for those of a trained model."""
        usual = 0.98 if new else 0.999
        return self.model_copy(update={"beta2": self.beta2 or usual})


class WriterSettings(Section):
    """Sizes of a new encoder-decoder; ``intermediate`` None takes four times the width."""

    hidden: int = Field(256, ge=8)
    heads: int | None = Field(None, ge=1)
    intermediate: int | None = Field(None, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)


class WriterTeacher(WriterSettings):
    """The teacher: ``model``, a folder or hub id; or one that is trained here from the pairs.

    ``bert`` names an encoder that such a one begins as; its sizes and tokenizer are then the
    encoder's. ``target_token`` begins every answer of a teacher of many languages, such as
    ``deu_Latn``. ``prefix`` stands before every source that a ``model`` reads, such as a T5's
    ``summarize: ``; the student does without. ``shared_vocabulary = false`` gives sources and
    targets a tokenizer and a table of ``vocab_size`` each, for languages that have no pieces in
    common.
    """

    model: str | None = None
    target_token: str | None = None
    prefix: str = ""
    bert: str | None = None
    encoder_layers: int = Field(4, ge=1)
    decoder_layers: int = Field(4, ge=1)
    vocab_size: int = Field(8000, ge=300)
    shared_vocabulary: bool = True

    @model_validator(mode="after")
    def _own_vocabulary(self) -> Self:
        """Refuse a choice of vocabularies where the model has made it."""
        if not self.shared_vocabulary and (self.model or self.bert):
            raise ValueError(
                "shared_vocabulary is false, and the vocabulary is that of "
                f"`{self.model or self.bert}`; wanted a teacher that is trained here from pairs"
            )
        return self

    @model_validator(mode="after")
    def _knows_its_prefix(self) -> Self:
        """Refuse a prefix for a teacher that is trained here, from sources without one."""
        if self.prefix and self.model is None:
            raise ValueError(
                f"prefix is `{self.prefix}`; wanted the model that was trained with it"
            )
        return self


class WriterStudent(Section):
    """The student: the teacher's layers that it keeps, or, with ``hidden``, narrower ones.

    Layers are a number or a list of teacher layers counted from 0. A narrower student begins with
    the projected weights of a BART or Marian teacher; ``start = "random"``, or another teacher,
    gives it new ones, without ``hidden`` of the teacher's sizes. ``vocabulary`` leaves it the
    pieces that its ``texts`` need, or so many of the most frequent ones (of sources and of targets
    each, where they have one each).
    """

    encoder_layers: int | tuple[int, ...] = 4
    decoder_layers: int | tuple[int, ...] = 1
    hidden: int | None = Field(None, ge=8)
    heads: int | None = Field(None, ge=1)
    intermediate: int | None = Field(None, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    start: Literal["teacher", "random"] = "teacher"
    vocabulary: Annotated[int, Field(ge=1)] | Literal["texts"] | None = None

    def as_wide_as(self, config: Any) -> Self:
        """Return the settings with a model's width, heads and feed-forward width."""
        sizes = {"hidden": config.d_model, "heads": config.encoder_attention_heads}
        return self.model_copy(update=sizes | {"intermediate": config.encoder_ffn_dim})


class TargetSettings(Section):
    """What the student learns from.

    The teacher's answer for each source (found with ``beams``) weighs 1 - ``references``, the text
    of the data weighs ``references``. ``word_level`` is the weight of the teacher's next-token
    distribution, its ``top`` likeliest tokens, against that of the token itself.
    """

    beams: int = Field(4, ge=1)
    length_penalty: float = Field(1.0, ge=0)
    references: float = Field(0.5, ge=0, le=1)
    word_level: float = Field(0.5, ge=0, le=1)
    top: int = Field(8, ge=1)


class SourceSettings(WordSettings):
    """New sources: those of train with other words in places. The teacher writes their targets."""

    p: float = Field(0.25, ge=0, le=1)
    copies: int = Field(6, ge=1)


class StudentTraining(WriterTraining):
    """The student's training.

    ``hidden`` weighs the distance of its layers' outputs from the teacher's, in encoder and
    decoder, ``cross_attention`` that of the scores with which its decoder looks at the source. Both
    need a student with the teacher's width and heads. The teacher then runs beside it, over the
    student's pieces.
    """

    smoothing: float = Field(0.0, ge=0, lt=1)
    hidden: float = Field(0.0, ge=0)
    cross_attention: float = Field(0.0, ge=0)


class SearchSettings(Section):
    """How the artifact searches for answers, where a call does not say otherwise.

    ``truncation`` lets what fits of a source over ``max_length`` be summarized, false all of it by
    windows; None takes what is better on dev.
    """

    beams: int = Field(4, ge=1)
    length_penalty: float = Field(1.0, ge=0)
    no_repeat: int = Field(0, ge=0)
    repetition_penalty: float = Field(1.0, gt=0)
    truncation: bool | None = None


class WriterShip(Section):
    """Most points of the deciding metric, 0..100, that int8 may lose on dev."""

    max_drop: float = Field(1.0, ge=0)


class Seq2SeqRecipe(RunSettings):
    """Everything that decides what a student becomes that translates or summarizes.

    ``max_length`` counts the tokens of a source, ``max_target`` those of a target.
    """

    out: str = "runs/seq2seq"
    task: Literal["translation", "summarization"] = "translation"
    max_target: int = Field(128, ge=4)
    data: PairSettings = PairSettings()
    teacher: WriterTeacher = WriterTeacher()
    teaching: WriterTraining = WriterTraining()
    student: WriterStudent = WriterStudent()
    augment: SourceSettings = SourceSettings()
    targets: TargetSettings = TargetSettings()
    training: StudentTraining = StudentTraining()
    search: SearchSettings = SearchSettings()
    ship: WriterShip = WriterShip()

    @model_validator(mode="after")
    def _read_whole(self) -> Self:
        """Refuse a setting that translators do not know."""
        if self.task == "translation" and self.search.truncation is not None:
            raise ValueError("search.truncation is for summaries; a translator reads all of a text")
        return self

    @model_validator(mode="after")
    def _knows_marks(self) -> Self:
        """Refuse marks that a BERT's tokenizer does not know, or that stand for nothing."""
        bert = self.teacher.bert
        if self.data.carried and (bert or self.task != "translation"):
            raise ValueError(
                "data.carried is true; wanted a translator whose teacher is trained here, with a "
                f"tokenizer of its own{f', not that of `{bert}`' if bert else ''}"
            )
        return self

    @model_validator(mode="after")
    def _read_alike(self) -> Self:
        """Refuse to compare layers at places that differ by a prefix."""
        if self.teacher.prefix and (self.training.hidden or self.training.cross_attention):
            raise ValueError(
                "teacher.prefix is given, and training.hidden or training.cross_attention: layers "
                "are compared where student and teacher read the same"
            )
        return self


def load(
    path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Seq2SeqRecipe:
    """Read the recipe of a student that writes texts; see ``recipe.read``."""
    return read(Seq2SeqRecipe, path, overrides)


def writes(path: str | Path | None = None, task: object = None) -> bool:
    """Whether settings are those of a student that translates or summarizes.

    Args:
        path: A TOML file; one that cannot be read says nothing.
        task: Goes before the file's; None leaves it to that.
    """
    if task is None and path is not None:
        try:
            task = tomllib.loads(Path(path).read_text(encoding="utf-8")).get("task")
        except (OSError, ValueError):
            return False
    return task in WRITTEN
