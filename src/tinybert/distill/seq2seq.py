"""A student learns to write what its teacher writes: translations or summaries."""

import json
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel

from tinybert import pairs as data_room
from tinybert.artifact import write_atomic
from tinybert.bart import LAYOUTS
from tinybert.distill.copied import with_carried, with_copied
from tinybert.distill.folder import hold_texts, open_folder, versions
from tinybert.distill.processes import first_alone, spoken_once
from tinybert.distill.seq2seq_recipe import Seq2SeqRecipe, WriterTraining
from tinybert.distill.trainer import run_stage, schedule_of
from tinybert.distill.writer_layers import WriterLayers
from tinybert.distill.writer_targets import (
    Written,
    check_new_sources,
    monolingual,
    new_sources,
    next_tokens,
    targets,
)
from tinybert.distill.writer_vocabulary import (
    OwnVocabulary,
    carry_over,
    check_marks,
    check_vocabulary,
    cut_writer,
    with_prefix,
)
from tinybert.distill.writers import (
    check_sizes,
    force_token,
    is_new,
    load_writer,
    make_student,
    new_teacher,
    open_vocabulary,
    save_writer,
    write_vocabulary,
)
from tinybert.distill.writing import (
    Batches,
    Top,
    WritingObjective,
    dev_quality,
    rows,
)
from tinybert.errors import ConfigError
from tinybert.pairs import PairData
from tinybert.runtime.sentences import split_sentences
from tinybert.text import Tokenizer
from tinybert.text_metrics import MAIN

__all__ = ["load_data", "seq2seq", "splits_sentences"]

Say = Callable[[str], None]
_SINGLE = 0.8


def seq2seq(recipe: Seq2SeqRecipe, say: Say = print) -> Path:
    """Train a teacher if needed and distil a student; called again, it goes on where it stopped.

    Args:
        recipe: Every setting.
        say: Told of each step.

    Returns:
        The run's folder: ``teacher`` (where it was trained here), ``student``, ``stages``,
        ``data``, ``run.json``, ``recipe.toml``.

    Raises:
        TinyBertError: Data, teacher or settings cannot be used; before any training starts.

    Source: Kim and Rush 2016, "Sequence-Level Knowledge Distillation"; Shleifer and Rush 2020,
    "Pre-trained Summarization Distillation".
    """
    say = spoken_once(say)
    started = time.monotonic()
    data = load_data(recipe, say)
    check_new_sources(recipe)
    more = monolingual(recipe, data, say)
    given = _given(recipe)
    texts = [*data.train["source"], *more], list(data.train["target"])
    _check_vocabulary(recipe, *texts)
    run = open_folder(recipe)
    stages, vocabulary = run / "stages", run / "stages" / "tokenizer"
    with first_alone() as first:
        if first:
            write_vocabulary(recipe, *texts, vocabulary)
            if not (run / "data" / "pairs.json").is_file():
                data_room.save_pairs(data, run / "data")
    limits = (recipe.max_length, recipe.max_target)
    tokenizers = open_vocabulary(vocabulary, limits)
    _say_cut(tokenizers, *texts, say)
    if given is not None:
        force_token(given, recipe.teacher.target_token, tokenizers[1])
    hold_texts(run, *texts)
    teacher = given if given is not None else _taught(recipe, data, tokenizers, run, say)
    student = make_student(recipe, teacher)
    made = new_sources(recipe, teacher, data, more, stages, say)
    asking = with_prefix(recipe.teacher.prefix, vocabulary, tokenizers)
    written = targets(recipe, teacher, data, more, asking, stages, say, made=made)
    theirs = written.rows(asking, teacher)
    top = next_tokens(recipe, teacher, theirs, tokenizers[0].pad_id, stages)
    learned = theirs if asking is tokenizers else written.rows(tokenizers, teacher)
    own = None
    if recipe.student.vocabulary is not None:
        own, learned, top = _own_words(recipe, student, run, written, theirs, top, say)
        student, vocabulary, tokenizers = own.student, own.folder, own.tokenizers
    say(f"student: {_size(student)}; teacher: {_size(teacher)}")
    new = is_new(recipe.student, kind := teacher.config.model_type)
    if new and recipe.student.start == "teacher":
        say(f"  the student has new weights: those of a {kind} cannot be narrowed")
    objective = WritingObjective(
        student,
        smoothing=recipe.training.smoothing,
        word_level=recipe.targets.word_level,
        layers=_layers(recipe, teacher, student, own),
    )
    measure = _measure(recipe, student, tokenizers, data, recipe.training.dev_rows)
    batches = Batches(tokenizers[0].pad_id, _start(student), top)
    pace = recipe.training.settled(new=new)
    _train(stages / "writing", objective, learned, batches, pace, recipe, data, measure)
    student.eval()
    with first_alone() as first:
        if first:
            save_writer(student, vocabulary, run / "student")
            _write_run(recipe, data, teacher, student, len(learned), measure(), run, started)
    return run


