"""The recipe: every setting of a run as typed data, read from TOML or flags, saved with the run."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tinybert.artifact import write_atomic
from tinybert.errors import ConfigError, near_miss
from tinybert.spans import Reading

__all__ = [
    "AugmentSettings",
    "DataSettings",
    "EncoderSettings",
    "LayerStage",
    "PackSettings",
    "PredictionStage",
    "PruningSettings",
    "Recipe",
    "RunSettings",
    "Section",
    "ShipSettings",
    "Stage",
    "StudentSettings",
    "TeacherSettings",
    "WordSettings",
    "load",
    "read",
    "save",
]


R = TypeVar("R", bound=BaseModel)


class Section(BaseModel):
    """A section that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class DataSettings(Section):
    """Where the texts are and which columns hold what (see ``data.load``).

    ``unlabelled`` names a file, or several, of texts that the teacher labels in both stages.

    ``overlap``, ``question_length`` and ``answer_length`` (tokens) are for questions about contexts
    (see ``spans.Reading``); ``mend_answers`` looks for answers that are not where the data say.

    Without a source: the data of the task that is named, else ``helpdesk``.
    """

    source: str | None = None
    text: str | None = None
    text2: str | None = None
    label: str | None = None
    label_separator: str = Field("|", min_length=1)
    language: str | None = None
    task: str = "auto"
    dev: str | None = None
    test: str | None = None
    dev_fraction: float = Field(0.1, gt=0, lt=0.9)
    drop_leaks: bool = False
    unlabelled: tuple[str, ...] = ()
    unlabelled_rows: int | None = Field(None, ge=1)
    overlap: int = Field(Reading.overlap, ge=0)
    question_length: int = Field(Reading.question_length, ge=1)
    answer_length: int = Field(Reading.answer_length, ge=1)
    mend_answers: bool = False

    @field_validator("unlabelled", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        """Take a single file for a list of one."""
        return (value,) if isinstance(value, str) else value


class TeacherSettings(Section):
    """The teacher and how it is fine-tuned; ``auto`` does so only where it has no head.

    ``freeze`` keeps the embeddings and so many of the lowest layers as they are (0: the embeddings
    alone; None: nothing). With few labels that is quicker, and better on texts unlike the training
    ones. ``pooling`` says what the classifier reads: the ``first`` token's state, or, through one
    more layer, the ``mean`` of all tokens (see ``mean_layer``).
    """

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    teach: Literal["auto", "always", "never"] = "auto"
    epochs: float = Field(4.0, gt=0)
    learning_rate: float = Field(1e-4, gt=0)
    batch_size: int = Field(32, ge=1)
    dropout: float | None = Field(None, ge=0, lt=1)
    freeze: int | None = Field(None, ge=0)
    pooling: Literal["first", "mean"] = "first"


class EncoderSettings(Section):
    """The student's sizes and start.

    ``layers`` is a number, or a list of teacher layers counted from 0. Word embeddings are frozen
    where they are the teacher's own, unless said otherwise.
    """

    layers: int | tuple[int, ...] = 3
    hidden: int | None = Field(None, ge=1)
    heads: int | None = Field(None, ge=1)
    intermediate: int | None = Field(None, ge=1)
    start: Literal["teacher", "random"] = "teacher"
    mapping: Literal["uniform", "last"] | tuple[int, ...] = "uniform"
    freeze_embeddings: bool | None = None
    dropout: float = Field(0.0, ge=0, lt=1)


class StudentSettings(EncoderSettings):
    """The student of a task.

    ``base`` is the folder of an encoder, as ``tinybert general`` writes it, to start from instead
    of from the teacher's layers; the sizes are then those of that encoder. ``embedding`` is the
    width of the word embeddings where it is below ``hidden``; the student is then an ELECTRA (see
    ``factorized.factorize``). ``vocabulary`` leaves it the pieces that its ``texts`` need, or so
    many of the most frequent (see ``distill.vocabularies``). ``crops`` adds random passages of each
    training text, labelled by the teacher.
    """

    base: str | None = None
    embedding: int | None = Field(None, ge=2)
    vocabulary: Annotated[int, Field(ge=1)] | Literal["texts"] | None = None
    crops: int = Field(0, ge=0)


class WordSettings(Section):
    """New texts out of the training texts (Algorithm 1 of the paper).

    ``source`` says where the ``candidates`` of a word come from. Each of the ``copies`` of a text
    replaces each word with probability ``p``. ``vectors`` (a file), ``wordnet`` (a folder) and
    ``mlm`` (a folder or hub id) are what the source of that name reads; ``mlm`` reads ``vectors``
    too, for words of several pieces.
    """

    source: Literal["none", "embeddings", "mlm", "vectors", "wordnet"] = "none"
    p: float = Field(0.4, ge=0, le=1)
    copies: int = Field(20, ge=1)
    candidates: int = Field(15, ge=1)
    vectors: str | None = None
    wordnet: str | None = None
    mlm: str | None = None


class AugmentSettings(WordSettings):
    """New texts, labelled by the teacher.

    ``pairs`` puts beside each first text of a pair so many second texts of other pairs that are
    like it (see ``pairings.near_pairs``). Texts of whose answer the teacher is less sure than
    ``min_confidence`` are left out.
    """

    pairs: int = Field(0, ge=0)
    min_confidence: float = Field(0.0, ge=0, le=1)

    @property
    def wanted(self) -> bool:
        """Whether any text is made."""
        return self.source != "none" or self.pairs > 0


class Stage(Section):
    """One training stage: its length and the weight of each loss.

    ``rows`` trains on so many of the texts, drawn by seed; None takes all. ``texts`` may leave
    those out that the teacher alone labels (augmented, unlabelled, passages): ``labelled``.
    """

    texts: Literal["all", "labelled"] = "all"
    rows: int | None = Field(None, ge=1)
    epochs: float = Field(4.0, ge=0)
    learning_rate: float = Field(3e-4, gt=0)
    batch_size: int = Field(32, ge=1)
    warmup: float = Field(0.1, ge=0, lt=1)
    attention: float = Field(0.0, ge=0)
    hidden: float = Field(0.0, ge=0)
    embedding: float = Field(0.0, ge=0)
    prediction: float = Field(0.0, ge=0)
    hard_labels: float = Field(0.0, ge=0, le=1)
    temperature: float = Field(1.0, gt=0)


class LayerStage(Stage):
    """Attention, hidden-state and embedding distillation (the paper's intermediate stage).

    The paper gives all three weight 1; here hidden states alone are the default (docs/papers.md
    says why).
    """

    epochs: float = Field(6.0, ge=0)
    learning_rate: float = Field(5e-4, gt=0)
    hidden: float = Field(1.0, ge=0)


class PredictionStage(Stage):
    """Prediction distillation."""

    epochs: float = Field(5.0, ge=0)
    learning_rate: float = Field(2e-4, gt=0)
    prediction: float = Field(1.0, ge=0)


class PruningSettings(Section):
    """Attention heads and neurons left out after the layer stage, by what its loss feels of them.

    ``heads`` and ``intermediate`` (feed-forward neurons) say how many of each layer stay, or where
    ``uneven`` how many on average: layers that need more then keep more. Without either nothing is
    pruned. So many ``rows`` of the texts say which; ``epochs`` more of the layer stage heal the
    student before the prediction stage.
    """

    heads: int | None = Field(None, ge=1)
    intermediate: int | None = Field(None, ge=1)
    uneven: bool = False
    rows: int = Field(512, ge=1)
    epochs: float = Field(3.0, ge=0)

    @property
    def wanted(self) -> bool:
        """Whether anything is pruned."""
        return self.heads is not None or self.intermediate is not None


class PackSettings(Section):
    """What goes into an artifact: the float32 model too; bits of the word embeddings."""

    keep_fp32: bool = False
    table_bits: Literal[8, 4] = 8


class ShipSettings(PackSettings):
    """What goes into the artifact and which limits it must hold.

    ``trim`` leaves out the word embeddings that the run's texts do not need (see ``trim``).
    ``table_bits`` of 4 halves what is left of them. Where int8 answers past the limits, the student
    learns on with quantized numbers (see ``distill.quantized``): ``quantization`` says whether it
    does so where that is ``needed``, ``always`` or ``never``, for ``quantization_epochs`` of the
    prediction stage at ``quantization_learning_rate``.
    """

    trim: bool = False
    baselines: bool = True
    quantization: Literal["needed", "always", "never"] = "needed"
    quantization_epochs: float = Field(1.0, gt=0)
    quantization_learning_rate: float = Field(5e-5, gt=0)
    max_flips: float = Field(0.005, ge=0, le=1)
    max_drop: float = Field(0.003, ge=0, le=1)


class RunSettings(Section):
    """What every recipe says of its run; ``max_length`` counts tokens."""

    seed: int = Field(0, ge=0)
    max_length: int = Field(128, ge=4)
    precision: Literal["auto", "fp32", "bf16"] = "auto"


class Recipe(RunSettings):
    """Everything that decides a run's outcome."""

    out: str = "runs/tinybert"
    data: DataSettings = DataSettings()
    teacher: TeacherSettings = TeacherSettings()
    student: StudentSettings = StudentSettings()
    augment: AugmentSettings = AugmentSettings()
    layer_stage: LayerStage = LayerStage()
    pruning: PruningSettings = PruningSettings()
    prediction_stage: PredictionStage = PredictionStage()
    ship: ShipSettings = ShipSettings()


def load(path: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read the recipe of a task; see ``read``."""
    return read(Recipe, path, overrides)


def read(
    kind: type[R], path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> R:
    """Read a recipe from TOML and put single settings over it.

    Args:
        kind: The recipe's class.
        path: A TOML file; None starts from the defaults.
        overrides: Values by dotted name, such as ``{"student.layers": 3}``.

    Raises:
        ConfigError: No such file, not TOML, an unknown setting (with the near miss), or a value out
            of range; all at once.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ConfigError(f"recipe {path} does not exist") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"recipe {path} is not TOML: {error}") from error
    for name, value in (overrides or {}).items():
        _set(values, name, value)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        where = f" in {path}" if path is not None else ""
        raise ConfigError("; ".join(_explain(kind, error.errors(), where))) from error


def save(recipe: BaseModel, path: str | Path) -> None:
    """Write a recipe as TOML that ``load`` reads back to the same recipe."""
    values = recipe.model_dump(exclude_none=True)
    top = {k: v for k, v in values.items() if not isinstance(v, dict)}
    lines = [f"{k} = {_toml(v)}" for k, v in top.items()]
    for section, settings in values.items():
        if isinstance(settings, dict):
            lines += ["", f"[{section}]", *(f"{k} = {_toml(v)}" for k, v in settings.items())]
    write_atomic(path, ("\n".join(lines) + "\n").encode())


def _set(values: dict[str, Any], name: str, value: Any) -> None:
    """Put a value under a dotted name."""
    *sections, key = name.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"`{section}` in `{name}` is a setting, not a section")
    values[key] = value


