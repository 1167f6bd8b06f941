"""The whole way from a recipe to a shipped artifact and its report, and the demonstration."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinybert import runtime
from tinybert.artifact import read_card
from tinybert.data import TaskData, load_saved
from tinybert.distill import processes, task
from tinybert.distill.processes import is_first
from tinybert.distill.recipe import Recipe, load
from tinybert.distill.trim import trim
from tinybert.errors import ArtifactError, ConfigError
from tinybert.ship.export import export
from tinybert.ship.quantize import quantize
from tinybert.ship.report import report
from tinybert.ship.systems import open_run
from tinybert.ship.verify import verify

__all__ = ["DEMO", "demo", "distill", "examples", "ship", "write_artifact"]

DEMO: dict[str, Any] = {
    "data.source": "helpdesk",
    "teacher.epochs": 3,
    "teacher.learning_rate": 3e-4,
    "teacher.dropout": 0.0,
    "teacher.freeze": 2,
    "augment.source": "embeddings",
    "augment.copies": 1,
    "augment.p": 0.3,
    "layer_stage.epochs": 2,
    "layer_stage.learning_rate": 5e-4,
    "layer_stage.batch_size": 8,
    "prediction_stage.epochs": 1.5,
    "prediction_stage.learning_rate": 1e-4,
    "prediction_stage.batch_size": 8,
    "ship.max_flips": 0.02,
}
LANGUAGES = ("en", "zh")

Say = Callable[[str], None]


def distill(recipe: Recipe, say: Say = print, *, rounds: int = 3) -> Path:
    """Train a student, ship it and report; called again, it goes on where it stopped.

    Args:
        recipe: Every setting.
        say: Told of each step.
        rounds: Fresh processes for each model that the report times.

    Returns:
        The run's folder.

    Raises:
        TinyBertError: Data, teacher or settings cannot be used, or the artifact does not answer as
            the student does.
    """
    run = task.distill(recipe, say)
    if not is_first():
        return run
    ship(run, recipe, say)
    say("measuring every system for the report")
    report(run, rounds=rounds)
    return run


def ship(run: str | Path, recipe: Recipe, say: Say = print) -> Path:
    """Turn a run's student into an artifact that is proved to answer as the student does.

    With ``ship.trim`` that is the student in ``trimmed``, without the word embeddings that the
    run's texts do not need. One that does not answer so makes the student learn on with quantized
    numbers, where ``ship.quantization`` allows it.

    Args:
        run: Folder of a trained run.
        recipe: Its recipe.
        say: Told of each step.

    Returns:
        The artifact's folder.

    Raises:
        ArtifactError: The artifact answers differently from the student, past the limits.
    """
    open_run(run)
    try:
        return _ship(run, recipe, say)
    except ArtifactError as error:
        if recipe.ship.quantization != "needed" or processes.count() > 1:
            raise
        say(f"{error}".partition("; ship the float32")[0])
    say(f"learning on with quantized numbers, {recipe.ship.quantization_epochs:g} epochs")
    settings = recipe.ship.model_copy(update={"quantization": "always"})
    again = recipe.model_copy(update={"out": str(run), "ship": settings})
    task.distill(again, say)
    return _ship(run, again, say)


def _ship(run: str | Path, recipe: Recipe, say: Say) -> Path:
    """Export, quantize and compare a run's student as it is."""
    opened, data = open_run(run), load_saved(run)
    student, artifact = opened.folder / "student", opened.folder / "artifact"
    trimmed = opened.folder / "trimmed"
    shutil.rmtree(trimmed, ignore_errors=True)
    if recipe.ship.trim:
        student = trim(student, trimmed, say=say)
    say("exporting the student to ONNX, then quantizing it to int8")
    write_artifact(student, artifact, recipe, data, opened.max_length)
    say(f"comparing the artifact with the student on {len(data.dev):,} dev texts")
    limits = {"max_flips": recipe.ship.max_flips, "max_drop": recipe.ship.max_drop}
    verify(artifact, student, data, **limits)
    size = (artifact / read_card(artifact).model).stat().st_size
    say(f"artifact: {artifact}, {size / 1e6:.1f} MB")
    return artifact


def write_artifact(
    student: Path, artifact: Path, recipe: Recipe, data: TaskData, max_length: int | None = None
) -> None:
    """Export a task's student and quantize it; nothing is compared yet.

    Args:
        student: Its Hugging Face folder.
        artifact: The folder to write.
        recipe: Its recipe.
        data: Its task.
        max_length: Longest input in tokens; None takes the recipe's.
    """
    export(
        student,
        artifact,
        task=data.task,
        labels=data.labels,
        pair=data.pair,
        max_length=max_length or recipe.max_length,
        teacher=recipe.teacher.model,
        outside=data.labels[data.outside] if data.task == "tagging" else None,
        reading=data.reading,
    )
    quantize(artifact, keep_fp32=recipe.ship.keep_fp32, table_bits=recipe.ship.table_bits)


def demo(
    language: str = "en", out: str | Path = "runs/demo", *, seed: int = 0, say: Say = print
) -> Path:
    """Distil a pretrained teacher on the embedded customer messages.

    Args:
        language: ``en`` or ``zh``.
        out: Folder of the run.
        seed: Seeds everything that is drawn.
        say: Told of each step.

    Returns:
        The run's folder.

    Raises:
        ConfigError: No such language.
    """
    if language not in LANGUAGES:
        raise ConfigError(f"language is `{language}`; wanted {' or '.join(LANGUAGES)}")
    overrides = DEMO | {"data.language": language, "out": str(out), "seed": seed}
    return distill(load(None, overrides), say, rounds=1)


def examples(run: str | Path, count: int = 3) -> list[tuple[str, str, float]]:
    """Let a run's artifact answer some of its own test texts.

    Args:
        run: Folder of a finished classification run with single texts.
        count: Texts to answer.

    Returns:
        Text, label and its probability for each.

    Raises:
        ConfigError: The run is a regression.
    """
    model = runtime.load(Path(run) / "artifact")
    if not isinstance(model, runtime.Classifier):
        raise ConfigError(f"{run} is a regression; wanted a classifier")
    data = load_saved(run)
    texts = list((data.test or data.dev)["text"])
    picked = [texts[(2 * i + 1) * len(texts) // (2 * count)] for i in range(count)]
    return [(text, a.label, a.score) for text, a in zip(picked, model(picked), strict=True)]