def load_data(recipe: Seq2SeqRecipe, say: Say) -> PairData:
    """Read the recipe's pairs and say what was found.

    Raises:
        DataError: The data cannot be used.
    """
    settings = recipe.data.model_dump()
    for name in ("monolingual", "copied", "carried"):
        settings.pop(name)
    data = data_room.load_pairs(
        settings.pop("path"), task=recipe.task, seed=recipe.seed, **settings
    )
    data = with_copied(data, recipe.data.copied, recipe.seed)
    data = with_carried(data) if recipe.data.carried else data
    counts = ", ".join(f"{name} {len(split):,}" for name, split in data.splits().items())
    say(f"data {data.name}: {counts}; {data.task}")
    for note in data.notes:
        say(f"  {note}")
    return data


def splits_sentences(data: PairData) -> bool:
    """Whether a translator of these pairs shall translate sentence by sentence."""
    sources = list(data.train["source"][:1000])
    single = sum(len(split_sentences(text.strip())) < 2 for text in sources)
    return data.task == "translation" and single >= _SINGLE * len(sources)


def _given(recipe: Seq2SeqRecipe) -> PreTrainedModel | None:
    """Return the teacher that is named; None where one is trained here. Sizes are checked."""
    name = recipe.teacher.model
    if name is not None:
        found = load_writer(name, any_layout=True)
        _check_lengths(recipe, found)
        _layers(recipe, found, make_student(recipe, found))
        return found
    if not (Path(recipe.out) / "teacher" / "config.json").is_file():
        _layers(recipe, *check_sizes(recipe))
    return None


def _layers(
    recipe: Seq2SeqRecipe,
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    own: OwnVocabulary | None = None,
) -> WriterLayers | None:
    """Return the teacher's layers, over the student's pieces, where it shall learn from them."""
    weights = {name: getattr(recipe.training, name) for name in ("hidden", "cross_attention")}
    if not any(weights.values()):
        return None
    return WriterLayers(own.cut(teacher) if own else teacher, student, **weights)


def _say_cut(
    tokenizers: tuple[Tokenizer, Tokenizer], sources: list[str], targets: list[str], say: Say
) -> None:
    """Say how many texts are longer than what is learned from."""
    names = ("sources", "max_length"), ("targets", "max_target")
    for (what, limit), tokenizer, given in zip(names, tokenizers, (sources, targets), strict=True):
        most = tokenizer.max_length
        count = sum(length > most for length in tokenizer.untruncated_lengths(given))
        if count:
            say(
                f"  {count:,} of {len(given):,} {what} have more than {most} tokens ({limit}): "
                "what fits of them is learned from"
            )


def _taught(
    recipe: Seq2SeqRecipe,
    data: PairData,
    tokenizers: tuple[Tokenizer, Tokenizer],
    run: Path,
    say: Say,
) -> PreTrainedModel:
    """Return the teacher that is trained from the pairs."""
    if (run / "teacher" / "config.json").is_file():
        return load_writer(run / "teacher")
    teacher = new_teacher(recipe, tokenizers)
    say(f"teaching a teacher from pairs: {_size(teacher)}")
    train = data.train
    learned = rows(
        list(train["source"]),
        [[text] for text in train["target"]],
        [[1.0]] * len(train),
        tokenizers,
        teacher,
    )
    settings = recipe.teaching.settled(new=recipe.teacher.bert is None)
    objective = WritingObjective(teacher, smoothing=settings.smoothing)
    measure = _measure(recipe, teacher, tokenizers, data, settings.dev_rows)
    batches = Batches(tokenizers[0].pad_id, _start(teacher))
    place = run / "stages" / "teaching"
    _train(place, objective, learned, batches, settings, recipe, data, measure)
    with first_alone() as first:
        if first:
            if not measure()["distinct"]:
                raise ConfigError(
                    "the teacher gives every dev source the same answer: it has learned nothing of "
                    "them; wanted a lower teaching.learning_rate, more teaching.epochs or more "
                    "pairs, and another out"
                )
            save_writer(teacher.eval(), run / "stages" / "tokenizer", run / "teacher")
    return load_writer(run / "teacher")


def _measure(
    recipe: Seq2SeqRecipe,
    model: PreTrainedModel,
    tokenizers: tuple[Tokenizer, Tokenizer],
    data: PairData,
    count: int,
) -> Callable[[], dict[str, float]]:
    """Return what measures a model on dev, as its artifact will answer."""
    carried = recipe.data.carried
    return dev_quality(
        model, tokenizers, data, count=count, longest=recipe.max_target, carried=carried
    )


