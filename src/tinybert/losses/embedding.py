"""Embedding distillation: what enters the first layer imitates the teacher's."""

from torch import Tensor

from tinybert.losses.hidden import hidden_loss

__all__ = ["embedding_loss"]


def embedding_loss(
    student: Tensor, teacher: Tensor, pad_mask: Tensor, projection: Tensor | None = None
) -> Tensor:
    """Mean squared distance of embeddings after a learned projection.

    L_embd = MSE(E^S·W_e, E^T)

    Args:
        student: Embedding output, float (B, T, D).
        teacher: Embedding output, float (B, T, E).
        pad_mask: Bool (B, T), True on padding.
        projection: W_e, float (D, E), or None where D = E.

    Returns:
        Scalar: the mean over real tokens and the E features.

    Raises:
        ShapeError: Widths that do not fit.

    Source: Jiao et al. 2020, equation 9.
    """
    return hidden_loss(student, teacher, pad_mask, projection)