def _explain(kind: type[BaseModel], errors: Sequence[Any], where: str) -> list[str]:
    """Say validation problems in our words, those of one setting together."""
    found: dict[str, str] = {}
    for error in errors:
        fields, path = _setting(kind, [str(part) for part in error["loc"]])
        name, told = ".".join(path), error["msg"][0].lower() + error["msg"][1:]
        if error["type"] == "extra_forbidden":
            found[name] = f"unknown setting `{name}`{where}{near_miss(path[-1], fields)}"
        elif name in found:
            found[name] += f", or {told}"
        elif not path:
            found[name] = f"settings{where}: {told.removeprefix('value error, ')}"
        else:
            found[name] = f"`{name}` is {error['input']!r}{where}; {told}"
    return list(found.values())


def _setting(kind: Any, location: Sequence[str]) -> tuple[Mapping[str, Any], list[str]]:
    """Return the fields beside a setting, and its path without the types that it may have."""
    fields: Mapping[str, Any] = {}
    path: list[str] = []
    while hasattr(kind, "model_fields") and len(path) < len(location):
        fields = kind.model_fields
        path.append(location[len(path)])
        kind = fields[path[-1]].annotation if path[-1] in fields else None
    return fields, path


def _toml(value: Any) -> str:
    """Write a scalar or a list of numbers as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return repr(value)
