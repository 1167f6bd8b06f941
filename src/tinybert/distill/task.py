"""Task-specific distillation: data, teacher, student, layer stage, prediction stage."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, set_seed

from tinybert import data as data_room
from tinybert.artifact import write_atomic
from tinybert.data import TaskData
from tinybert.distill.augment import augmented_rows
from tinybert.distill.crops import add_crops, sample
from tinybert.distill.folder import hold_texts, open_folder, versions
from tinybert.distill.infer import load_classifier, load_report, resolve, save_tokenizer
from tinybert.distill.label import write_rows
from tinybert.distill.outputs import tokenize
from tinybert.distill.processes import first_alone, spoken_once
from tinybert.distill.proposals import check_source
from tinybert.distill.prune import keep_largest
from tinybert.distill.recipe import Recipe, Stage
from tinybert.distill.stages import Lessons, run_stages
from tinybert.distill.start import check_student, start_student, tokens_of
from tinybert.distill.teach import (
    check_teacher,
    dev_metrics,
    fine_tune,
    freeze,
    has_head,
    save_model,
    settings_for,
)
from tinybert.distill.texts import extend, load_data, say_cut_words
from tinybert.distill.vocabularies import Vocabulary, make_vocabulary
from tinybert.errors import ConfigError
from tinybert.factorized import Tokens
from tinybert.heads import head_for
from tinybert.layout import sizes_of
from tinybert.mean_layer import add_mean_layer
from tinybert.student import DROPOUTS
from tinybert.tables import read_table
from tinybert.text import Tokenizer

__all__ = ["distill", "teach"]

Say = Callable[[str], None]
_FITTED = 4000
_HEADS = {
    "word": "tags words; wanted a folder of a *ForTokenClassification",
    "span": "finds answers; wanted a folder of a *ForQuestionAnswering",
}


def teach(recipe: Recipe, say: Say = print) -> Path:
    """Fine-tune the recipe's teacher on its data.

    Returns:
        The run's ``teacher`` folder; called again, it goes on where it stopped.

    Raises:
        TinyBertError: Data, teacher or settings cannot be used.
    """
    say = spoken_once(say)
    run = open_folder(recipe)
    data = load_data(recipe, say)
    _hold(run, data)
    teacher, _, tokenizer = _teacher(recipe, data, run, say, {})
    say_cut_words(data, tokenizer, say)
    return Path(teacher)


def distill(recipe: Recipe, say: Say = print) -> Path:
    """Distil the recipe's teacher into a student; called again, it goes on where it stopped.

    Args:
        recipe: Every setting.
        say: Told of each step.

    Returns:
        The run's folder: ``teacher``, ``student``, ``label_only`` (if baselines are wanted),
        ``data``, ``stages``, ``run.json``, ``recipe.toml``.

    Raises:
        TinyBertError: Data, teacher or settings cannot be used; before any training starts.
    """
    say = spoken_once(say)
    check_student(recipe)
    check_source(recipe.augment)
    run = open_folder(recipe)
    data = load_data(recipe, say)
    _hold(run, data)
    seconds: dict[str, float] = {}
    folder, teacher, tokenizer = _teacher(recipe, data, run, say, seconds)
    data = say_cut_words(data, tokenizer, say)
    teacher_dev = check_teacher(teacher, folder, tokenizer, data, recipe.max_length)
    say(f"teacher on dev: {_show(teacher_dev)}")
    texts = _texts(recipe, data, run, say, teacher, folder, tokenizer)
    place = run / "stages" / "vocabulary"
    own = make_vocabulary(recipe.student.vocabulary, texts, data, folder, tokenizer, place, say)
    tokens = _tokens(recipe, texts, own.tokenizer, data)
    student = start_student(recipe.student, teacher, recipe.seed, say, tokens, own.cut)
    lessons = Lessons(recipe, data, run, teacher, folder, tokenizer, texts, own, say)
    run_stages(lessons, student, seconds)
    student_dev = dev_metrics(student, own.tokenizer, data)()
    save_model(student, own.folder, run / "student")
    say(f"student on dev: {_show(student_dev)}")
    if recipe.ship.baselines:
        _label_only(recipe, data, run, say, seconds, teacher, tokens, own)
    dev = {"teacher": teacher_dev, "student": student_dev}
    with first_alone() as first:
        if first:
            data_room.save(data, run / "data")
            _write_run(recipe, data, run, folder, student, seconds, dev)
    return run


def _hold(run: Path, data: TaskData) -> None:
    """Remember the texts and labels of a run, or refuse to go on with others."""
    splits = [*data.splits().values()]
    if data.unlabelled is not None:
        splits.append(data.unlabelled)
    columns = (split[name] for split in splits for name in split.column_names if name != "line")
    hold_texts(run, *((str(value) for value in column) for column in columns))


def _teacher(
    recipe: Recipe, data: TaskData, run: Path, say: Say, seconds: dict[str, float]
) -> tuple[str, PreTrainedModel, Tokenizer]:
    """Return the teacher's folder, the teacher and its tokenizer; fine-tune it where needed."""
    settings, head = recipe.teacher, head_for(data.task)
    source = resolve(settings.model)
    ready = run / "teacher"
    if settings.teach == "never" and head != "text" and not has_head(source, head=head):
        raise ConfigError(
            f"teacher {settings.model} has no head that {_HEADS[head]} model, or "
            "teacher.teach = auto"
        )
    if settings.teach == "never" or (settings.teach == "auto" and has_head(source, head=head)):
        place = ready if not Path(source).is_dir() else Path(source)
        model = _read(source, say, head=head)
        if not (place / "tokenizer.json").is_file():
            place = ready
            save_model(model, source, place)
        return str(place), model, Tokenizer(place, max_length=recipe.max_length)
    if not (ready / "model.safetensors").is_file():
        set_seed(recipe.seed)
        dropout = {} if settings.dropout is None else dict.fromkeys(DROPOUTS, settings.dropout)
        model = _read(source, say, head=head, **settings_for(data), **dropout)
        if settings.pooling == "mean":
            add_mean_layer(model)
        if settings.freeze is not None:
            freeze(model, settings.freeze)
        with first_alone() as first:
            if first:
                save_tokenizer(source, run / "stages" / "teach" / "tokenizer")
        tokenizer = Tokenizer(run / "stages" / "teach" / "tokenizer", max_length=recipe.max_length)
        say(f"teaching {settings.model}: {settings.epochs:g} epochs")
        stage = Stage(
            epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            batch_size=settings.batch_size,
        )
        started = time.monotonic()
        fine_tune(model, tokenizer, data, run / "stages" / "teach", stage=stage, recipe=recipe)
        seconds["teach"] = time.monotonic() - started
        save_model(model, source, ready)
    return str(ready), load_classifier(ready), Tokenizer(ready, max_length=recipe.max_length)


