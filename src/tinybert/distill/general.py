"""General distillation: a student encoder learns from plain text how its teacher reads."""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinybert.artifact import write_atomic
from tinybert.corpus import open_corpus
from tinybert.distill import processes
from tinybert.distill.folder import open_folder, versions
from tinybert.distill.general_recipe import GeneralRecipe
from tinybert.distill.infer import load_classifier, longest_input, resolve, save_tokenizer
from tinybert.distill.online import OnlineLayers, OnlineRelations
from tinybert.distill.processes import is_first, spoken_once
from tinybert.distill.recipe import Stage
from tinybert.distill.start import start_student
from tinybert.distill.teach import save_model
from tinybert.distill.trainer import run_stage, schedule_of, use_bf16
from tinybert.errors import ConfigError
from tinybert.layout import layout_of
from tinybert.mapping import layer_map
from tinybert.packing import PackedRows, Row
from tinybert.text import Tokenizer

__all__ = ["general"]

Say = Callable[[str], None]
_DONE = "general.json"
_STEPS = 10_000


def general(recipe: GeneralRecipe, say: Say = print) -> Path:
    """Distil a teacher into an encoder on plain text; called again, it goes on where it stopped.

    Args:
        recipe: Every setting.
        say: Told of each step.

    Returns:
        The folder ``out``: a plain Hugging Face encoder with its tokenizer, beside it ``stages``
        (checkpoints, log), ``general.json`` (loss before and after) and ``recipe.toml``.

    Raises:
        TinyBertError: Texts, teacher or settings cannot be used; before any training starts.

    Source: Jiao et al. 2020, section 3.2; the other losses: Wang et al. 2021, "MiniLMv2".
    Differs: the paper's students start at random; here, unless asked, from the teacher's layers.
    """
    first, say = is_first(), spoken_once(say)
    corpus = open_corpus(recipe.corpus.texts, recipe.corpus.column)
    _check(recipe)
    run = open_folder(recipe)
    if (run / _DONE).is_file():
        say(f"{run} is finished")
        return run
    source = resolve(recipe.teacher)
    teacher = load_classifier(source)
    with TemporaryDirectory() as place:
        save_tokenizer(source, place)
        tokenizer = Tokenizer(place, max_length=recipe.max_length)
    _check_teacher(recipe, teacher, tokenizer)
    student = start_student(recipe.student, teacher, recipe.seed)
    objective = _objective(recipe, student, teacher)
    rows = PackedRows(
        corpus,
        tokenizer,
        held_out=recipe.corpus.dev_rows,
        buffer=recipe.corpus.buffer,
        seed=recipe.seed,
    )
    measure = _dev_loss(objective, rows.first(), recipe)
    steps = _steps(recipe, rows, run, say)
    before, started = measure()["loss"], time.monotonic()
    say(f"{steps:,} steps of {recipe.training.batch_size} rows; held-out loss {before:.4f}")
    run_stage(
        run / "stages" / "general",
        objective,
        rows,
        _collate,
        schedule_of(recipe.training, recipe, epochs=None, steps=steps, every=recipe.training.every),
        evaluate=measure,
        longest=recipe.max_length,
    )
    after = measure()["loss"]
    if first:
        _write(recipe, student, source, run, {"before": before, "after": after}, steps, started)
    say(f"encoder {run}: held-out loss {before:.4f} before, {after:.4f} after {steps:,} steps")
    return run


def _check(recipe: GeneralRecipe) -> None:
    """Refuse two lengths of one training, and a folder with a model that is no run's."""
    names = ("steps", "tokens", "epochs")
    given = [f"training.{name}" for name in names if getattr(recipe.training, name) is not None]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} are given; wanted one of them")
    out = Path(recipe.out)
    if (out / "config.json").is_file() and not (out / "recipe.toml").is_file():
        raise ConfigError(f"{out} holds another model; choose another --out")


