"""The stages of a task-specific distillation: layers, healing, prediction, quantized numbers."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel

from tinybert.data import TaskData
from tinybert.distill.aligned import align_rows
from tinybert.distill.crops import sample
from tinybert.distill.objective import Objective, teacher_columns
from tinybert.distill.outputs import Collator, add_teacher_outputs, tokenize
from tinybert.distill.prune import prune
from tinybert.distill.quantized import quantized
from tinybert.distill.recipe import Recipe, Stage
from tinybert.distill.teach import dev_metrics
from tinybert.distill.trainer import run_stage, schedule_of, use_bf16
from tinybert.distill.vocabularies import Vocabulary
from tinybert.mapping import layer_map
from tinybert.text import Tokenizer

__all__ = ["Lessons", "run_stages"]

_QUANTIZED = "quantized-"


@dataclass(frozen=True)
class Lessons:
    """What a student learns from.

    Args:
        recipe: Every setting.
        data: The task; dev is measured.
        run: The run's folder.
        teacher, folder, tokenizer: The teacher, where it lies and what it reads with.
        texts: All texts that it answers, the rows of train first.
        own: What the student reads with.
        say: Told of each step.
    """

    recipe: Recipe
    data: TaskData
    run: Path
    teacher: PreTrainedModel
    folder: str
    tokenizer: Tokenizer
    texts: Dataset
    own: Vocabulary
    say: Callable[[str], None]

    def rows(self, stage: Stage, layer_map: tuple[int, ...]) -> Dataset:
        """Return what the student reads in a stage, the teacher's outputs beside it."""
        hidden, scores = teacher_columns(stage, layer_map)
        texts = self.texts
        if stage.texts == "labelled":
            texts = texts.select(range(len(self.data.train)))
        read = sample(texts, stage.rows, self.recipe.seed)
        columns = add_teacher_outputs(
            tokenize(read, self.tokenizer, self.data),
            self.teacher,
            self.folder,
            pad_id=self.tokenizer.pad_id,
            hidden=hidden,
            scores=scores,
            bf16=use_bf16(self.recipe.precision),
            say=self.say,
        )
        if self.own.same:
            return columns
        tokenizers = (self.own.tokenizer, self.tokenizer)
        own = tokenize(read, self.own.tokenizer, self.data)
        return align_rows(own, columns, read, tokenizers, self.data)

    def collator(self) -> Collator:
        """Return what turns those rows into batches."""
        heads = int(self.teacher.config.num_attention_heads)
        if self.own.same:
            return Collator(self.tokenizer.pad_id, heads, self.own.new_ids())
        return Collator(self.own.tokenizer.pad_id, heads)


def run_stages(lessons: Lessons, student: PreTrainedModel, seconds: dict[str, float]) -> None:
    """Run the layer stage, pruning and healing, the prediction stage, one with quantized numbers.

    Those that the recipe does not ask for are left out.

    Args:
        lessons: What is learned.
        student: The model that learns, in place.
        seconds: What each stage took is added here.
    """
    recipe, say = lessons.recipe, lessons.say
    config: Any = lessons.teacher.config
    layers = int(student.config.num_hidden_layers)
    g = layer_map(recipe.student.mapping, layers, int(config.num_hidden_layers))
    before: Objective | None = None
    for name, stage in _planned(recipe):
        started = time.monotonic()
        rows = lessons.rows(stage, g)
        seconds[f"{name} outputs"] = time.monotonic() - started
        objective = Objective(student, stage, g, int(config.hidden_size), task=lessons.data.task)
        started = time.monotonic()
        if before is not None:
            objective.heads = before.heads
        if name == "healing":
            if before is not None:
                objective.projections.load_state_dict(before.projections.state_dict())
            place = lessons.run / "stages" / name
            prune(objective, rows, lessons.collator(), recipe.pruning, place, recipe.seed, say)
        say(f"{name} stage: {stage.epochs:g} epochs, student layers 1..{len(g)} from {list(g)}")
        with _numbers(name, recipe, student):
            _train(lessons, name, stage, objective, rows)
        seconds[name] = time.monotonic() - started
        student.eval()
        before = objective


def _planned(recipe: Recipe) -> list[tuple[str, Stage]]:
    """Return the stages that a recipe asks for, in their order."""
    healing = recipe.layer_stage.model_copy(update={"epochs": recipe.pruning.epochs})
    stages: list[tuple[str, Stage]] = [("layer", recipe.layer_stage), ("healing", healing)]
    stages.append(("prediction", recipe.prediction_stage))
    pruning = recipe.pruning.wanted
    found = [(n, s) for n, s in stages if (pruning if n == "healing" else s.epochs > 0)]
    if recipe.ship.quantization == "always":
        length = {"epochs": recipe.ship.quantization_epochs}
        length["learning_rate"] = recipe.ship.quantization_learning_rate
        last = recipe.prediction_stage.model_copy(update=length)
        pace = f"{last.epochs:g}-{last.learning_rate:g}"
        found.append((f"{_QUANTIZED}{recipe.ship.table_bits}-{pace}", last))
    return found


def _numbers(
    name: str, recipe: Recipe, student: PreTrainedModel
) -> contextlib.AbstractContextManager[None]:
    """Return what a stage computes in: quantized numbers in that of this name."""
    if not name.startswith(_QUANTIZED):
        return contextlib.nullcontext()
    return quantized(student, table_bits=recipe.ship.table_bits)


def _train(lessons: Lessons, name: str, stage: Stage, objective: Objective, rows: Dataset) -> None:
    """Train for the epochs of a stage, if any.

    The best epoch by dev is kept; of the prediction stage its start, where every epoch is worse.
    """
    if stage.epochs == 0:
        return
    student, metric = objective.student, lessons.data.metric
    evaluate = dev_metrics(student, lessons.own.tokenizer, lessons.data)
    start = None
    if name == "prediction":
        start = {key: value.clone() for key, value in student.state_dict().items()}
        before = evaluate()[metric]
    run_stage(
        lessons.run / "stages" / name,
        objective,
        rows,
        lessons.collator(),
        schedule_of(stage, lessons.recipe),
        evaluate=evaluate,
        keep_best=metric if stage.prediction or stage.hard_labels else None,
    )
    if start is not None and before > (after := evaluate()[metric]):
        student.load_state_dict(start)
        lessons.say(f"dev {metric} was {before:.3f}, is {after:.3f}: the stage's start is kept")