def _read(source: str, say: Say, *, head: str, **settings: Any) -> PreTrainedModel:
    """Load a teacher and say which weights were left out and which are new."""
    loaded = load_report(source, head=head, **settings)
    if note := str(loaded):
        say(f"weights of {source}: {note}")
    return loaded.model


def _texts(
    recipe: Recipe,
    data: TaskData,
    run: Path,
    say: Say,
    teacher: PreTrainedModel,
    folder: str,
    tokenizer: Tokenizer,
) -> Dataset:
    """Return the train rows and, without labels, every other text that the teacher labels."""
    texts = add_crops(data.train, recipe.student.crops, seed=recipe.seed)
    if len(texts) > len(data.train):
        say(f"{len(texts) - len(data.train):,} passages of the train texts added for the teacher")
    if recipe.augment.wanted:
        path = run / "augmented.jsonl"
        with first_alone() as first:
            if first and not path.is_file():
                made = augmented_rows(recipe.augment, data, teacher, folder, tokenizer, recipe, say)
                write_rows(made, path)
        added = read_table(path)
        say(f"{len(added):,} augmented texts added for the teacher ({path})")
        texts = extend(texts, added)
    if data.unlabelled is not None:
        say(f"{len(data.unlabelled):,} unlabelled texts added for the teacher")
        texts = extend(texts, data.unlabelled)
    return texts


def _tokens(recipe: Recipe, texts: Dataset, tokenizer: Tokenizer, data: TaskData) -> Tokens | None:
    """Return tokens of some of the texts where narrow word embeddings are fitted to them."""
    if recipe.student.embedding is None:
        return None
    return tokens_of(tokenize(sample(texts, _FITTED, recipe.seed), tokenizer, data))


def _label_only(
    recipe: Recipe,
    data: TaskData,
    run: Path,
    say: Say,
    seconds: dict[str, float],
    teacher: PreTrainedModel,
    tokens: Tokens | None,
    own: Vocabulary,
) -> None:
    """Train the same student from the same start on the labels alone, in as many passes."""
    if (run / "label_only" / "model.safetensors").is_file():
        return
    epochs = recipe.layer_stage.epochs + recipe.prediction_stage.epochs
    epochs += recipe.pruning.epochs if recipe.pruning.wanted else 0
    say(f"baseline: the same student on labels alone, {epochs:g} epochs, best on dev")
    others = dict.fromkeys(("prediction", "hidden", "attention", "embedding"), 0.0)
    stage = recipe.prediction_stage.model_copy(update={"epochs": epochs, **others})
    started = time.monotonic()
    model = start_student(recipe.student, teacher, recipe.seed, tokens=tokens, cut=own.cut)
    keep_largest(model, recipe.pruning)
    fine_tune(model, own.tokenizer, data, run / "stages" / "label_only", stage=stage, recipe=recipe)
    seconds["label_only"] = time.monotonic() - started
    save_model(model, own.folder, run / "label_only")


def _write_run(
    recipe: Recipe,
    data: TaskData,
    run: Path,
    teacher: str,
    student: PreTrainedModel,
    seconds: dict[str, float],
    dev: dict[str, dict[str, float]],
) -> None:
    """Write what the run was and took; times of an earlier, interrupted call stay."""
    path = run / "run.json"
    old = json.loads(path.read_text(encoding="utf-8"))["stages"] if path.is_file() else {}
    about = {
        "task": data.task,
        "labels": list(data.labels),
        "pair": data.pair,
        "language": recipe.data.language,
        "max_length": recipe.max_length,
        "teacher": str(Path(teacher).resolve()) if Path(teacher).is_dir() else teacher,
        "student_layers": int(student.config.num_hidden_layers),
        "sizes": sizes_of(student.config),
        "seed": recipe.seed,
        "data": {name: len(rows) for name, rows in data.splits().items()},
        "dev": dev,
        "stages": {**seconds, **{k: v for k, v in old.items() if v > seconds.get(k, 0)}},
        "notes": list(data.notes),
        "versions": versions(),
        "threads": torch.get_num_threads(),
    }
    write_atomic(path, (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode())


def _show(found: dict[str, float]) -> str:
    """Return metrics as one line."""
    return ", ".join(f"{name} {value:.3f}" for name, value in found.items())
