"""Students made from their teacher: layers copied, width shrunk by projecting its weights."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinybert.errors import ConfigError
from tinybert.heads import auto_class, head_of
from tinybert.layout import PRUNED, Layout, layout_of
from tinybert.mapping import even_layers
from tinybert.projection import (
    assign,
    keep_neurons,
    leading_basis,
    linear,
    project_attention,
    project_norm,
)

__all__ = ["DROPOUTS", "adopt_head", "make_student", "student_config"]

DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "seq_classif_dropout",
)


def make_student(
    teacher: PreTrainedModel,
    layers: int | Sequence[int],
    *,
    hidden: int | None = None,
    heads: int | None = None,
    intermediate: int | None = None,
    dropout: float = 0.0,
    random: bool = False,
) -> PreTrainedModel:
    """Make a smaller model of the teacher's own architecture out of the teacher's weights.

    Chosen layers are copied. Where the width shrinks from E to D, every matrix is rewritten in the
    basis of the D leading directions (SVD) of the word embeddings; each head's Q·Kᵀ and V·O
    products are cut to their best lower rank; the feed-forward neurons with the largest weights
    stay.

    Args:
        teacher: A classifier of texts, of tokens or of spans, of a known layout; it is not changed.
        layers: How many layers to take, evenly spread, or which (counted from 0, increasing).
        hidden: Student width D ≤ E; None keeps the teacher's.
        heads: Attention heads, a divisor of D; None keeps the teacher's number.
        intermediate: Feed-forward width, at most the teacher's; None keeps the teacher's ratio.
        dropout: Dropout of the student in training, 0 ≤ p < 1.
        random: Start from random weights instead; sizes as above.

    Returns:
        A plain Hugging Face classifier of the teacher's kind with its labels, in eval mode.

    Raises:
        ConfigError: Sizes that do not divide or exceed the teacher's.
        UnsupportedModelError: An architecture whose parts are not known.

    Source: layer copying: Sanh et al. 2019 (DistilBERT), section 3; sizes: Jiao et al. 2020,
        section 4.
    """
    layout = layout_of(teacher.config)
    chosen = even_layers(layers, int(teacher.config.num_hidden_layers))
    config = student_config(
        teacher.config, len(chosen), hidden=hidden, heads=heads, intermediate=intermediate
    )
    _set_dropout(config, dropout)
    student: PreTrainedModel = auto_class(head_of(teacher)).from_config(config)
    student.eval()
    if random:
        return student
    same_shape = all(
        getattr(config, name) == getattr(teacher.config, name)
        for name in ("hidden_size", "num_attention_heads", layout.intermediate)
    )
    with torch.no_grad():
        if same_shape:
            _copy_layers(student, teacher, layout, chosen)
        else:
            _project(student, teacher, layout, chosen)
    return student


def adopt_head(student: PreTrainedModel, teacher: PreTrainedModel) -> bool:
    """Copy the teacher's head into a student of the same architecture and width.

    Args:
        student: A classifier, changed in place.
        teacher: A classifier of its kind with the same labels.

    Returns:
        Whether the widths agree; the student is left alone where they do not.
    """
    if student.config.hidden_size != teacher.config.hidden_size:
        return False
    for name in layout_of(teacher.config).head(teacher):
        student.get_submodule(name).load_state_dict(teacher.get_submodule(name).state_dict())
    return True


def student_config(
    teacher: Any,
    layers: int,
    *,
    hidden: int | None = None,
    heads: int | None = None,
    intermediate: int | None = None,
) -> Any:
    """Return the config of a smaller model of the teacher's own architecture.

    Args:
        teacher: The teacher's config.
        layers: How many layers.
        hidden, heads, intermediate: As in ``make_student``.

    Raises:
        ConfigError: Sizes that do not divide or exceed the teacher's, all of them at once.
        UnsupportedModelError: An architecture whose parts are not known.
    """
    layout = layout_of(teacher)
    width, inner = int(teacher.hidden_size), int(getattr(teacher, layout.intermediate))
    hidden = hidden or width
    heads = heads or int(teacher.num_attention_heads)
    intermediate = intermediate or inner * hidden // width
    problems = []
    if not 1 <= hidden <= width:
        problems.append(f"hidden is {hidden}; wanted 1 to {width}, the teacher's width")
    if heads < 1 or hidden % heads:
        problems.append(f"hidden {hidden} is not a multiple of heads {heads}")
    if not 1 <= intermediate <= inner:
        problems.append(f"intermediate is {intermediate}; wanted 1 to {inner}, the teacher's")
    if problems:
        raise ConfigError("; ".join(problems))
    config = deepcopy(teacher)
    for name in PRUNED:
        if hasattr(config, name):
            delattr(config, name)
    config.num_hidden_layers = layers
    config.hidden_size = hidden
    config.num_attention_heads = heads
    setattr(config, layout.intermediate, intermediate)
    if getattr(config, "embedding_size", None) == width:
        config.embedding_size = hidden
    return config


def _set_dropout(config: Any, dropout: float) -> None:
    """Give every dropout of the config one value."""
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout is {dropout}; wanted 0 to below 1")
    for name in DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, dropout)
    if getattr(config, "classifier_dropout", None) is not None:
        config.classifier_dropout = dropout


def _copy_layers(
    student: PreTrainedModel, teacher: PreTrainedModel, layout: Layout, chosen: tuple[int, ...]
) -> None:
    """Copy everything outside the layers as it is, and the chosen layers."""
    prefix = f"{layout.base}.{layout.layers}."
    outside = {k: v for k, v in teacher.state_dict().items() if not k.startswith(prefix)}
    student.load_state_dict(outside, strict=False)
    pairs = zip(layout.layer_list(student), chosen, strict=True)
    for layer, index in pairs:
        layer.load_state_dict(layout.layer_list(teacher)[index].state_dict())


def _project(
    student: PreTrainedModel, teacher: PreTrainedModel, layout: Layout, chosen: tuple[int, ...]
) -> None:
    """Write the teacher's weights into the student in the leading directions of its embeddings."""
    width, hidden = int(teacher.config.hidden_size), int(student.config.hidden_size)
    if hidden == getattr(teacher.config, "embedding_size", width) != width:
        raise ConfigError(
            f"hidden is {hidden}, the width of the teacher's embeddings; a student of that width "
            "has no matrix behind them to inherit; choose another width, or a random start"
        )
    table = _table(layout.encoder(teacher), width)
    basis = torch.eye(width) if width == hidden else leading_basis([table], hidden)
    _rewrite(student, teacher, layout, chosen, basis)


