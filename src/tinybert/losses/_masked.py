"""Means over tokens that are not padding."""

from torch import Tensor

from tinybert.errors import ShapeError


def token_mean(values: Tensor, pad_mask: Tensor) -> Tensor:
    """Mean of (B, T, D) over real tokens and features; ``pad_mask`` (B, T) is True on padding."""
    if values.shape[:2] != pad_mask.shape:
        raise ShapeError(
            f"pad_mask is {tuple(pad_mask.shape)}; wanted {tuple(values.shape[:2])} (batch, tokens)"
        )
    kept = values.masked_fill(pad_mask.unsqueeze(-1), 0.0)
    return kept.sum() / ((~pad_mask).sum() * values.shape[-1])


def pair_mean(values: Tensor, pad_mask: Tensor) -> Tensor:
    """Mean of (B, H, T, T) over heads and over pairs of real query and real key positions."""
    if (values.shape[0], values.shape[-1]) != pad_mask.shape:
        raise ShapeError(
            f"pad_mask is {tuple(pad_mask.shape)}; "
            f"wanted {(values.shape[0], values.shape[-1])} (batch, tokens)"
        )
    padded = pad_mask[:, None, :, None] | pad_mask[:, None, None, :]
    kept = values.masked_fill(padded, 0.0)
    return kept.sum() / ((~padded).sum() * values.shape[1])
