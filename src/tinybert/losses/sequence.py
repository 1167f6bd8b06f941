"""Losses of a text that is written token by token."""

import torch
from torch import Tensor

from tinybert.errors import ConfigError, ShapeError

__all__ = ["next_token_loss", "smoothed_loss"]


def smoothed_loss(
    log_probabilities: Tensor,
    labels: Tensor,
    smoothing: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the next token, with some probability spread over the whole vocabulary.

    L_i = (1 - ε)·(-log p_i(y_i)) + ε·mean_v(-log p_i(v)),  L = Σ_i w_i·L_i / Σ_i w_i over N tokens

    Args:
        log_probabilities: Float (N, V), log p of what may stand at each token's place.
        labels: Int64 (N,), the tokens.
        smoothing: ε, 0..1.
        weights: Float (N,), w; None weighs all tokens alike.

    Returns:
        Scalar in nats.

    Raises:
        ShapeError: Shapes that do not belong together.
        ConfigError: ε is outside 0..1.

    Source: Szegedy et al. 2016, section 7; Vaswani et al. 2017, section 5.4.
    """
    _check("labels", labels, log_probabilities)
    if not 0 <= smoothing < 1:
        raise ConfigError(f"smoothing is {smoothing}; wanted 0 to 1")
    each = -log_probabilities.gather(-1, labels[:, None]).squeeze(-1)
    if smoothing:
        each = (1 - smoothing) * each - smoothing * log_probabilities.mean(dim=-1)
    return _weighted(each, weights)


def next_token_loss(
    log_probabilities: Tensor,
    top_ids: Tensor,
    top_probabilities: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Divergence of the student's next token from the teacher's K likeliest ones.

    L = mean_i Σ_k p_ik·(log p_ik - log q_i(v_ik)),  p the teacher's, scaled to sum to 1 over its K
    tokens, q the student's over the whole vocabulary

    Args:
        log_probabilities: Float (N, V), log q of what may stand at each token's place.
        top_ids: Int64 (N, K), the teacher's likeliest tokens v.
        top_probabilities: Float (N, K), what it gives them.
        weights: Float (N,), what each token counts in the mean; None weighs all alike.

    Returns:
        Scalar: the mean over tokens, in nats; 0 where the student gives those K tokens the
        teacher's probabilities and all others none.

    Raises:
        ShapeError: Shapes that do not belong together.

    Source: Kim and Rush 2016, "Sequence-Level Knowledge Distillation", section 3.1.
    Differs: the K likeliest tokens alone, so that the teacher's answers fit on a disk.
    """
    _check("top_ids", top_ids, log_probabilities)
    teacher = top_probabilities.to(log_probabilities.dtype)
    teacher = teacher / teacher.sum(dim=-1, keepdim=True)
    student = log_probabilities.gather(-1, top_ids)
    return _weighted((torch.xlogy(teacher, teacher) - teacher * student).sum(dim=-1), weights)


def _weighted(each: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over the tokens, each with its weight."""
    if weights is None:
        return each.mean()
    return (weights.to(each.dtype) * each).sum() / weights.to(each.dtype).sum()


def _check(name: str, given: Tensor, log_probabilities: Tensor) -> None:
    """Refuse values of other tokens."""
    if given.shape[:1] != log_probabilities.shape[:1]:
        raise ShapeError(
            f"{name} are {tuple(given.shape)}; wanted {len(log_probabilities)} tokens, as of the "
            f"log-probabilities {tuple(log_probabilities.shape)}"
        )
