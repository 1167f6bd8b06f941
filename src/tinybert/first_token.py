"""Lets a classifier's last layer compute only the first token, the one that its head reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from tinybert.errors import UnsupportedModelError
from tinybert.heads import head_of
from tinybert.layout import Layout, layout_of
from tinybert.pruned import head_width

__all__ = ["first_token_only"]

_DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
)


@contextmanager
def first_token_only(model: PreTrainedModel) -> Iterator[None]:
    """Within this context the last layer computes queries and feed-forward for one token alone.

    The logits and their gradients stay the same; of the last layer only keys and values are
    computed for every token. Nothing changes where the head reads every token, the architecture is
    unknown, or while a model with dropout is in training mode.

    Args:
        model: A classifier. The heads of one answer a text read the first token's state in every
            layout of ``layout``. Its weights and their names are not touched.
    """
    if head_of(model) != "text":
        yield
        return
    try:
        layout = layout_of(model.config)
    except UnsupportedModelError:
        yield
        return
    if model.training and any(getattr(model.config, name, None) for name in _DROPOUTS):
        yield
        return
    last: Any = layout.layer_list(model)[-1]
    last.forward = partial(_forward, last, layout, model.config)
    try:
        yield
    finally:
        del last.forward


def _forward(
    layer: nn.Module,
    layout: Layout,
    config: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    *_: Any,
    **__: Any,
) -> Tensor:
    """Return the layer's output for the first token, (B, 1, D), from all tokens, (B, T, D)."""

    def part(name: str, x: Tensor) -> Tensor:
        found: Tensor = layer.get_submodule(getattr(layout, name))(x)
        return found

    first = hidden_states[:, :1]
    heads = (-1, head_width(config))
    query, key, value = (
        part(name, x).unflatten(-1, heads).transpose(1, 2)
        for name, x in (("query", first), ("key", hidden_states), ("value", hidden_states))
    )
    mask = None if attention_mask is None else attention_mask[:, :, :1]
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    attended = part("attention_out", mixed.transpose(1, 2).flatten(2))
    attended = part("attention_norm", attended + first)
    activation = ACT2FN[getattr(config, "hidden_act", None) or config.activation]
    return part("output_norm", part("outer", activation(part("inner", attended))) + attended)
