"""Opens, makes and saves the models that write texts."""

import logging
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from transformers import AutoModelForSeq2SeqLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from tinybert import spm
from tinybert.artifact import write_atomic
from tinybert.bart import (
    LAYOUTS,
    check_layout,
    choose_layers,
    from_bert,
    has_two_tables,
    new_writer,
    set_dropout,
    shrink,
    vocabulary_sizes,
)
from tinybert.distill.infer import load_classifier, resolve, save_tokenizer
from tinybert.distill.published import BROKEN, read_config, reason
from tinybert.distill.seq2seq_recipe import Seq2SeqRecipe, WriterStudent, WriterTeacher
from tinybert.errors import ConfigError, UnsupportedModelError
from tinybert.layout import layout_of
from tinybert.narrow import NARROWED, narrow_writer
from tinybert.quiet import no_bars
from tinybert.runtime.carried import MARKS
from tinybert.subwords import join_words, train_tokenizer
from tinybert.text import Tokenizer

__all__ = [
    "check_sizes",
    "copy_vocabulary",
    "force_token",
    "is_new",
    "load_writer",
    "make_student",
    "missing_weights",
    "new_teacher",
    "open_vocabulary",
    "save_writer",
    "write_vocabulary",
    "writes_texts",
]

_FILES = ("tokenizer.json", "tokenizer_config.json")
_TARGET = "target"


def load_writer(model: str | Path, *, any_layout: bool = False) -> PreTrainedModel:
    """Load an encoder-decoder in eval mode.

    Args:
        model: Folder or hub id.
        any_layout: Take architectures too whose parts are not those of BART, such as T5.

    Raises:
        UnsupportedModelError: No such model, or another architecture.
    """
    found, _ = _load(model)
    if not any_layout:
        check_layout(found)
    found.float().eval()
    return found


def missing_weights(model: str | Path) -> list[str]:
    """Return the names of weights that a folder of an encoder-decoder lacks.

    Raises:
        UnsupportedModelError: It cannot be loaded.
    """
    return sorted(_load(model)[1]["missing_keys"])


