"""The Transformer's parts: attention, feed-forward, encoder and decoder layers."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "DecoderLayer",
    "EncoderLayer",
    "FeedForward",
    "MultiHeadAttention",
    "attention",
]


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mix the values by how well their keys answer each query, step by step.

    Attention(Q, K, V) = softmax(Q·Kᵀ/√d_k)·V

    Args:
        query: Q, float (..., U, d_k).
        key: K, float (..., T, d_k).
        value: V, float (..., T, d_v).
        mask: Bool, broadcastable to (..., U, T), True where a query must not look; None hides
            nothing. A query that may look nowhere gets the mean of all values.

    Returns:
        Float (..., U, d_v).

    Source: Vaswani et al. 2017, equation 1.
    Differs: tutorials print the formula without its last factor V; the weights alone mix nothing.
    """
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1) @ value


class MultiHeadAttention(nn.Module):
    """Lets every position look at all others in H ways at once.

    MultiHead(X, Y) = Concat(head_1 … head_H)·W^O,  head_h = Attention(X·W_h^Q, Y·W_h^K, Y·W_h^V)

    Args:
        width: D of the states, divisible by ``heads``; d_k = D/H.
        heads: H.
        dropout: Share of attention weights dropped in training.

    Source: Vaswani et al. 2017, section 3.2.2. The four matrices have no bias, as there.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        for part in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(part.weight)

    def forward(self, x: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
        """Let x look at y.

        Args:
            x: What asks, float (B, U, D).
            y: What is looked at, float (B, T, D); ``x`` itself in self-attention.
            mask: Bool, broadcastable to (B, H, U, T), True where x must not look.

        Returns:
            Float (B, U, D). The fast kernel computes it; ``attention`` is the same in plain steps.
        """
        query, key, value = self._split(self.query(x)), self._split(self.key(y)), self.value(y)
        bias = None
        if mask is not None:
            bias = torch.zeros_like(mask, dtype=query.dtype)
            bias = bias.masked_fill(mask, torch.finfo(query.dtype).min)
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            self._split(value),
            attn_mask=bias,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return cast(Tensor, self.out(mixed.transpose(1, 2).flatten(2)))

    def scores(self, x: Tensor) -> Tensor:
        """Return Q·Kᵀ/√d_k of x (B, T, D) with itself: (B, H, T, T), unmasked, before softmax."""
        query, key = self._split(self.query(x)), self._split(self.key(x))
        scores: Tensor = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        return scores

    def _split(self, x: Tensor) -> Tensor:
        """Return (B, H, T, D/H) from (B, T, D)."""
        split: Tensor = x.unflatten(-1, (self.heads, -1))
        return split.transpose(1, 2)


class FeedForward(nn.Module):
    """Changes every position by itself.

    FFN(x) = max(0, x·W_1 + b_1)·W_2 + b_2

    Args:
        width: D of the states.
        inner: Width between the two matrices.
        dropout: Share of inner values dropped in training.

    Source: Vaswani et al. 2017, equation 2.
    Differs: BERT has GELU in place of max(0, ·).
    """

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(width, inner)
        self.outer = nn.Linear(inner, width)
        for part in (self.inner, self.outer):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, D) from (B, T, D)."""
        return cast(Tensor, self.outer(self.dropout(F.relu(self.inner(x)))))


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward, each as LayerNorm(x + Dropout(part(x))).

    Args:
        width: D of the states.
        heads: H.
        inner: Width of the feed-forward.
        dropout: Dropout in all of its places.

    Source: Vaswani et al. 2017, section 3.1 and section 5.4 (dropout).
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, heads, dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, inner, dropout)
        self.output_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B, T, D); ``mask`` is bool, broadcastable to (B, H, T, T), True is hidden."""
        x = self.attention_norm(x + self.dropout(self.attention(x, x, mask)))
        return cast(Tensor, self.output_norm(x + self.dropout(self.feed_forward(x))))


class DecoderLayer(nn.Module):
    """Self-attention, a look at the encoder's output, then feed-forward, each added and normed.

    Args:
        width: D of the states, those of the encoder too.
        heads: H.
        inner: Width of the feed-forward.
        dropout: Dropout in all of its places.

    Source: Vaswani et al. 2017, section 3.1.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, heads, dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.cross_attention = MultiHeadAttention(width, heads, dropout)
        self.cross_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, inner, dropout)
        self.output_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, memory: Tensor, mask: Tensor, memory_mask: Tensor | None = None
    ) -> Tensor:
        """Return the next states of the target.

        Args:
            x: Target states, float (B, U, D).
            memory: The encoder's output, float (B, T, D).
            mask: Bool, broadcastable to (B, H, U, U), True is hidden: what comes later, padding.
            memory_mask: Bool, broadcastable to (B, H, U, T), True is hidden.

        Returns:
            Float (B, U, D).
        """
        x = self.attention_norm(x + self.dropout(self.attention(x, x, mask)))
        x = self.cross_norm(x + self.dropout(self.cross_attention(x, memory, memory_mask)))
        return cast(Tensor, self.output_norm(x + self.dropout(self.feed_forward(x))))
