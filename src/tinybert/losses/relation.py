"""Relation distillation: how the student's tokens relate to each other imitates the teacher's."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tinybert.errors import ConfigError, ShapeError
from tinybert.losses._masked import token_mean

__all__ = ["relation_loss"]


def relation_loss(student: Tensor, teacher: Tensor, pad_mask: Tensor, heads: int) -> Tensor:
    """Divergence of the self-relations of one kind of vectors: queries, keys or values.

    L_rel = 1/(A·T) · Σ_a Σ_t KL(R_at^T ‖ R_at^S),  R_a = softmax(X_a·X_aᵀ/√d),  d = width/A

    X holds the vectors of all attention heads side by side. It is cut anew into A relation heads,
    so that student and teacher may differ in width and in their numbers of attention heads.

    Args:
        student: Queries, keys or values of a layer, float (B, T, D).
        teacher: The same kind of vectors, float (B, T, E).
        pad_mask: Bool (B, T), True on padding.
        heads: Relation heads A, a divisor of D and of E.

    Returns:
        Scalar: the mean over relation heads and real tokens, in nats; 0 where the relations agree.

    Raises:
        ConfigError: ``heads`` does not divide both widths.
        ShapeError: Batch or token counts that do not fit.

    Source: Wang et al. 2021, "MiniLMv2", section 3.1, the relations q-q, k-k and v-v.
    Differs: the paper sums over tokens that are all real; here padding is neither asked nor
        answered, as a query or as a key.
    """
    if student.shape[:2] != teacher.shape[:2]:
        raise ShapeError(
            f"student vectors are {tuple(student.shape)}, teacher vectors {tuple(teacher.shape)} "
            "(batch, tokens, width); wanted the same batch and tokens"
        )
    own = _log_relations(student, pad_mask, heads)
    theirs = _log_relations(teacher.to(student.dtype), pad_mask, heads)
    divergence = F.kl_div(own, theirs, reduction="none", log_target=True)
    padded_keys = pad_mask[:, None, None, :]
    return token_mean(divergence.masked_fill(padded_keys, 0.0).sum(-1).transpose(1, 2), pad_mask)


def _log_relations(vectors: Tensor, pad_mask: Tensor, heads: int) -> Tensor:
    """Return log R, (B, A, T, T)."""
    width = vectors.shape[-1]
    if heads < 1 or width % heads:
        raise ConfigError(f"relation_heads is {heads}; wanted a divisor of the width {width}")
    x = vectors.unflatten(-1, (heads, -1)).transpose(1, 2)
    products = x @ x.transpose(-1, -2) / (width // heads) ** 0.5
    masked = products.masked_fill(pad_mask[:, None, None, :], torch.finfo(products.dtype).min)
    return F.log_softmax(masked, dim=-1)