def _load(model: str | Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Return a model, and how it differs from its checkpoint."""
    place = resolve(model)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    quiet = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        found: tuple[PreTrainedModel, dict[str, Any]] = AutoModelForSeq2SeqLM.from_pretrained(
            place, use_safetensors=True, output_loading_info=True
        )
        return found
    except BROKEN as error:
        raise UnsupportedModelError(
            f"{model} cannot be loaded as an encoder-decoder: {reason(error)}"
        ) from error
    finally:
        transformers_logging.set_verbosity(quiet)
        if bars:
            transformers_logging.enable_progress_bar()


def writes_texts(model: str | Path) -> bool:
    """Whether a folder or hub id holds an encoder-decoder.

    Raises:
        UnsupportedModelError: There is no such model.
    """
    return bool(getattr(read_config(resolve(model)), "is_encoder_decoder", False))


def save_writer(model: PreTrainedModel, vocabulary: str | Path, folder: str | Path) -> None:
    """Write a folder that ``AutoModelForSeq2SeqLM`` reads, with its tokenizer.

    Args:
        model: The encoder-decoder.
        vocabulary: Folder of its ``tokenizer.json``; ``target`` in it may hold that of targets.
        folder: An older one is replaced when the new one is whole.
    """
    place = Path(folder)
    whole = place.with_name(f".{place.name}.whole")
    shutil.rmtree(whole, ignore_errors=True)
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        with no_bars():
            model.save_pretrained(whole)
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
    _copy_files(Path(vocabulary), whole)
    shutil.rmtree(place, ignore_errors=True)
    whole.rename(place)


def write_vocabulary(
    recipe: Seq2SeqRecipe, sources: list[str], targets: list[str], folder: Path
) -> None:
    """Write the tokenizer of a run: the teacher's, its BERT's, or one or two learned from texts.

    Raises:
        UnsupportedModelError: The model has no tokenizer that the ``tokenizers`` library can run.
    """
    if (folder / _FILES[0]).is_file():
        return
    given = recipe.teacher.model or recipe.teacher.bert
    if given is None:
        size = recipe.teacher.vocab_size
        marks = MARKS if recipe.data.carried else ()
        if recipe.teacher.shared_vocabulary:
            train_tokenizer([*sources, *targets], folder, vocab_size=size, keep=marks)
        else:
            train_tokenizer(targets, folder / _TARGET, vocab_size=size, keep=marks)
            train_tokenizer(sources, folder, vocab_size=size, keep=marks)
        return
    copy_vocabulary(given, folder)


def copy_vocabulary(model: str | Path, folder: str | Path) -> None:
    """Write a model's tokenizer into a folder; Marian's and T5's from SentencePiece files.

    That of a BERT writes no needless spaces (see ``subwords.join_words``).

    Args:
        model: Folder or hub id.
        folder: Gets ``tokenizer.json`` and ``tokenizer_config.json``; where targets have a
            tokenizer of their own, as Marian's have, ``target`` in it gets that.

    Raises:
        UnsupportedModelError: The model has no tokenizer that the ``tokenizers`` library can run.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    place = _here(resolve(model))
    if (place / _FILES[0]).is_file():
        _copy_files(place, target)
    elif all((place / name).is_file() for name in spm.FILES):
        spm.write_marian_vocabulary(place, target)
    elif (place / spm.T5_FILE).is_file():
        spm.write_t5_vocabulary(place, target)
    else:
        save_tokenizer(model, target)
    for name in (target, target / _TARGET):
        if (name / _FILES[0]).is_file():
            join_words(name)
            if not (name / _FILES[1]).is_file():
                write_atomic(name / _FILES[1], b"{}\n")


def open_vocabulary(folder: Path, limits: tuple[int, int]) -> tuple[Tokenizer, Tokenizer]:
    """Return the tokenizers of sources and of targets, which most often are the same."""
    target = folder / _TARGET if (folder / _TARGET).is_dir() else folder
    return (
        Tokenizer(folder, max_length=limits[0], literal=True),
        Tokenizer(target, max_length=limits[1], literal=True),
    )


def _copy_files(place: Path, folder: Path) -> None:
    """Copy a tokenizer's files, and those of the tokenizer of targets in it."""
    if (place / _TARGET / _FILES[0]).is_file():
        (folder / _TARGET).mkdir(exist_ok=True)
        _copy_files(place / _TARGET, folder / _TARGET)
    for name in reversed(_FILES):
        if (place / name).is_file() and place.resolve() != folder.resolve():
            shutil.copyfile(place / name, folder / name)


def _here(place: str) -> Path:
    """Return the folder of a model; of one on the hub that of its tokenizer's files."""
    if Path(place).is_dir():
        return Path(place)
    try:
        patterns = [*_FILES, f"{_TARGET}*.json", *spm.FILES, spm.T5_FILE]
        return Path(snapshot_download(place, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        raise UnsupportedModelError(f"{place} cannot be loaded: {reason(error)}") from error


def new_teacher(recipe: Seq2SeqRecipe, tokenizers: tuple[Tokenizer, Tokenizer]) -> PreTrainedModel:
    """Make the teacher that is trained from pairs: new, or begun as a BERT.

    Raises:
        ConfigError: Sizes that do not fit each other, or texts longer than the BERT's positions.
        UnsupportedModelError: No BERT, or a tokenizer without the tokens it needs.
    """
    settings, tokenizer = recipe.teacher, tokenizers[0]
    start = _token(tokenizer, "<s>", "[CLS]")
    eos = _token(tokenizer, "</s>", "[SEP]")
    longest = max(recipe.max_length, recipe.max_target)
    if settings.bert is not None:
        return _begun_as_bert(settings, longest, start, eos)
    sizes = (tokenizer.vocab_size, tokenizers[1].vocab_size)
    return new_writer(
        sizes[0] if settings.shared_vocabulary else sizes,
        layers=(settings.encoder_layers, settings.decoder_layers),
        hidden=settings.hidden,
        heads=settings.heads,
        intermediate=settings.intermediate,
        positions=longest + 2,
        dropout=settings.dropout,
        start=start,
        pad=tokenizer.pad_id,
        eos=eos,
        seed=recipe.seed,
    )


def _begun_as_bert(settings: WriterTeacher, longest: int, start: int, eos: int) -> PreTrainedModel:
    """Return a teacher that begins as the recipe's BERT."""
    classifier = load_classifier(str(settings.bert))
    encoder: Any = layout_of(classifier.config).encoder(classifier)
    count = int(encoder.config.num_hidden_layers)
    if longest > encoder.config.max_position_embeddings:
        raise ConfigError(
            f"max_length or max_target is {longest}, {settings.bert} takes "
            f"{encoder.config.max_position_embeddings} tokens"
        )
    layers = choose_layers(min(settings.decoder_layers, count), count)
    return from_bert(encoder, decoder_layers=layers, start=start, eos=eos, dropout=settings.dropout)


def check_sizes(recipe: Seq2SeqRecipe) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Refuse a student that the teacher which will be trained could not have.

    Returns:
        Teacher and student of these sizes, untrained.

    Raises:
        ConfigError: Sizes that do not fit each other, or texts longer than the BERT's positions.
        UnsupportedModelError: No BERT.
    """
    settings = recipe.teacher
    if settings.bert is not None:
        longest = max(recipe.max_length, recipe.max_target)
        teacher = _begun_as_bert(settings, longest, 0, 0)
        return teacher, make_student(recipe, teacher)
    teacher = new_writer(
        4,
        layers=(settings.encoder_layers, settings.decoder_layers),
        hidden=settings.hidden,
        heads=settings.heads,
        intermediate=settings.intermediate,
        positions=4,
        start=0,
        pad=1,
        eos=2,
    )
    return teacher, make_student(recipe, teacher)


def is_new(settings: WriterStudent, kind: str) -> bool:
    """Whether a student of a ``kind`` of teacher has new weights."""
    return settings.start == "random" or (settings.hidden is not None and kind not in NARROWED)


def make_student(recipe: Seq2SeqRecipe, teacher: PreTrainedModel) -> PreTrainedModel:
    """Make the student: some of the teacher's layers, as they are or narrower, or new ones.

    Raises:
        ConfigError: Layers or sizes that the teacher does not have or that do not fit.
    """
    settings, config = recipe.student, teacher.config
    if settings.hidden is None and config.model_type not in LAYOUTS:
        raise ConfigError(
            f"the teacher is a {config.model_type}, of which no layers can be taken; give the "
            "student a width of its own: student.hidden"
        )
    if settings.hidden is None:
        for name in ("heads", "intermediate"):
            if getattr(settings, name) is not None:
                raise ConfigError(f"student.{name} is given; it needs student.hidden as well")
        if settings.start == "random":
            own = settings.as_wide_as(config)
            return make_student(recipe.model_copy(update={"student": own}), teacher)
        student = shrink(teacher, *_picked(settings, config))
        set_dropout(student, settings.dropout)
        return student
    if not is_new(settings, config.model_type):
        return _narrowed(settings, teacher)
    encoder, decoder = settings.encoder_layers, settings.decoder_layers
    if not (isinstance(encoder, int) and isinstance(decoder, int)):
        raise ConfigError(
            "student.hidden is given, and layers are new; wanted numbers of layers, no lists"
        )
    sizes = vocabulary_sizes(teacher)
    found = new_writer(
        sizes if has_two_tables(teacher) else sizes[0],
        layers=(encoder, decoder),
        hidden=settings.hidden,
        heads=settings.heads,
        intermediate=settings.intermediate,
        positions=max(recipe.max_length, recipe.max_target),
        dropout=settings.dropout,
        start=int(config.decoder_start_token_id),
        pad=int(config.pad_token_id),
        eos=int(config.eos_token_id),
        seed=recipe.seed,
    )
    forced = getattr(teacher.generation_config, "forced_bos_token_id", None)
    found.generation_config.forced_bos_token_id = forced
    return found


def _narrowed(settings: WriterStudent, teacher: PreTrainedModel) -> PreTrainedModel:
    """Return a student narrower than its teacher that begins with its weights."""
    assert settings.hidden is not None
    try:
        picked = _picked(settings, teacher.config)
    except ConfigError as error:
        raise ConfigError(f'{error}; or give student.start = "random"') from None
    student = narrow_writer(
        teacher,
        *picked,
        hidden=settings.hidden,
        heads=settings.heads,
        intermediate=settings.intermediate,
    )
    set_dropout(student, settings.dropout)
    return student


def _picked(settings: WriterStudent, config: Any) -> tuple[list[int], list[int]]:
    """Return the teacher's layers, from 0, that a student keeps in encoder and decoder."""
    picked = []
    for name in ("encoder_layers", "decoder_layers"):
        try:
            picked.append(choose_layers(getattr(settings, name), int(getattr(config, name))))
        except ConfigError as error:
            raise ConfigError(f"student.{name}: {error}") from None
    return picked[0], picked[1]


def force_token(model: PreTrainedModel, token: str | None, tokenizer: Tokenizer) -> None:
    """Let every answer of a model begin with a token, such as a language's; None changes nothing.

    Raises:
        ConfigError: The tokenizer has no such token.
    """
    settings: Any = model.generation_config
    if token is None:
        return
    if token not in tokenizer.vocabulary:
        raise ConfigError(f"target_token is `{token}`; the tokenizer has no such token")
    settings.forced_bos_token_id = tokenizer.vocabulary[token]


def _token(tokenizer: Tokenizer, *names: str) -> int:
    """Return the id of the first name that is a token."""
    for name in names:
        if name in tokenizer.vocabulary:
            return tokenizer.vocabulary[name]
    raise UnsupportedModelError(f"the tokenizer has none of {', '.join(names)}")
