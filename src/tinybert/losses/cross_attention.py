"""Cross-attention distillation: the student looks at the source as its teacher does."""

from torch import Tensor

from tinybert.errors import ShapeError

__all__ = ["cross_attention_loss"]


def cross_attention_loss(
    student: Tensor, teacher: Tensor, pad_mask: Tensor, source_pad_mask: Tensor
) -> Tensor:
    """Mean squared distance of the scores with which targets look at sources.

    L = 1/H · Σ_h MSE(A_h^S, A_h^T),  A = Q·Kᵀ/√d_k, before masking and softmax.

    Args:
        student: Scores, float (B, H, T, S).
        teacher: Scores, float (B, H, T, S).
        pad_mask: Bool (B, T), True on padding of the targets.
        source_pad_mask: Bool (B, S), True on padding of the sources.

    Returns:
        Scalar: the mean over heads and over pairs of a real target and a real source token.

    Raises:
        ShapeError: The shapes differ, or a mask does not fit.

    Source: equation 7 of Jiao et al. 2020 between two sequences; the paper has no decoder.
    """
    if student.shape != teacher.shape:
        raise ShapeError(
            f"student scores are {tuple(student.shape)}, teacher scores {tuple(teacher.shape)} "
            "(batch, heads, targets, sources); wanted the same"
        )
    batch, heads, targets, sources = student.shape
    if pad_mask.shape != (batch, targets) or source_pad_mask.shape != (batch, sources):
        raise ShapeError(
            f"pad masks are {tuple(pad_mask.shape)} and {tuple(source_pad_mask.shape)}; wanted "
            f"{(batch, targets)} and {(batch, sources)}"
        )
    padded = (pad_mask[:, :, None] | source_pad_mask[:, None, :])[:, None]
    apart = (student - teacher.to(student.dtype)).square().masked_fill(padded, 0.0)
    return apart.sum() / ((~padded).sum() * heads)
