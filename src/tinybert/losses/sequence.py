"""Losses of a text that is written token by token."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tinybert.errors import ConfigError, ShapeError

__all__ = ["log_probabilities", "next_token_loss", "smoothed_loss"]

_BLOCK = {"cpu": 2**18, "cuda": 2**26}


def log_probabilities(logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of some tokens of a large vocabulary, and their mean over all of it.

    log p_i(v) = z_iv - log Σ_u exp(z_iu)

    The same as ``logits.log_softmax(-1)`` and ``gather``, without a table of N·V of them.

    Args:
        logits: Float (N, V), z.
        ids: Int64 (N, K), tokens v.

    Returns:
        Float (N, K), log p of the tokens, and float (N,), the mean of log p over the V tokens; in
        float32 at least. They can be differentiated once.

    Raises:
        ShapeError: Shapes that do not belong together.
    """
    _check("ids", ids, logits)
    found: tuple[Tensor, Tensor] = _LogProbabilities.apply(logits, ids)  # type: ignore[no-untyped-call]
    return found


class _LogProbabilities(torch.autograd.Function):
    """Block by block of rows, so that what is computed in between stays in the cache."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        size = max(1, _BLOCK.get(logits.device.type, 2**26) // logits.shape[1])
        found, means, norms = [], [], []
        for z, v in zip(logits.split(size), ids.split(size), strict=True):
            z = _exact(z)
            norm = z.logsumexp(dim=-1)
            found.append(z.gather(-1, v) - norm[:, None])
            means.append(z.mean(dim=-1) - norm)
            norms.append(norm)
        ctx.save_for_backward(logits, ids, torch.cat(norms))
        ctx.size = size
        ctx.set_materialize_grads(False)
        return torch.cat(found), torch.cat(means)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, found: Tensor | None, mean: Tensor | None) -> tuple[Tensor, None]:
        logits, ids, norms = ctx.saved_tensors
        found = torch.zeros_like(ids, dtype=norms.dtype) if found is None else found
        total = found.sum(dim=-1) if mean is None else found.sum(dim=-1) + mean
        gradient = torch.empty_like(logits)
        for start in range(0, len(logits), ctx.size):
            rows = slice(start, start + ctx.size)
            part = (_exact(logits[rows]) - norms[rows, None]).exp_().mul_(-total[rows, None])
            if mean is not None:
                part += mean[rows, None] / logits.shape[1]
            gradient[rows] = part.scatter_add_(1, ids[rows], found[rows])
        return gradient, None


def smoothed_loss(
    right: Tensor,
    mean: Tensor,
    smoothing: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the next token, with some probability spread over the whole vocabulary.

    L_i = (1 - ε)·(-log p_i(y_i)) + ε·mean_v(-log p_i(v)),  L = Σ_i w_i·L_i / Σ_i w_i over N tokens

    Args:
        right: Float (N,), log p of the token that stands there.
        mean: Float (N,), the mean of log p over the vocabulary; see ``log_probabilities``.
        smoothing: ε, 0..1.
        weights: Float (N,), w; None weighs all tokens alike.

    Returns:
        Scalar in nats.

    Raises:
        ShapeError: Shapes that do not belong together.
        ConfigError: ε is outside 0..1.

    Source: Szegedy et al. 2016, section 7; Vaswani et al. 2017, section 5.4.
    """
    _check("means", mean, right)
    if not 0 <= smoothing < 1:
        raise ConfigError(f"smoothing is {smoothing}; wanted 0 to 1")
    each = -right
    if smoothing:
        each = (1 - smoothing) * each - smoothing * mean
    return _weighted(each, weights)


def next_token_loss(
    top: Tensor,
    top_probabilities: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Divergence of the student's next token from the teacher's K likeliest ones.

    L = mean_i Σ_k p_ik·(log p_ik - log q_i(v_ik)),  p the teacher's, scaled to sum to 1 over its K
    tokens, q the student's over the whole vocabulary

    Args:
        top: Float (N, K), log q of the teacher's likeliest tokens v; see ``log_probabilities``.
        top_probabilities: Float (N, K), what the teacher gives them.
        weights: Float (N,), what each token counts in the mean; None weighs all alike.

    Returns:
        Scalar: the mean over tokens, in nats; 0 where the student gives those K tokens the
        teacher's probabilities and all others none.

    Raises:
        ShapeError: Shapes that do not belong together.

    Source: Kim and Rush 2016, "Sequence-Level Knowledge Distillation", section 3.1.
    Differs: the K likeliest tokens alone, so that the teacher's answers fit on a disk.
    """
    _check("the teacher's probabilities", top_probabilities, top)
    teacher = top_probabilities.to(top.dtype)
    teacher = teacher / teacher.sum(dim=-1, keepdim=True)
    return _weighted((torch.xlogy(teacher, teacher) - teacher * top).sum(dim=-1), weights)


def _weighted(each: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over the tokens, each with its weight."""
    if weights is None:
        return each.mean()
    return (weights.to(each.dtype) * each).sum() / weights.to(each.dtype).sum()


def _exact(values: Tensor) -> Tensor:
    """Return values in float32 at least."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def _check(name: str, given: Tensor, wanted: Tensor) -> None:
    """Refuse values of other tokens."""
    if given.shape[:1] != wanted.shape[:1]:
        raise ShapeError(
            f"{name} are {tuple(given.shape)}; wanted {len(wanted)} tokens, as of "
            f"{tuple(wanted.shape)}"
        )
