"""Which of the library's attentions a training uses."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel

__all__ = ["plain_attention"]

_FUSED = "sdpa"
_PLAIN = "eager"
_LONGEST = 192


@contextmanager
def plain_attention(module: nn.Module, *, bf16: bool, longest: int | None) -> Iterator[None]:
    """Let a module's models attend by plain matrix products where that trains faster.

    On a CPU the gradient of PyTorch's fused attention is slow in bfloat16. Long texts keep it, for
    the memory that T² scores would take.

    Args:
        module: Holds the models; inside they are changed, afterwards as before.
        bf16: Whether the training computes in bfloat16.
        longest: Tokens T of the longest row; None where that is not known.
    """
    models = [part for part in module.modules() if isinstance(part, PreTrainedModel)]
    slow = bf16 and not torch.cuda.is_available() and longest is not None and longest <= _LONGEST
    chosen = [m for m in models if slow and m.config._attn_implementation == _FUSED]
    for model in chosen:
        model.set_attn_implementation(_PLAIN)
    try:
        yield
    finally:
        for model in chosen:
            model.set_attn_implementation(_FUSED)
