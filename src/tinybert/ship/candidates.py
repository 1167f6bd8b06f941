"""The students that a plan may choose from, and what each of them would weigh and compute."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from tinybert.artifact import SMALL
from tinybert.distill import recipe as recipes
from tinybert.distill.prune import check_pruning, keep_largest
from tinybert.distill.recipe import Recipe
from tinybert.distill.start import start_student
from tinybert.errors import ConfigError
from tinybert.layout import layout_of

__all__ = [
    "AFTER",
    "Candidate",
    "Sizes",
    "candidates",
    "changed",
    "check_wanted",
    "name_of",
    "sizes_of",
    "space_of",
    "untrained",
]

# Settings that change a student after its training: candidates that differ in them alone share one.
AFTER = ("ship.trim",)
_BITS = "ship.table_bits"
_LAYERS = (1, 2, 3, 4, 6, 8, 12)
_WIDTHS = (1, 2 / 3, 1 / 2, 1 / 3)
_EMBEDDINGS = (None, 128, 64)
_KEPT = (None, 1 / 2)
_MULTIPLE = 16


@dataclass
class Candidate:
    """One student of a plan and what is known of it.

    Args:
        name: Made of its settings.
        settings: Recipe settings by dotted name.
        weights: How many numbers it holds.
        work: Multiplications and additions a token.
        mb: Size of the artifact's folder, MB (10⁶ bytes); an estimate until it is ``measured``.
        ms: Latency of one text, ms; None where nobody measured, an estimate likewise.
        measured: Whether ``mb`` and ``ms`` were measured.
        quality: Dev metric in PyTorch by the share of the epochs, as in ``{"0.25": 0.9}``.
        seconds: What each of those trainings took.
        artifact: Dev metric of the shipped artifact.
        shipped: After which share of the epochs it was shipped.
        state: ``waiting``, ``over`` (a limit), ``stopped`` (short runs of others were better),
            ``short`` (too little to keep what is wanted), ``larger`` (than one that keeps it),
            ``trained``, ``refused`` (its artifact does not answer as it does) or ``chosen``.
        why: What the state means here.
    """

    name: str
    settings: dict[str, Any]
    weights: int = 0
    work: int = 0
    mb: float = 0.0
    ms: float | None = None
    measured: bool = False
    quality: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    artifact: float | None = None
    shipped: str | None = None
    state: str = "waiting"
    why: str = ""

    @property
    def trained(self) -> dict[str, Any]:
        """The settings that decide its training."""
        return {name: value for name, value in self.settings.items() if name not in AFTER}

    def plain(self) -> dict[str, Any]:
        """Return what ``plan.json`` holds of it."""
        return asdict(self)


@dataclass(frozen=True)
class Sizes:
    """What a model would take, counted from its shapes.

    Args:
        weights: How many numbers.
        work: Multiplications and additions a token.
        int8_bytes: Bytes of its weights as ``quantize`` writes them.
        piece_bytes: Bytes of one word piece's row among them.
    """

    weights: int
    work: int
    int8_bytes: int
    piece_bytes: int


def space_of(
    recipe: Recipe, teacher: Any, wanted: Mapping[str, Sequence[Any]]
) -> dict[str, tuple[Any, ...]]:
    """Return the values that each setting may take.

    Args:
        recipe: What holds for all candidates.
        teacher: The teacher's config.
        wanted: Values by dotted name, instead of those chosen here (see ``check_wanted``).
    """
    width, layers = int(teacher.hidden_size), int(teacher.num_hidden_layers)
    inner = int(getattr(teacher, layout_of(teacher).intermediate))
    heads = recipe.student.heads or int(teacher.num_attention_heads)
    step = math.lcm(heads, _MULTIPLE) if width >= 4 * math.lcm(heads, _MULTIPLE) else heads
    widths = [max(step, round(width * share / step) * step) for share in _WIDTHS]
    usual: dict[str, tuple[Any, ...]] = {
        "student.layers": tuple(n for n in _LAYERS if n <= layers),
        "student.hidden": tuple(dict.fromkeys([width, *(w for w in widths if w < width)])),
        "student.embedding": _EMBEDDINGS,
        "pruning.intermediate": tuple(share and round(inner * share) for share in _KEPT),
        "ship.trim": (False, True),
    }
    return usual | {name: tuple(values) for name, values in wanted.items()}


def check_wanted(recipe: Recipe, wanted: Mapping[str, Sequence[Any]]) -> None:
    """Refuse values of settings that no plan can try, before anything trains.

    Raises:
        ConfigError: No value for a setting, a value out of range, or a setting that a plan cannot
            vary.
    """
    for name, values in wanted.items():
        if not values:
            raise ConfigError(f"--try {name} has no values; wanted a list such as {name}=[1, 2]")
        if name == "student.vocabulary":
            raise ConfigError(
                "--try student.vocabulary cannot be planned; ship.trim=[true] leaves out the "
                "pieces that the texts do not need"
            )
        if not name.startswith(("student.", "pruning.")) and name not in (*AFTER, _BITS):
            raise ConfigError(
                f"--try {name} is no setting of a student; wanted one of student.*, pruning.*, "
                f"{', '.join((*AFTER, _BITS))}"
            )
        for value in values:
            changed(recipe, {name: value})


def candidates(
    recipe: Recipe, teacher: PreTrainedModel, space: Mapping[str, Sequence[Any]]
) -> tuple[list[Candidate], dict[str, Sizes]]:
    """Return every student of a space that can be made, and their sizes by the name of the student.

    A student that the settings contradict (an embedding wider than the student) is left out.

    Raises:
        ConfigError: None can be made; the first reason is told.
    """
    found, sizes = [], dict[str, Sizes | None]()
    reason: ConfigError | None = None
    for values in itertools.product(*space.values()):
        candidate = Candidate("", dict(zip(space, values, strict=True)))
        key = name_of(candidate.trained)
        if key not in sizes:
            try:
                bits = candidate.settings.get(_BITS, recipe.ship.table_bits)
                sizes[key] = sizes_of(untrained(recipe, candidate, teacher), bits)
            except ConfigError as error:
                sizes[key], reason = None, reason or error
        size = sizes[key]
        if size is not None:
            candidate.name = name_of(candidate.settings)
            candidate.weights, candidate.work = size.weights, size.work
            found.append(candidate)
    if not found:
        raise ConfigError(f"no student of {dict(space)} can be made: {reason}")
    return found, {key: size for key, size in sizes.items() if size is not None}


def changed(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return a recipe with other values for settings by dotted name.

    Raises:
        ConfigError: A setting that does not exist, or a value out of range.
    """
    flat: dict[str, Any] = {}
    for section, value in recipe.model_dump().items():
        if isinstance(value, dict):
            flat |= {f"{section}.{name}": v for name, v in value.items()}
        else:
            flat[section] = value
    return recipes.load(None, flat | dict(settings))


