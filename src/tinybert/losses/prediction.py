"""Prediction distillation: the student's answers imitate the teacher's."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tinybert.errors import ConfigError, ShapeError

__all__ = ["multilabel_loss", "prediction_loss", "regression_loss"]


def prediction_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Soft cross-entropy of the student's logits against the teacher's.

    L_pred = t² · CE(softmax(z^T/t), z^S/t)

    Args:
        student: Logits z^S, float (B, C).
        teacher: Logits z^T, float (B, C).
        temperature: t > 0; above 1 the small probabilities count more.

    Returns:
        Scalar: the mean over the batch, in nats times t². At z^S = z^T it is the teacher's entropy,
        not zero, and its gradient is zero.

    Raises:
        ShapeError: The shapes differ.
        ConfigError: The temperature is not positive.

    Source: Jiao et al. 2020, equation 10; the factor t² from Hinton et al. 2015, section 2.
    Differs: the official code divides by C as well and has no t².
    """
    _check(student, teacher, temperature)
    soft = F.softmax(teacher.to(student.dtype) / temperature, dim=-1)
    return temperature**2 * F.cross_entropy(student / temperature, soft)


def multilabel_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Soft cross-entropy of each label on its own against the teacher's.

    L_pred = t² · mean_c BCE(σ(z^T_c/t), z^S_c/t)

    Args:
        student: Logits z^S, float (B, C).
        teacher: Logits z^T, float (B, C).
        temperature: t > 0.

    Returns:
        Scalar: the mean over the batch and the labels, in nats times t².

    Raises:
        ShapeError: The shapes differ.
        ConfigError: The temperature is not positive.

    Source: equation 10 of Jiao et al. 2020 with each label as a question of its own, as binary
    relevance treats it; the paper has no such task.
    """
    _check(student, teacher, temperature)
    soft = torch.sigmoid(teacher.to(student.dtype) / temperature)
    return temperature**2 * F.binary_cross_entropy_with_logits(student / temperature, soft)


def regression_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared distance of predicted values.

    Args:
        student: Values, float (B, 1).
        teacher: Values, float (B, 1), in the same units.

    Returns:
        Scalar, in squared target units.

    Raises:
        ShapeError: The shapes differ.

    Differs: the official code ignores the teacher for regression; the paper and we use it.
    """
    _check(student, teacher)
    return F.mse_loss(student, teacher.to(student.dtype))


def _check(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> None:
    """Refuse logits of two shapes, and a temperature that is none."""
    if student.shape != teacher.shape:
        raise ShapeError(
            f"student logits are {tuple(student.shape)}, teacher logits {tuple(teacher.shape)} "
            "(batch, classes); wanted the same labels in both"
        )
    if not temperature > 0:
        raise ConfigError(f"temperature is {temperature}; wanted a number above 0")
