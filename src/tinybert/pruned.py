"""Layers with fewer attention heads and feed-forward neurons than their model's config says.

Such a model computes with small matrices. Where it is saved it is a plain one: the heads and
neurons that it lacks stand there with weights of zero, which add nothing and get no gradient.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinybert.errors import UnsupportedModelError
from tinybert.layout import PRUNED, Layout, layout_of

__all__ = [
    "LEAST_NEURONS",
    "drop_zeros",
    "head_width",
    "keep_heads",
    "keep_neurons",
    "kept_sizes",
    "widened",
]

Kept = Sequence[Sequence[int]]
LEAST_NEURONS = 16  # the engine's lanes
_HEADS, _NEURONS = PRUNED


def head_width(config: Any) -> int:
    """Return d_k, how many numbers of a state one attention head makes."""
    return int(config.hidden_size) // int(config.num_attention_heads)


def kept_sizes(model: PreTrainedModel) -> tuple[list[int], list[int]]:
    """Return how many heads and how many feed-forward neurons each layer computes.

    Args:
        model: Of a known layout.
    """
    layout = layout_of(model.config)
    size = head_width(model.config)
    heads = [part.out_features // size for part in _parts(model, layout, "query")]
    return heads, [part.out_features for part in _parts(model, layout, "inner")]


def keep_heads(model: PreTrainedModel, kept: Kept) -> None:
    """Leave a model, in place, with some of its attention heads.

    Args:
        model: Of a known layout; its config tells in ``layer_heads`` how many each layer has left.
        kept: For each layer which heads stay, at least one.
    """
    layout, size = layout_of(model.config), head_width(model.config)
    for layer, heads in zip(layout.layer_list(model), kept, strict=True):
        places = [head * size + i for head in heads for i in range(size)]
        for name in (layout.query, layout.key, layout.value):
            _keep_rows(layer.get_submodule(name), places)
        _keep_columns(layer.get_submodule(layout.attention_out), places)
    _tell(model.config, _HEADS, kept, int(model.config.num_attention_heads))


def keep_neurons(model: PreTrainedModel, kept: Kept) -> None:
    """Leave a model, in place, with some of its feed-forward neurons.

    Args:
        model: Of a known layout; the width in its config becomes that of its widest layer, and
            ``layer_intermediate`` tells that of each where they differ.
        kept: For each layer which neurons stay, at least one.
    """
    layout = layout_of(model.config)
    for layer, neurons in zip(layout.layer_list(model), kept, strict=True):
        _keep_rows(layer.get_submodule(layout.inner), neurons)
        _keep_columns(layer.get_submodule(layout.outer), neurons)
    widest = max(map(len, kept))
    setattr(model.config, layout.intermediate, widest)
    _tell(model.config, _NEURONS, kept, widest)


def widened(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model as its config describes it: what its layers lack is there with zeros.

    Answers stay the same. The zeros stay zeros in training, since nothing reads what they make.

    Args:
        model: Of any architecture; it is not changed, and returned itself where nothing is lacking.
    """
    layout = _known(model)
    if layout is None:
        return model
    width, inner = int(model.config.hidden_size), int(getattr(model.config, layout.intermediate))
    heads, neurons = map(set, kept_sizes(model))
    if heads == {int(model.config.num_attention_heads)} and neurons == {inner}:
        return model
    wide = deepcopy(model)
    for name in ("query", "key", "value", "attention_out"):
        for part in _parts(wide, layout, name):
            _fill(part, width, width)
    for rows, columns, name in ((inner, width, "inner"), (width, inner, "outer")):
        for part in _parts(wide, layout, name):
            _fill(part, rows, columns)
    return wide


def drop_zeros(model: PreTrainedModel) -> None:
    """Leave out, in place, the heads and neurons that nothing reads: the inverse of ``widened``.

    Args:
        model: Of any architecture; one whose parts are not known stays as it is.
    """
    layout = _known(model)
    if layout is None:
        return
    size = head_width(model.config)
    heads, neurons = [], []
    for out in _parts(model, layout, "attention_out"):
        read = out.weight.detach().unflatten(1, (-1, size)).abs().amax(dim=(0, 2))
        heads.append(_nonzero(read, 1))
    for out in _parts(model, layout, "outer"):
        neurons.append(_nonzero(out.weight.detach().abs().amax(dim=0), LEAST_NEURONS))
    keep_heads(model, heads)
    keep_neurons(model, neurons)


def _tell(config: Any, name: str, kept: Kept, usual: int) -> None:
    """Write each layer's count into a config, unless all have as many as it says anyway."""
    counts = [len(places) for places in kept]
    if set(counts) != {usual}:
        setattr(config, name, counts)
    elif hasattr(config, name):
        delattr(config, name)


def _known(model: PreTrainedModel) -> Layout | None:
    """Return the names of a model's parts, nothing where they are not known."""
    try:
        return layout_of(model.config)
    except UnsupportedModelError:
        return None


def _parts(model: PreTrainedModel, layout: Layout, name: str) -> Iterator[Any]:
    """Yield the matrix of this name of each layer."""
    for layer in layout.layer_list(model):
        yield layer.get_submodule(getattr(layout, name))


def _nonzero(read: Tensor, least: int) -> list[int]:
    """Return where something is read, and as many of the first others as are wanted at least."""
    found = read.nonzero().flatten().tolist()
    others = (read == 0).nonzero().flatten().tolist()
    return sorted(found + others[: max(0, least - len(found))])


def _keep_rows(part: Any, places: Sequence[int]) -> None:
    """Leave a matrix with some of its outputs."""
    if len(places) == part.out_features:
        return
    part.weight = nn.Parameter(part.weight.detach()[list(places)].clone())
    part.bias = nn.Parameter(part.bias.detach()[list(places)].clone())
    part.out_features = len(places)


def _keep_columns(part: Any, places: Sequence[int]) -> None:
    """Leave a matrix with some of its inputs."""
    if len(places) == part.in_features:
        return
    part.weight = nn.Parameter(part.weight.detach()[:, list(places)].clone())
    part.in_features = len(places)


def _fill(part: Any, rows: int, columns: int) -> None:
    """Give a matrix zeros up to its full size."""
    weight, bias = part.weight.detach(), part.bias.detach()
    full = torch.zeros(rows, columns, dtype=weight.dtype)
    full[: weight.shape[0], : weight.shape[1]] = weight
    part.weight = nn.Parameter(full)
    part.bias = nn.Parameter(torch.nn.functional.pad(bias, (0, rows - len(bias))))
    part.out_features, part.in_features = rows, columns
