"""Losses of a text that is written token by token."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tinybert.errors import ConfigError, ShapeError

__all__ = ["next_token_loss", "smoothed_loss"]


def smoothed_loss(
    logits: Tensor,
    labels: Tensor,
    pad_mask: Tensor,
    smoothing: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the next token, with some probability spread over the whole vocabulary.

    L_bt = (1 - ε)·(-log p_bt(y_bt)) + ε·mean_v(-log p_bt(v)),  L = Σ_bt w_b·L_bt / Σ_bt w_b over
    the real tokens

    Args:
        logits: Float (B, T, V), at each place those of the next token.
        labels: Int64 (B, T), the next tokens.
        pad_mask: Bool (B, T), True on padding.
        smoothing: ε, 0..1.
        weights: Float (B,), w; None weighs all texts alike.

    Returns:
        Scalar in nats.

    Raises:
        ShapeError: Shapes that do not belong together.
        ConfigError: ε is outside 0..1.

    Source: Szegedy et al. 2016, section 7; Vaswani et al. 2017, section 5.4.
    """
    _check(logits, pad_mask)
    if not 0 <= smoothing < 1:
        raise ConfigError(f"smoothing is {smoothing}; wanted 0 to 1")
    real = ~pad_mask
    each = F.cross_entropy(logits[real], labels[real], label_smoothing=smoothing, reduction="none")
    return _weighted(each, real, weights)


def next_token_loss(
    logits: Tensor,
    top_ids: Tensor,
    top_probabilities: Tensor,
    pad_mask: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Divergence of the student's next token from the teacher's K likeliest ones.

    L = mean_bt Σ_k p_btk·(log p_btk - log q_bt(v_btk)),  p the teacher's, scaled to sum to 1 over
    its K tokens, q the student's over the whole vocabulary

    Args:
        logits: Float (B, T, V), the student's.
        top_ids: Int64 (B, T, K), the teacher's likeliest tokens v.
        top_probabilities: Float (B, T, K), what it gives them.
        pad_mask: Bool (B, T), True on padding.
        weights: Float (B,), what each text counts in the mean; None weighs all alike.

    Returns:
        Scalar: the mean over real tokens, in nats; 0 where the student gives those K tokens the
        teacher's probabilities and all others none.

    Raises:
        ShapeError: Shapes that do not belong together.

    Source: Kim and Rush 2016, "Sequence-Level Knowledge Distillation", section 3.1.
    Differs: the K likeliest tokens alone, so that the teacher's answers fit on a disk.
    """
    _check(logits, pad_mask)
    _check(top_ids, pad_mask)
    real = ~pad_mask
    teacher = top_probabilities[real].to(logits.dtype)
    teacher = teacher / teacher.sum(dim=-1, keepdim=True)
    student = torch.log_softmax(logits[real], dim=-1).gather(-1, top_ids[real])
    each = (torch.xlogy(teacher, teacher) - teacher * student).sum(dim=-1)
    return _weighted(each, real, weights)


def _weighted(each: Tensor, real: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over the real tokens, each with the weight of its text."""
    if weights is None:
        return each.mean()
    spread = weights.to(each.dtype)[:, None].expand(real.shape)[real]
    return (spread * each).sum() / spread.sum()


def _check(values: Tensor, pad_mask: Tensor) -> None:
    """Refuse a mask of another shape."""
    if values.shape[:2] != pad_mask.shape:
        raise ShapeError(
            f"pad_mask is {tuple(pad_mask.shape)}; wanted {tuple(values.shape[:2])} (batch, tokens)"
        )