def name_of(settings: Mapping[str, Any]) -> str:
    """Return a name for settings, fit for a folder: ``layers-3_hidden-192_trim``."""
    parts = []
    for name, value in settings.items():
        short = name.rpartition(".")[2] if name.startswith(("student.", "ship.")) else name
        if value is True:
            parts.append(short)
        elif isinstance(value, list | tuple):
            parts.append(f"{short}-{'-'.join(map(str, value))}")
        elif value is not None and value is not False:
            parts.append(f"{short}-{value}")
    return "_".join(parts) or "as-the-recipe-says"


def sizes_of(model: PreTrainedModel, table_bits: int = 8) -> Sizes:
    """Count a model's weights, work and bytes as int8; tables and products as ``quantize`` does."""
    weights = sum(value.numel() for value in model.parameters())
    work, saved, piece = 0, 0, 0
    for name, part in model.named_modules():
        if not isinstance(part, nn.Linear | nn.Embedding):
            continue
        rows, columns = part.weight.shape
        count, table = rows * columns, isinstance(part, nn.Embedding)
        work += 0 if table else count
        large = count >= SMALL
        saved += 3 * count - 4 * (rows + columns if table else rows) if large else 0
        if name.endswith("word_embeddings"):
            share = table_bits if large else 8
            saved += count * (8 - share) // 8
            piece = columns * share // 8 + 4 if large else 4 * columns
    return Sizes(weights, work, 4 * weights - saved, piece)


def untrained(recipe: Recipe, candidate: Candidate, teacher: PreTrainedModel) -> PreTrainedModel:
    """Return the student with random weights, pruned as it will be."""
    settings = candidate.settings | {"student.start": "random"}
    own = changed(recipe, settings)
    student = start_student(own.student, teacher, recipe.seed)
    check_pruning(own.pruning, student.config)
    keep_largest(student, own.pruning)
    return student
