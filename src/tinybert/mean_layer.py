"""Lets a classifier whose head reads the first token read the mean of all tokens instead."""

import torch
from torch import nn
from transformers import PreTrainedModel

from tinybert.errors import ConfigError, UnsupportedModelError
from tinybert.heads import head_of
from tinybert.layout import layout_of

__all__ = ["add_mean_layer"]

_GAIN = 4.0


def add_mean_layer(model: PreTrainedModel) -> None:
    """Append a layer that adds the mean of all tokens to each, and let the head start from it.

    h'_i = LayerNorm(h_i + 4 · mean_j h_j)

    An encoder that was trained with mean pooling was not asked to hold a text in its first token,
    which is all that a classifier's head reads. The layer's query matrix is zero, so every token
    attends alike to all tokens that are not padding (keys stay random, else queries would have no
    gradient); value is the identity, output 4 times it, the feed-forward adds nothing. The head's
    first matrix becomes the identity. All of it can be learnt, and the model stays a plain one of
    its architecture, one layer deeper.

    Args:
        model: A sequence classifier of a known layout, changed in place, config included.

    Raises:
        ConfigError: A model that tags words or finds answers: it reads every token.
        UnsupportedModelError: An architecture whose parts are not known.

    Source: mean pooling: Reimers and Gurevych 2019, "Sentence-BERT", section 3.
    """
    if (head := head_of(model)) != "text":
        does = "tags words" if head == "word" else "finds answers"
        raise ConfigError(f"teacher.pooling is `mean`; a model that {does} reads every token")
    layout = layout_of(model.config)
    layers = layout.layer_list(model)
    layer = type(layers[0])(model.config)
    with torch.no_grad():
        for name, value in (
            (layout.query, 0.0),
            (layout.value, 1.0),
            (layout.attention_out, _GAIN),
            (layout.outer, 0.0),
        ):
            _set_diagonal(layer.get_submodule(name), value)
        _set_diagonal(model.get_submodule(layout.head_inner), 1.0)
        for name in (layout.attention_norm, layout.output_norm):
            nn.init.ones_(layer.get_parameter(f"{name}.weight"))
            nn.init.zeros_(layer.get_parameter(f"{name}.bias"))
    layers.append(layer.to(model.device).eval())
    model.config.num_hidden_layers = len(layers)


def _set_diagonal(part: nn.Module, value: float) -> None:
    """Make a linear map the identity times a value, without a bias."""
    if not isinstance(part, nn.Linear):
        raise UnsupportedModelError(f"{type(part).__name__} is no linear map")
    part.weight.zero_()
    part.weight.fill_diagonal_(value)
    nn.init.zeros_(part.bias)
