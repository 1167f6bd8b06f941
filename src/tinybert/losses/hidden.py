"""Hidden-state distillation: the student's layer outputs imitate the teacher's."""

from torch import Tensor

from tinybert.errors import ShapeError
from tinybert.losses._masked import token_mean

__all__ = ["hidden_loss"]


def hidden_loss(
    student: Tensor, teacher: Tensor, pad_mask: Tensor, projection: Tensor | None = None
) -> Tensor:
    """Mean squared distance of hidden states after a learned projection.

    L_hidn = MSE(H^S·W_h, H^T)

    Args:
        student: Hidden states, float (B, T, D).
        teacher: Hidden states, float (B, T, E).
        pad_mask: Bool (B, T), True on padding.
        projection: W_h, float (D, E); None where D = E and the two spaces are compared as they are.

    Returns:
        Scalar: the mean over real tokens and the E features.

    Raises:
        ShapeError: Widths that do not fit.

    Source: Jiao et al. 2020, equation 8.
    Differs: the official code shares one matrix with a bias among all layers; here each layer has
        its own, without a bias, as in the paper.
    """
    projected = student if projection is None else student @ projection
    if projected.shape != teacher.shape:
        raise ShapeError(
            f"student states are {tuple(projected.shape)}, teacher states {tuple(teacher.shape)} "
            "(batch, tokens, width); wanted a projection of "
            f"({student.shape[-1]}, {teacher.shape[-1]})"
        )
    return token_mean((projected - teacher.to(projected.dtype)).square(), pad_mask)
