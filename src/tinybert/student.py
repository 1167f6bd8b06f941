"""Students made from their teacher: layers copied, width shrunk by projecting its weights."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinybert.errors import ConfigError
from tinybert.heads import auto_class, head_of
from tinybert.layout import Layout, layout_of
from tinybert.mapping import even_layers

__all__ = ["DROPOUTS", "adopt_head", "make_student"]

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
    config = _student_config(teacher.config, layout, len(chosen), hidden, heads, intermediate)
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


def _student_config(
    teacher: Any,
    layout: Layout,
    layers: int,
    hidden: int | None,
    heads: int | None,
    intermediate: int | None,
) -> Any:
    """Check the sizes, all at once, and return the student's config."""
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
    basis = torch.eye(width) if width == hidden else _basis(layout.encoder(teacher), width, hidden)
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
        matrix, bias = _linear(teacher, head[0])
        _assign(student, head[0], matrix @ basis, bias)
        return
    answers = torch.eye(int(teacher.config.num_labels or 1))
    _keep_neurons(student, teacher, (head[0], head[1]), basis, answers)


def _basis(encoder: nn.Module, width: int, hidden: int) -> Tensor:
    """Return P (E, D): orthonormal columns spanning the embeddings' leading directions.

    The all-ones direction is kept and lands on the all-ones direction of the student, so that the
    mean that layer norm subtracts is the same in both.
    """
    words: Any = encoder.get_submodule("embeddings.word_embeddings")
    table: Tensor = words.weight.detach().double()
    if table.shape[1] != width:
        widen: Any = encoder.get_submodule("embeddings_project")
        table = table @ widen.weight.detach().double().T
    centered = table - table.mean(dim=1, keepdim=True)
    _, vectors = torch.linalg.eigh(centered.T @ centered)
    ones = torch.full((width, 1), width**-0.5, dtype=torch.float64)
    leading = vectors.flip(1)[:, : hidden - 1]
    basis = torch.linalg.qr(torch.cat([ones, leading], dim=1)).Q
    basis[:, 0] = ones[:, 0]
    mirror = torch.full((hidden,), -(hidden**-0.5), dtype=torch.float64)
    mirror[0] += 1.0
    if hidden > 1:
        basis -= 2 * (basis @ mirror)[:, None] * mirror / mirror.square().sum()
    found: Tensor = basis.float()
    return found


def _project_outside(name: str, weight: Tensor, basis: Tensor) -> Tensor:
    """Rewrite an embedding, a norm, the pooler or the classifier in the student's basis."""
    value, width = weight.detach().float(), basis.shape[0]
    if value.shape[-1] == width:
        is_gain = value.dim() == 1 and "norm.weight" in name.lower()
        value = _project_norm(value, basis) if is_gain else value @ basis
    if "embeddings_project.weight" in name:
        value = basis.T @ value
    return value


def _project_norm(gain: Tensor, basis: Tensor) -> Tensor:
    """Return the diagonal of Pᵀ·diag(gain)·P, scaled so that states keep their length."""
    width, hidden = basis.shape
    diagonal: Tensor = (basis.square() * gain[:, None]).sum(0)
    return diagonal.mul((width / hidden) ** 0.5)


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
    _project_attention(layer, source, layout, basis, heads)
    _keep_neurons(layer, source, (layout.inner, layout.outer), basis, basis)
    for name in (layout.attention_norm, layout.output_norm):
        gain, shift = _linear(source, name)
        _assign(layer, name, _project_norm(gain, basis), shift @ basis)


def _keep_neurons(
    target: nn.Module, source: nn.Module, names: tuple[str, str], inputs: Tensor, outputs: Tensor
) -> None:
    """Keep the neurons with the largest weights between two matrices, in their old order."""
    inner, outer = names
    inner_weight, inner_bias = _linear(source, inner)
    outer_weight, outer_bias = _linear(source, outer)
    part: Any = target.get_submodule(inner)
    strength = inner_weight.norm(dim=1) * outer_weight.norm(dim=0)
    kept = strength.topk(part.out_features).indices.sort().values
    _assign(target, inner, inner_weight[kept] @ inputs, inner_bias[kept])
    _assign(target, outer, outputs.T @ outer_weight[:, kept], outer_bias @ outputs)


def _project_attention(
    layer: nn.Module, source: nn.Module, layout: Layout, basis: Tensor, heads: tuple[int, int]
) -> None:
    """Cut each head's Q·Kᵀ and V·O products to the student's head size; strongest heads first."""
    hidden = basis.shape[1]
    size = hidden // heads[0]
    query, key, value = (
        torch.cat([weight @ basis, bias[:, None]], dim=1).unflatten(0, (heads[1], -1))
        for weight, bias in (_linear(source, n) for n in (layout.query, layout.key, layout.value))
    )
    out_weight, out_bias = _linear(source, layout.attention_out)
    out = (basis.T @ out_weight).unflatten(1, (heads[1], -1)).transpose(0, 1)
    scores = query.transpose(1, 2) @ key * (size / query.shape[1]) ** 0.5
    mixes = out @ value
    strength = mixes.flatten(1).norm(dim=1)
    picked = strength.topk(min(heads)).indices.sort().values if heads[0] < heads[1] else None
    index = picked if picked is not None else torch.arange(heads[0]) % heads[1]
    left, right = _low_rank(scores[index], size)
    mix_left, mix_right = _low_rank(mixes[index], size)
    copies = torch.bincount(index, minlength=heads[1])[index][:, None, None]
    for name, rows in ((layout.query, left), (layout.key, right), (layout.value, mix_right)):
        flat = rows.transpose(1, 2).flatten(0, 1)
        _assign(layer, name, flat[:, :-1], flat[:, -1])
    merged = (mix_left / copies).transpose(0, 1).flatten(1)
    _assign(layer, layout.attention_out, merged, out_bias @ basis)


def _low_rank(matrices: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return L (H, n, rank) and R (H, m, rank) whose products L·Rᵀ approximate (H, n, m)."""
    u, s, vh = torch.linalg.svd(matrices, full_matrices=False)
    found = min(rank, s.shape[-1])
    root = s[:, None, :found].sqrt()
    left, right = u[..., :found] * root, vh[:, :found].transpose(1, 2) * root
    return nn.functional.pad(left, (0, rank - found)), nn.functional.pad(right, (0, rank - found))


def _linear(module: nn.Module, name: str) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a part as float32."""
    part: Any = module.get_submodule(name)
    return part.weight.detach().float(), part.bias.detach().float()


def _assign(module: nn.Module, name: str, weight: Tensor, bias: Tensor) -> None:
    """Fill weight and bias of a part."""
    part: Any = module.get_submodule(name)
    part.weight.copy_(weight)
    part.bias.copy_(bias)
