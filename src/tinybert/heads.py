"""Which of the heads of Hugging Face's models a task has: answers for texts, words or spans."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

__all__ = ["answers_of", "auto_class", "claimed_head", "head_for", "head_of"]

_CLASSES = {
    "text": AutoModelForSequenceClassification,
    "word": AutoModelForTokenClassification,
    "span": AutoModelForQuestionAnswering,
}
_MARKS = {"TokenClassification": "word", "QuestionAnswering": "span"}
_TASKS = {"tagging": "word", "answering": "span"}


def auto_class(head: str) -> Any:
    """Return the class that makes and loads models with a head.

    Args:
        head: ``text`` (one answer a text), ``word`` (one a token) or ``span`` (for each token how
            likely an answer starts and ends there).
    """
    return _CLASSES[head]


def head_for(task: str) -> str:
    """Return the head that a task of ``artifact.TASKS`` needs."""
    return _TASKS.get(task, "text")


def claimed_head(config: Any) -> str:
    """Return the head that a config says its model has; ``text`` where it says nothing else."""
    return _named(config.architectures or [])


def head_of(model: nn.Module) -> str:
    """Return the head of a model."""
    return _named([type(model).__name__])


def answers_of(outputs: Any) -> Tensor:
    """Return what a model's head gives: (B, C), or (B, T, C); of spans start and end, (B, T, 2)."""
    if "start_logits" in outputs:
        return torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)
    logits: Tensor = outputs.logits
    return logits


def _named(names: list[str]) -> str:
    """Return the head that names of classes speak of."""
    return next((h for mark, h in _MARKS.items() if any(mark in name for name in names)), "text")