def _rewrite(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    layout: Layout,
    chosen: tuple[int, ...],
    basis: Tensor,
) -> None:
    """Write the teacher's weights into the student in a given basis P (E, D)."""
    head = layout.head(teacher)
    skipped = (f"{layout.base}.{layout.layers}.", *head)
    targets = dict(student.named_parameters())
    for name, weight in teacher.named_parameters():
        if not name.startswith(skipped):
            targets[name].copy_(_project_outside(name, weight, basis))
    for layer, index in zip(layout.layer_list(student), chosen, strict=True):
        _project_layer(layer, layout.layer_list(teacher)[index], layout, basis, student, teacher)
    if len(head) == 1:
        matrix, bias = linear(teacher, head[0])
        assign(student, head[0], matrix @ basis, bias)
        return
    answers = torch.eye(int(teacher.config.num_labels or 1))
    keep_neurons(student, teacher, (head[0], head[1]), basis, answers)


def _table(encoder: nn.Module, width: int) -> Tensor:
    """Return the word embeddings as the layers see them (V, E)."""
    words: Any = encoder.get_submodule("embeddings.word_embeddings")
    table: Tensor = words.weight.detach().double()
    if table.shape[1] != width:
        widen: Any = encoder.get_submodule("embeddings_project")
        table = table @ widen.weight.detach().double().T
    return table


def _project_outside(name: str, weight: Tensor, basis: Tensor) -> Tensor:
    """Rewrite an embedding, a norm, the pooler or the classifier in the student's basis."""
    value, width = weight.detach().float(), basis.shape[0]
    if value.shape[-1] == width:
        is_gain = value.dim() == 1 and "norm.weight" in name.lower()
        value = project_norm(value, basis) if is_gain else value @ basis
    if "embeddings_project.weight" in name:
        value = basis.T @ value
    return value


def _project_layer(
    layer: nn.Module,
    source: nn.Module,
    layout: Layout,
    basis: Tensor,
    student: PreTrainedModel,
    teacher: PreTrainedModel,
) -> None:
    """Rewrite one encoder layer in the student's basis."""
    heads = (int(student.config.num_attention_heads), int(teacher.config.num_attention_heads))
    names = (layout.query, layout.key, layout.value, layout.attention_out)
    project_attention(layer, source, names, (basis, basis), heads)
    keep_neurons(layer, source, (layout.inner, layout.outer), basis, basis)
    for name in (layout.attention_norm, layout.output_norm):
        gain, shift = linear(source, name)
        assign(layer, name, project_norm(gain, basis), shift @ basis)
