"""Lets a student learn with the numbers that its int8 artifact will have."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from tinybert.artifact import SMALL
from tinybert.layout import layout_of

__all__ = ["quantized", "rounded_columns", "rounded_inputs", "rounded_rows"]


@contextmanager
def quantized(student: PreTrainedModel, *, table_bits: int = 8) -> Iterator[None]:
    """Compute with rounded weights and inputs, as ``ship.quantize`` rounds them.

    Gradients pass through the rounding. Afterwards the student's weights are the rounded ones, so
    that quantizing it changes nothing but the inputs of its matrix products.

    Args:
        student: A classifier, changed in place.
        table_bits: Bits of a word embedding, 8 or 4.

    Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference", section 3; the gradient: Bengio et al. 2013.
    """
    words = layout_of(student.config).encoder(student).get_submodule("embeddings.word_embeddings")
    rounded, hooks = [], []
    for module in list(student.modules()):
        if not isinstance(module, nn.Linear | nn.Embedding) or module.weight.numel() < SMALL:
            continue
        rule: Callable[[Tensor], Tensor] = rounded_columns
        if isinstance(module, nn.Embedding):
            bits = table_bits if module is words else 8
            rule = _rows(bits)
        else:
            hooks.append(module.register_forward_pre_hook(_round_input))
        if module.weight.requires_grad:
            parametrize.register_parametrization(module, "weight", _Through(rule))
            rounded.append(module)
        else:
            with torch.no_grad():
                module.weight.copy_(rule(module.weight))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module in rounded:
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def rounded_columns(weight: Tensor) -> Tensor:
    """Round a matrix (N, K) to int8 steps, one scale for each of its N outputs.

    See ``ship.quantize.quantize_columns``, whose matrix is this one turned.
    """
    padded = F.pad(weight, (0, weight.shape[1] % 2))
    sums = [part.clamp(min=0)[:, 0::2] + part.clamp(min=0)[:, 1::2] for part in (padded, -padded)]
    pairs = torch.maximum(sums[0], sums[1]).amax(dim=1, keepdim=True)
    most = torch.maximum(weight.abs().amax(dim=1, keepdim=True), pairs)
    return _rounded(weight, most / 127, 127)


def rounded_rows(table: Tensor, bits: int = 8) -> Tensor:
    """Round a table (V, D) to steps of so many bits, a scale for each row and each column."""
    top = 2 ** (bits - 1) - 1
    columns = table.abs().amax(dim=0, keepdim=True).clamp(min=1e-12)
    shares = table / columns
    return _rounded(shares, shares.abs().amax(dim=1, keepdim=True) / top, top) * columns


def rounded_inputs(states: Tensor) -> Tensor:
    """Round states (..., D) to 256 steps from the lowest to the highest number of each token."""
    low, high = states.amin(dim=-1, keepdim=True), states.amax(dim=-1, keepdim=True)
    scale = (high - low).clamp(min=1e-9) / 255
    return ((states - low) / scale).round() * scale + low


def _rounded(values: Tensor, scale: Tensor, top: int) -> Tensor:
    """Return values as whole multiples of their scale, at most ``top`` of them."""
    safe = scale.clamp(min=1e-12)
    return (values / safe).round().clamp(-top, top) * safe


def _rows(bits: int) -> Callable[[Tensor], Tensor]:
    return lambda table: rounded_rows(table, bits)


def _round_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Round what a matrix product reads; the gradient passes through."""
    states = inputs[0].float()
    return (states + (rounded_inputs(states) - states).detach(), *inputs[1:])


class _Through(nn.Module):
    """A weight, rounded by a rule; the gradient passes through."""

    def __init__(self, rule: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._rule = rule

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self._rule(weight) - weight).detach()