def _check_vocabulary(recipe: Seq2SeqRecipe, sources: list[str], targets: list[str]) -> None:
    """Refuse a vocabulary without marks, or that cannot be cut, before a run's folder is begun."""
    given = recipe.teacher.model if recipe.data.carried else None
    size = recipe.student.vocabulary
    if (Path(recipe.out) / "stages" / "vocabulary").is_dir():
        size = None
    if given is None and size is None:
        return
    with TemporaryDirectory() as place:
        write_vocabulary(recipe, sources, targets, Path(place))
        if given is not None:
            check_marks(given, Path(place))
        if size is not None:
            check_vocabulary(size, Path(place))


def _own_words(
    recipe: Seq2SeqRecipe,
    student: PreTrainedModel,
    run: Path,
    texts: Written,
    theirs: Dataset,
    top: Top | None,
    say: Say,
) -> tuple[OwnVocabulary, Dataset, Top | None]:
    """Return a student's own vocabulary, and what it learns in its pieces.

    Args:
        recipe: Every setting.
        student: With the teacher's vocabulary.
        run: Folder of the run.
        texts: What is learned from.
        theirs: The same as rows in the teacher's pieces.
        top: The teacher's next tokens for these.
        say: Told how many pieces stay.
    """
    assert recipe.student.vocabulary is not None
    own = cut_writer(
        recipe.student.vocabulary,
        texts.texts(),
        student,
        run / "stages" / "tokenizer",
        run / "stages" / "vocabulary",
        (recipe.max_length, recipe.max_target),
        say,
    )
    learned = texts.rows(own.tokenizers, own.student)
    found = None if top is None else carry_over(top, theirs, learned, own.targets)
    return own, learned, found


def _train(
    place: Path,
    objective: WritingObjective,
    learned: Dataset,
    batches: Batches,
    settings: WriterTraining,
    recipe: Seq2SeqRecipe,
    data: PairData,
    measure: Callable[[], dict[str, float]],
) -> None:
    """Train a model by its settings; a batch counts targets, so many as a source has on average."""
    mean = sum(map(len, learned["labels"])) / len(learned)
    texts = chain(learned["input_ids"], chain.from_iterable(learned["labels"]))
    run_stage(
        place,
        objective,
        learned,
        batches,
        schedule_of(
            settings,
            recipe,
            batch_size=max(1, round(settings.batch_size / mean)),
            decay="inverse_sqrt",
            average=settings.average,
            patience=settings.patience,
            beta2=settings.beta2,
        ),
        evaluate=measure,
        keep_best=MAIN[data.task],
        longest=max(map(len, texts)),
    )
    objective.cpu()


def _check_lengths(recipe: Seq2SeqRecipe, teacher: PreTrainedModel) -> None:
    """Refuse limits that the teacher's positions do not reach."""
    longest = int(getattr(teacher.config, "max_position_embeddings", None) or 10**6)
    for name in ("max_length", "max_target"):
        if getattr(recipe, name) > longest:
            raise ConfigError(
                f"{name} is {getattr(recipe, name)}, the teacher takes {longest} tokens"
            )


def _start(model: PreTrainedModel) -> int:
    """Return the token id that a model's decoder begins with."""
    return int(model.config.decoder_start_token_id)


def _size(model: PreTrainedModel) -> str:
    """Say how large a model is."""
    config = model.config
    if config.model_type not in LAYOUTS:
        return f"{config.model_type}, {model.num_parameters() / 1e6:.1f} M weights"
    return (
        f"{config.encoder_layers}+{config.decoder_layers} layers of {config.d_model}, "
        f"{model.num_parameters() / 1e6:.1f} M weights"
    )


def _write_run(
    recipe: Seq2SeqRecipe,
    data: PairData,
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    count: int,
    figures: dict[str, float],
    run: Path,
    started: float,
) -> None:
    """Write what the run was and found."""
    named = recipe.teacher.model or str(run / "teacher")
    about: dict[str, Any] = {
        "task": recipe.task,
        "data": data.name,
        "teacher": str(Path(named).resolve()) if Path(named).is_dir() else named,
        "teacher_size": _size(teacher),
        "student_size": _size(student),
        "max_length": recipe.max_length,
        "max_target": recipe.max_target,
        "rows": count,
        "student_dev": figures,
        "seconds": time.monotonic() - started,
        "seed": recipe.seed,
        "versions": versions(),
    }
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    write_atomic(run / "run.json", text.encode())