def _check_teacher(recipe: GeneralRecipe, teacher: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """Refuse a teacher that cannot be asked about these rows."""
    layout_of(teacher.config)
    problems = []
    vocabulary, longest = int(teacher.config.vocab_size), longest_input(teacher.config)
    if tokenizer.vocab_size > vocabulary:
        problems.append(
            f"its tokenizer has {tokenizer.vocab_size:,} pieces, its embeddings {vocabulary:,} rows"
        )
    if recipe.max_length > longest:
        problems.append(f"max_length is {recipe.max_length}, it takes {longest} tokens")
    if problems:
        raise ConfigError(f"teacher {recipe.teacher} cannot be used: {'; '.join(problems)}")


def _objective(
    recipe: GeneralRecipe, student: PreTrainedModel, teacher: PreTrainedModel
) -> OnlineLayers | OnlineRelations:
    """Return the student with its losses."""
    settings = recipe.training
    if settings.losses == "relations":
        return OnlineRelations(student, teacher, settings.relation_layer, settings.relation_heads)
    counts = [int(model.config.num_hidden_layers) for model in (student, teacher)]
    stage = Stage(
        attention=settings.attention, hidden=settings.hidden, embedding=settings.embedding
    )
    return OnlineLayers(student, teacher, stage, layer_map(recipe.student.mapping, *counts))


def _steps(recipe: GeneralRecipe, rows: PackedRows, run: Path, say: Say) -> int:
    """Return the number of steps; for epochs the rows are counted, once a run."""
    settings = recipe.training
    batch = settings.batch_size * processes.count()
    if settings.tokens is not None:
        return math.ceil(settings.tokens / (batch * recipe.max_length))
    if settings.epochs is None:
        return settings.steps or _STEPS
    path = run / "stages" / "rows.json"
    if not path.is_file():
        say("counting the rows of the corpus")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(rows.count()).encode())
    count = int(json.loads(path.read_text(encoding="utf-8")))
    say(f"{count:,} rows of {recipe.max_length} tokens a pass")
    return math.ceil(settings.epochs * count / batch)


def _collate(rows: Sequence[dict[str, Row]]) -> dict[str, Tensor]:
    """Turn full rows into a batch without padding."""
    ids = torch.from_numpy(np.stack([row["input_ids"] for row in rows]).astype(np.int64))
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "token_type_ids": torch.zeros_like(ids),
    }


def _dev_loss(
    objective: nn.Module, rows: Sequence[Row], recipe: GeneralRecipe
) -> Callable[[], dict[str, float]]:
    """Return a function that measures the loss of the held-out rows."""
    size, bf16 = recipe.training.batch_size, use_bf16(recipe.precision)
    own = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    device = torch.device(own if torch.cuda.is_available() else "cpu")

    def measure() -> dict[str, float]:
        training, total = objective.training, 0.0
        objective.to(device).eval()
        fast = torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()
        with torch.no_grad(), fast:
            for start in range(0, len(rows), size):
                batch = _collate([{"input_ids": row} for row in rows[start : start + size]])
                outputs = objective(**{name: x.to(device) for name, x in batch.items()})
                total += float(outputs["loss"]) * len(batch["input_ids"])
        objective.train(training)
        return {"loss": total / len(rows)}

    return measure


def _write(
    recipe: GeneralRecipe,
    student: PreTrainedModel,
    source: str,
    run: Path,
    loss: dict[str, float],
    steps: int,
    started: float,
) -> None:
    """Put the bare encoder into the run's folder, and what it took beside it."""
    student.config.num_labels = 2  # the default: a teacher's labels are no part of an encoder
    student.config.problem_type = None
    encoder: Any = layout_of(student.config).encoder(student)
    partial = run / "stages" / "encoder"
    save_model(encoder.cpu(), source, partial)
    for file in sorted(partial.iterdir(), key=lambda path: path.name == "config.json"):
        file.replace(run / file.name)
    shutil.rmtree(partial)
    world = processes.count()
    about = {
        "teacher": recipe.teacher,
        "texts": list(recipe.corpus.texts),
        "steps": steps,
        "tokens": steps * recipe.training.batch_size * world * recipe.max_length,
        "loss": loss,
        "seconds": time.monotonic() - started,
        "seed": recipe.seed,
        "versions": versions(),
    }
    write_atomic(run / _DONE, (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode())
