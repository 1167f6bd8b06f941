"""Token ids to states and back: one table of embeddings, positions, narrow where it should be."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinybert.errors import ConfigError, ShapeError

__all__ = ["TiedEmbedding", "positional_encoding"]


def positional_encoding(length: int, width: int, device: torch.device | None = None) -> Tensor:
    """Give every position a vector of sines and cosines; there is no last position.

    PE(p, 2i) = sin(p / 10000^(2i/D)),  PE(p, 2i+1) = cos(p / 10000^(2i/D))

    Args:
        length: Number of positions T, counted from 0.
        width: D, even.
        device: Where the tensor is made; None is the default device.

    Returns:
        Float32 (T, D).

    Source: Vaswani et al. 2017, section 3.5.

    >>> positional_encoding(2, 4)
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8415, 0.5403, 0.0100, 0.9999]])
    """
    position = torch.arange(length, device=device, dtype=torch.float32)
    even = torch.arange(0, width, 2, device=device, dtype=torch.float32)
    angle = position[:, None] * torch.exp(even * (-math.log(10000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


class TiedEmbedding(nn.Module):
    """Reads token ids as states, and states as logits over the same tokens.

    states = P(Dropout(E[id]·√emb_dim + PE)),  logits = P'(h)·Eᵀ + b

    P and P' are linear maps between emb_dim and d_model, and nothing where the two are equal.

    Args:
        num_tokens: Size V of the vocabulary.
        emb_dim: Width of the table E, even.
        d_model: Width D of the states.
        dropout: Share of values dropped in training.

    Source: Vaswani et al. 2017, section 3.4 (one table for both, times √) and section 5.4
        (dropout); Lan et al. 2020 (ALBERT), section 3.1, factorized embeddings.
    Differs: b is ours; ALBERT has an activation and a norm in P'.
    """

    def __init__(self, num_tokens: int, emb_dim: int, d_model: int, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(num_tokens, emb_dim)
        nn.init.normal_(self.table.weight, std=emb_dim**-0.5)
        self.dropout = nn.Dropout(dropout)
        same = emb_dim == d_model
        self.projection = nn.Identity() if same else nn.Linear(emb_dim, d_model)
        self.output_projection = nn.Identity() if same else nn.Linear(d_model, emb_dim)
        self.output_bias = nn.Parameter(torch.zeros(num_tokens))

    def forward(self, tokens: Tensor, pad_mask: Tensor | None, name: str) -> Tensor:
        """Return states.

        Args:
            tokens: Ids, int64 (B, T); on padding they may be any.
            pad_mask: Bool (B, T), True on padding; None is no padding.
            name: What the tokens are called in an error.

        Returns:
            Float (B, T, D).

        Raises:
            ConfigError: An id that is no token.
            ShapeError: Another shape or dtype.
        """
        exporting = torch.compiler.is_compiling()
        if not exporting:
            _check_shapes(tokens, pad_mask, name)
        if pad_mask is not None:
            tokens = tokens.masked_fill(pad_mask, 0)
        if not exporting:
            self._check_ids(tokens, name)
        width = self.table.embedding_dim
        position = positional_encoding(tokens.shape[1], width, tokens.device)
        states = self.table(tokens) * math.sqrt(width)
        found: Tensor = self.projection(self.dropout(states + position.to(states.dtype)))
        return found

    def logits(self, states: Tensor) -> Tensor:
        """Return logits (..., V) of states (..., D)."""
        return F.linear(self.output_projection(states), self.table.weight, self.output_bias)

    def _check_ids(self, tokens: Tensor, name: str) -> None:
        """Refuse ids that the table does not have."""
        count = self.table.num_embeddings
        low, high = (int(x) for x in tokens.aminmax())
        if low < 0 or high >= count:
            raise ConfigError(
                f"{name} holds the id {low if low < 0 else high}; wanted 0 to {count - 1} "
                f"(num_tokens is {count}); on padding, pass {name}_pad_mask"
            )


def _check_shapes(tokens: Tensor, pad_mask: Tensor | None, name: str) -> None:
    """Refuse tokens and masks that cannot be read."""
    for what, given in ((name, tokens), (f"{name}_pad_mask", pad_mask)):
        if not isinstance(given, Tensor | None):
            raise ShapeError(f"{what} is a {type(given).__name__}; wanted a tensor")
    shape = tuple(tokens.shape)
    if tokens.dtype not in (torch.int64, torch.int32) or tokens.dim() != 2 or 0 in shape:
        raise ShapeError(
            f"{name} is {_kind(tokens)} {shape}; wanted int64 (batch, tokens), at least (1, 1)"
        )
    if pad_mask is not None and (pad_mask.dtype != torch.bool or tuple(pad_mask.shape) != shape):
        raise ShapeError(
            f"{name}_pad_mask is {_kind(pad_mask)} {tuple(pad_mask.shape)}; "
            f"wanted bool {shape}, True on padding"
        )


def _kind(tensor: Tensor) -> str:
    """Return a dtype's short name."""
    return str(tensor.dtype).removeprefix("torch.")
