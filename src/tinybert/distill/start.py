"""Where a student starts: from the teacher's layers, at random, or from a general encoder."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, set_seed

from tinybert.distill.infer import load_classifier, longest_input, resolve, save_tokenizer
from tinybert.distill.prune import check_pruning
from tinybert.distill.published import read_config
from tinybert.distill.recipe import EncoderSettings, Recipe, StudentSettings
from tinybert.distill.teach import has_head
from tinybert.distill.vocabularies import cut_words
from tinybert.errors import ConfigError
from tinybert.factorized import Tokens, check_bits, check_width, factorize
from tinybert.heads import claimed_head, head_of
from tinybert.layout import layout_of
from tinybert.mapping import even_layers, layer_map
from tinybert.student import DROPOUTS, adopt_head, make_student, student_config
from tinybert.text import Tokenizer
from tinybert.vocabulary import Cut

__all__ = ["check_base", "check_student", "start_student", "tokens_of"]

_LOSSES = ("attention", "hidden", "embedding", "prediction", "hard_labels")


def start_student(
    settings: EncoderSettings,
    teacher: PreTrainedModel,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
    tokens: Tokens | None = None,
    cut: Cut | None = None,
) -> PreTrainedModel:
    """Make the student that a recipe describes.

    Args:
        settings: Its sizes and start, or the encoder it starts from.
        teacher: A classifier of texts, of tokens or of spans; it is moved to the CPU.
        seed: Seeds what is random in it.
        say: Told where an encoder's head came from.
        tokens: Of the training texts, to which narrow word embeddings are fitted.
        cut: Its vocabulary, where it is not the teacher's.

    Returns:
        A classifier of the teacher's kind, an ELECTRA where ``embedding`` says so, in eval mode;
        its word embeddings are frozen where the settings say so, or say nothing and they are the
        teacher's own.

    Raises:
        ConfigError: Sizes that do not divide or exceed the teacher's.
    """
    set_seed(seed)
    torch.nn.Module.to(teacher, "cpu")
    base = settings.base if isinstance(settings, StudentSettings) else None
    if base is not None:
        student = _from_base(base, settings, teacher, say)
    else:
        student = make_student(
            teacher,
            settings.layers,
            hidden=settings.hidden,
            heads=settings.heads,
            intermediate=settings.intermediate,
            dropout=settings.dropout,
            random=settings.start == "random",
        )
    inherited = torch.equal(_words(student), _words(teacher))
    if cut is not None:
        cut_words(student, cut)
        inherited &= isinstance(settings, StudentSettings) and settings.vocabulary == "texts"
    if isinstance(settings, StudentSettings) and settings.embedding is not None:
        inherited = False
        random = base is None and settings.start == "random"
        student = factorize(student, settings.embedding, tokens, random=random)
    if inherited if settings.freeze_embeddings is None else settings.freeze_embeddings:
        for name, weight in student.named_parameters():
            if "word_embeddings" in name:
                weight.requires_grad_(False)
    return student


def tokens_of(rows: Dataset) -> Tokens:
    """Return every token of rows from ``outputs.tokenize``, with its place and its segment."""
    ids, types = (list(rows[name]) for name in ("input_ids", "token_type_ids"))
    places = [torch.arange(len(row)) for row in ids]
    flat = [torch.tensor([i for row in part for i in row]) for part in (ids, types)]
    return Tokens(flat[0], torch.cat(places), flat[1])


def check_student(recipe: Recipe) -> None:
    """Refuse a student that cannot be made of the recipe's teacher, before anything is trained.

    Raises:
        ConfigError: Sizes, layers or a mapping that the teacher does not have, an encoder to start
            from that does not fit, word embeddings or pruned layers that are not smaller, or an
            odd width for 4 bits.
        UnsupportedModelError: No such model, or an unknown architecture.
    """
    settings = recipe.student
    teacher: Any = read_config(resolve(recipe.teacher.model))
    count = int(teacher.num_hidden_layers) + _adds_a_layer(recipe)
    if settings.base is None:
        config = student_config(
            teacher,
            len(even_layers(settings.layers, count)),
            hidden=settings.hidden,
            heads=settings.heads,
            intermediate=settings.intermediate,
        )
    else:
        check_base(settings, recipe.teacher.model, recipe.max_length)
        config = read_config(resolve(settings.base))
    layer_map(settings.mapping, int(config.num_hidden_layers), count)
    if settings.embedding is not None:
        check_width(settings.embedding, int(config.hidden_size))
    width = settings.embedding or getattr(config, "embedding_size", config.hidden_size)
    check_bits(recipe.ship.table_bits, int(width))
    check_pruning(recipe.pruning, config)
    _check_stages(recipe, int(config.num_attention_heads), int(teacher.num_attention_heads))


def _adds_a_layer(recipe: Recipe) -> bool:
    """Whether the teacher is to be fine-tuned with a layer more, which begins as a mean."""
    settings = recipe.teacher
    if settings.pooling != "mean" or settings.teach == "never":
        return False
    return settings.teach == "always" or not has_head(resolve(settings.model))


def _check_stages(recipe: Recipe, heads: int, teacher_heads: int) -> None:
    """Refuse stages that would learn nothing, or from scores of another number of heads."""
    for name in ("layer_stage", "prediction_stage"):
        stage = getattr(recipe, name)
        if not stage.epochs:
            continue
        if not any(getattr(stage, loss) for loss in _LOSSES):
            raise ConfigError(
                f"{name} has {stage.epochs:g} epochs and every weight is 0; wanted one of "
                f"{', '.join(_LOSSES)} above 0, or no epochs"
            )
        if stage.attention and heads != teacher_heads:
            raise ConfigError(
                f"{name}.attention is {stage.attention:g}, the student has {heads} heads and the "
                f"teacher {teacher_heads}; wanted the same number, or 0"
            )


def check_base(settings: StudentSettings, teacher: str, max_length: int) -> None:
    """Refuse an encoder that cannot become a student of this teacher; say every reason at once.

    Args:
        settings: Of the student; nothing is checked where ``base`` is None.
        teacher: The teacher's folder or id.
        max_length: Longest input in tokens.

    Raises:
        ConfigError: Another architecture or vocabulary, a head, or settings that contradict it.
        UnsupportedModelError: No such folder or model, or an unknown architecture.
    """
    if settings.base is None:
        return
    base, source = resolve(settings.base), resolve(teacher)
    own, theirs = read_config(base), read_config(source)
    problems = []
    if has_head(base) or claimed_head(own) != "text":
        problems.append("it is a classifier; wanted an encoder as `tinybert general` writes it")
    if own.model_type != theirs.model_type:
        problems.append(f"it is a {own.model_type}, the teacher a {theirs.model_type}")
    elif own.vocab_size != theirs.vocab_size or not _same_vocabulary(base, source, own.vocab_size):
        problems.append("its vocabulary is not the teacher's")
    if max_length > longest_input(own):
        problems.append(f"max_length is {max_length}, it takes {longest_input(own)} tokens")
    problems += _contradictions(settings, own)
    if problems:
        raise ConfigError(f"student.base {settings.base} cannot be used: {'; '.join(problems)}")


def _from_base(
    base: str, settings: EncoderSettings, teacher: PreTrainedModel, say: Callable[[str], None]
) -> PreTrainedModel:
    """Load an encoder with a head for the teacher's labels; the teacher's own where it fits."""
    config: Any = teacher.config
    student = load_classifier(
        base,
        head=head_of(teacher),
        num_labels=config.num_labels,
        id2label=config.id2label,
        label2id=config.label2id,
        problem_type=config.problem_type,
        **dict.fromkeys(DROPOUTS, settings.dropout),
    )
    head = "the teacher's" if adopt_head(student, teacher) else "a new"
    own: Any = student.config
    sizes = f"{own.num_hidden_layers} layers of width {own.hidden_size}"
    say(f"student from {base}: {sizes}, {head} head")
    return student


def _contradictions(settings: StudentSettings, config: Any) -> list[str]:
    """Compare the sizes that were asked for with those of the encoder."""
    layout = layout_of(config)
    there = {
        "hidden": config.hidden_size,
        "heads": config.num_attention_heads,
        "intermediate": getattr(config, layout.intermediate),
    }
    found = [
        f"student.{name} is {wanted}, it has {there[name]}"
        for name in there
        if (wanted := getattr(settings, name)) not in (None, there[name])
    ]
    if settings.start == "random":
        found.append("student.start is random; wanted one of the two")
    count = int(config.num_hidden_layers)
    usual = StudentSettings.model_fields["layers"].default
    if isinstance(settings.layers, int) and settings.layers not in (usual, count):
        found.append(f"student.layers is {settings.layers}, it has {count}")
    if isinstance(settings.layers, tuple):
        found.append(f"student.layers names the teacher's layers {list(settings.layers)}")
    return found


def _same_vocabulary(base: str, teacher: str, size: int) -> bool:
    """Whether two tokenizers give the same ids, as far as both lie on the disk."""
    own, theirs = _vocabulary(base, size), _vocabulary(teacher, size)
    return own is None or theirs is None or own == theirs


def _vocabulary(place: str, size: int) -> dict[str, int] | None:
    """Return the ids of a folder's pieces, an older ``vocab.txt`` read too; None without either.

    An older file's converter may add special tokens past the ``size`` rows of the embeddings.
    """
    if not any((Path(place) / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        return None
    with TemporaryDirectory() as spare:
        save_tokenizer(place, spare)
        found = Tokenizer(spare, max_length=4).vocabulary
    return {piece: i for piece, i in found.items() if i < size}


def _words(model: PreTrainedModel) -> Tensor:
    """Return the word embeddings."""
    found: Any = layout_of(model.config).encoder(model).get_submodule("embeddings.word_embeddings")
    weight: Tensor = found.weight
    return weight
