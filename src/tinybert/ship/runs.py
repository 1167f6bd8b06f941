"""The trainings of a plan: one teacher, its outputs and the augmented texts, shared by all."""

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from tinybert import data as data_room
from tinybert.artifact import read_card
from tinybert.data import TaskData
from tinybert.distill import task
from tinybert.distill.augment import augmented_rows
from tinybert.distill.infer import load_classifier
from tinybert.distill.label import write_rows
from tinybert.distill.recipe import Recipe
from tinybert.distill.teach import check_teacher
from tinybert.distill.texts import load_data
from tinybert.distill.trim import trim
from tinybert.errors import ConfigError
from tinybert.ship.candidates import Candidate, changed, name_of
from tinybert.ship.costs import folder_mb
from tinybert.ship.evaluate import evaluate
from tinybert.ship.limits import FULL
from tinybert.ship.pipeline import ship
from tinybert.text import Tokenizer

__all__ = ["Runs", "prepare"]

Say = Callable[[str], None]
_AUGMENTED = "augmented.jsonl"


@dataclass(frozen=True)
class Runs:
    """What all trainings share.

    Args:
        recipe: What holds for all of them.
        folder: The plan's folder.
        source: The teacher's folder.
        teacher: The teacher.
        data: The task.
        top: The teacher's dev metrics.
    """

    recipe: Recipe
    folder: Path
    source: str
    teacher: PreTrainedModel
    data: TaskData
    top: dict[str, float]

    @property
    def shared(self) -> Path:
        """The run of the teacher: its folder, the data, the augmented texts."""
        return self.folder / "shared"

    def recipe_of(self, one: Candidate, share: str = FULL) -> Recipe:
        """Return the recipe that trains a candidate for a share of the epochs."""
        own = changed(self.recipe, one.settings)
        stages = {
            f"{name}.epochs": getattr(own, name).epochs * float(share)
            for name in ("layer_stage", "pruning", "prediction_stage")
        }
        return changed(own, stages)

    def train(self, one: Candidate, share: str, found: Sequence[Candidate]) -> None:
        """Train a student for a share of the epochs; note its dev metric and the seconds.

        Candidates that differ after training alone get theirs as well.
        """
        if share in one.quality:
            return
        run, started = self._folder(one, share), time.monotonic()
        run.mkdir(parents=True, exist_ok=True)
        if (self.shared / _AUGMENTED).is_file() and not (run / _AUGMENTED).is_file():
            shutil.copyfile(self.shared / _AUGMENTED, run / f".{_AUGMENTED}.partial")
            (run / f".{_AUGMENTED}.partial").rename(run / _AUGMENTED)
        if not (run / "run.json").is_file():
            task.distill(self._recipe_in(run, one, share), lambda _: None)
        seconds = time.monotonic() - started
        for other in found:
            if other.trained == one.trained:
                other.quality[share] = self._quality(other, run)
                other.seconds[share] = seconds

    def tidy(self, one: Candidate, share: str, *, earlier: Sequence[str]) -> None:
        """Remove what a noted training needs no more: the shorter runs, and its own stages.

        Those of a whole training stay: it may have to learn on with quantized numbers.
        """
        if share != FULL:
            shutil.rmtree(self._folder(one, share) / "stages", ignore_errors=True)
        for each in earlier:
            shutil.rmtree(self._folder(one, each), ignore_errors=True)

    def ship(self, one: Candidate, share: str) -> Path:
        """Ship a trained candidate and note the artifact's dev metric.

        Raises:
            ArtifactError: It does not answer as the student does.
        """
        run, started = self._folder(one, share), time.monotonic()
        made = ship(run, self._recipe_in(run, one, share), lambda _: None)
        place = self.artifact(one)
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        made.rename(place)
        one.artifact, one.shipped = float(read_card(place).parity["artifact"]), share
        one.mb = folder_mb(place)
        one.seconds["ship"] = time.monotonic() - started
        return place

    def _recipe_in(self, run: Path, one: Candidate, share: str) -> Recipe:
        """Return the recipe with which a candidate is trained in its folder."""
        own = {"out": str(run), "teacher.model": self.source, "ship.baselines": False}
        if share != FULL and self.recipe.ship.quantization == "needed":
            own["ship.quantization"] = "never"
        return changed(self.recipe_of(one, share), own)

    def artifact(self, one: Candidate) -> Path:
        """Return where a candidate's artifact is."""
        return self.folder / "artifacts" / one.name

    def _folder(self, one: Candidate, share: str) -> Path:
        """Return the run's folder of a training."""
        return self.folder / "runs" / name_of(one.trained) / f"epochs-{share}"

    def _quality(self, one: Candidate, run: Path) -> float:
        """Return the dev metric of a run's student, its vocabulary cut if the candidate says so."""
        if not one.settings.get("ship.trim"):
            about = json.loads((run / "run.json").read_text(encoding="utf-8"))
            return float(about["dev"]["student"][self.data.metric])
        place = run / "trimmed"
        shutil.rmtree(place, ignore_errors=True)
        trim(run / "student", place, say=lambda _: None)
        limit = self.recipe.max_length
        return evaluate(place, self.data, "dev", max_length=limit)[self.data.metric]


def prepare(recipe: Recipe, folder: Path, say: Say) -> Runs:
    """Teach the teacher if needed, check it, and write down what all trainings read.

    Raises:
        ConfigError: The teacher is no good, the recipe starts students from an encoder, or the
            folder holds a plan with another recipe.
    """
    if recipe.student.base is not None:
        raise ConfigError(
            f"student.base is {recipe.student.base}: its sizes are fixed; a plan chooses sizes, so "
            "leave it out"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("a plan runs in one process; start it without torchrun or accelerate")
    shared = recipe.model_copy(update={"out": str(folder / "shared")})
    source = str(task.teach(shared, say))
    data = load_data(recipe, lambda _: None)
    tokenizer = Tokenizer(source, max_length=recipe.max_length)
    teacher = load_classifier(source)
    top = check_teacher(teacher, source, tokenizer, data, recipe.max_length)
    say(f"teacher on dev: {data.metric} {top[data.metric]:.3f}")
    place = folder / "shared"
    if not (place / "data" / "task.json").is_file():
        data_room.save(data, place / "data")
    if recipe.augment.wanted and not (place / _AUGMENTED).is_file():
        made: Any = augmented_rows(recipe.augment, data, teacher, source, tokenizer, recipe, say)
        write_rows(made, place / _AUGMENTED)
    return Runs(recipe, folder, source, teacher, data, top)
