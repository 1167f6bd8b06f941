"""Attention distillation: the student's attention scores imitate the teacher's."""

from torch import Tensor

from tinybert.errors import ShapeError
from tinybert.losses._masked import pair_mean

__all__ = ["attention_loss"]


def attention_loss(student: Tensor, teacher: Tensor, pad_mask: Tensor) -> Tensor:
    """Mean squared distance of attention scores.

    L_attn = 1/H · Σ_h MSE(A_h^S, A_h^T),  A = Q·Kᵀ/√d_k, before masking and softmax.

    Args:
        student: Scores, float (B, H, T, T).
        teacher: Scores, float (B, H, T, T).
        pad_mask: Bool (B, T), True on padding.

    Returns:
        Scalar: the mean over heads and over pairs of real tokens, in squared score units.

    Raises:
        ShapeError: The shapes differ, most often because the head counts do.

    Source: Jiao et al. 2020, equation 7.
    Differs: the official code sets scores below -100 to zero and averages over padded rows too, so
        its loss shrinks as padding grows; here padding never counts.
    """
    if student.shape != teacher.shape:
        raise ShapeError(
            f"student scores are {tuple(student.shape)}, teacher scores {tuple(teacher.shape)} "
            "(batch, heads, tokens, tokens); give the student the teacher's number of heads "
            "or set the attention weight to 0"
        )
    return pair_mean((student - teacher.to(student.dtype)).square(), pad_mask)
