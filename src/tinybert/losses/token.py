"""Prediction distillation where each word has an answer of its own."""

import torch.nn.functional as F
from torch import Tensor

from tinybert.errors import ShapeError
from tinybert.losses.prediction import prediction_loss

__all__ = ["tag_loss", "token_loss"]


def token_loss(
    student: Tensor, teacher: Tensor, word_mask: Tensor, temperature: float = 1.0
) -> Tensor:
    """Soft cross-entropy of the student's logits against the teacher's, word by word.

    L_pred = t² · mean_w CE(softmax(z^T_w/t), z^S_w/t), w the first token of each word

    Args:
        student: Logits z^S, float (B, T, C).
        teacher: Logits z^T, float (B, T, C).
        word_mask: Bool (B, T), True on the first token of each word: on no other piece of it, no
            special token and no padding.
        temperature: t > 0; above 1 the small probabilities count more.

    Returns:
        Scalar: the mean over all words of the batch, in nats times t²; 0 where there is none.

    Raises:
        ShapeError: The shapes differ.
        ConfigError: The temperature is not positive.

    Source: equation 10 of Jiao et al. 2020 for each word; the paper has no such task.
    """
    _check(student, word_mask)
    if student.shape != teacher.shape:
        raise ShapeError(
            f"student logits are {tuple(student.shape)}, teacher logits {tuple(teacher.shape)} "
            "(batch, tokens, tags); wanted the same tags in both"
        )
    if not word_mask.any():
        return student.sum() * 0.0
    return prediction_loss(student[word_mask], teacher[word_mask], temperature)


def tag_loss(logits: Tensor, tags: Tensor, word_mask: Tensor, no_tag: int = -100) -> Tensor:
    """Cross-entropy of the tags of words; a word without a tag adds nothing to the mean.

    L = 1/W · Σ_w CE(tag_w, z_w), w the first token of each of the W words

    Args:
        logits: Float (B, T, C).
        tags: Int64 (B, T); what stands elsewhere than on first tokens is not read.
        word_mask: Bool (B, T), True on the first token of each word.
        no_tag: Stands for a missing tag.

    Returns:
        Scalar in nats.

    Raises:
        ShapeError: The shapes differ.
    """
    _check(logits, word_mask)
    _check(tags, word_mask)
    total = F.cross_entropy(
        logits[word_mask], tags[word_mask], ignore_index=no_tag, reduction="sum"
    )
    return total / word_mask.sum().clamp(min=1)


def _check(values: Tensor, word_mask: Tensor) -> None:
    """Refuse a mask of another shape."""
    if values.shape[:2] != word_mask.shape:
        raise ShapeError(
            f"word_mask is {tuple(word_mask.shape)}; wanted {tuple(values.shape[:2])} "
            "(batch, tokens)"
        )
