"""Which of the heads of Hugging Face's models a task has: one answer a text, or one a token."""

from typing import Any

from torch import nn
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

__all__ = ["auto_class", "claims_tags", "gives_tags"]


def auto_class(tags: bool) -> Any:
    """Return the class that makes and loads models of one answer a text, or a token (``tags``)."""
    return AutoModelForTokenClassification if tags else AutoModelForSequenceClassification


def claims_tags(config: Any) -> bool:
    """Whether a config says that its model gives an answer for each token."""
    return any("TokenClassification" in name for name in config.architectures or [])


def gives_tags(model: nn.Module) -> bool:
    """Whether a model gives an answer for each token."""
    return "TokenClassification" in type(model).__name__
