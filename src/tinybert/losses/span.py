"""Prediction distillation where an answer is a span: its first token and its last."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tinybert.errors import ConfigError, ShapeError

__all__ = ["place_loss", "span_loss"]


def span_loss(
    student: Tensor, teacher: Tensor, span_mask: Tensor, temperature: float = 1.0
) -> Tensor:
    """Soft cross-entropy over where an answer starts, and over where it ends.

    L_pred = t²/2 · Σ_{s∈{start,end}} CE(softmax_i(z^T_is/t), z^S_is/t), i over places in the mask

    Args:
        student: Logits z^S of start and end, float (B, T, 2).
        teacher: Logits z^T, float (B, T, 2).
        span_mask: Bool (B, T), True where an answer may start or end: on the context's tokens and
            on the first token, which stands for no answer; on no padding, no other special token
            and not on the question.
        temperature: t > 0; above 1 the small probabilities count more.

    Returns:
        Scalar: the mean over the batch, in nats times t². At z^S = z^T it is the teacher's entropy,
        not zero, and its gradient is zero.

    Raises:
        ShapeError: The shapes differ.
        ConfigError: The temperature is not positive.

    Source: equation 10 of Jiao et al. 2020 for each of the two distributions of Devlin et al. 2019,
        section 4.2.
    Differs: BERT's softmax runs over every token, padding and question too; here over the mask.
    """
    _check(student, span_mask)
    if student.shape != teacher.shape:
        raise ShapeError(
            f"student logits are {tuple(student.shape)}, teacher logits {tuple(teacher.shape)} "
            "(batch, tokens, start and end); wanted the same"
        )
    if not temperature > 0:
        raise ConfigError(f"temperature is {temperature}; wanted a number above 0")
    soft = F.softmax(_masked(teacher.to(student.dtype), span_mask) / temperature, dim=1)
    logs = F.log_softmax(_masked(student, span_mask) / temperature, dim=1)
    each = -(soft * logs).masked_fill(~span_mask[..., None], 0.0).sum(dim=1)
    return temperature**2 * each.mean()


def place_loss(logits: Tensor, places: Tensor, span_mask: Tensor, no_label: int = -100) -> Tensor:
    """Cross-entropy of where answers start and end; a window without a label adds nothing.

    L = 1/(2B) · Σ_b (CE(start_b, z_b,start) + CE(end_b, z_b,end)), over the places in the mask

    Args:
        logits: Float (B, T, 2).
        places: Int64 (B, 2): position of the answer's first token and of its last; 0 and 0 where
            there is none.
        span_mask: Bool (B, T), as for ``span_loss``.
        no_label: Stands for a missing label.

    Returns:
        Scalar in nats.

    Raises:
        ShapeError: The shapes differ.
    """
    _check(logits, span_mask)
    if places.shape != (len(logits), 2):
        raise ShapeError(f"places are {tuple(places.shape)}; wanted {(len(logits), 2)} (batch, 2)")
    total = F.cross_entropy(
        _masked(logits, span_mask), places, ignore_index=no_label, reduction="sum"
    )
    return total / (2 * len(logits))


def _masked(logits: Tensor, span_mask: Tensor) -> Tensor:
    """Leave only the places where an answer may start or end."""
    return logits.masked_fill(~span_mask[..., None], torch.finfo(logits.dtype).min)


def _check(logits: Tensor, span_mask: Tensor) -> None:
    """Refuse logits of another form, and a mask of another shape."""
    if logits.dim() != 3 or logits.shape[2] != 2 or logits.shape[:2] != span_mask.shape:
        raise ShapeError(
            f"logits are {tuple(logits.shape)}, span_mask {tuple(span_mask.shape)}; wanted "
            "(batch, tokens, 2) and (batch, tokens)"
        )
