"""Averages the weights of checkpoints."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

__all__ = ["take_average"]

_WEIGHTS = "model.safetensors"


def take_average(
    module: nn.Module,
    checkpoints: Sequence[Path],
    measure: Callable[[], dict[str, float]],
    metric: str,
) -> bool:
    """Give a module the mean of the checkpoints' weights, where that measures better.

    Args:
        module: Keeps its own weights where the mean is no better.
        checkpoints: Folders that the trainer wrote.
        measure: Measures the module.
        metric: Which figure decides; more is better.

    Returns:
        Whether the mean was taken.

    Source: Vaswani et al. 2017, section 6.1.
    Differs: only where it is better on dev.
    """
    if len(checkpoints) < 2:
        return False
    own = {name: value.clone() for name, value in module.state_dict().items()}
    before = measure()[metric]
    total = {name: torch.zeros_like(v, dtype=torch.float64) for name, v in own.items()}
    for folder in checkpoints:
        for name, value in load_file(folder / _WEIGHTS).items():
            total[name] += value.to(total[name].device)
    mean = {n: (v / len(checkpoints)).to(own[n].dtype) for n, v in total.items()}
    module.load_state_dict(mean)
    if measure()[metric] > before:
        return True
    module.load_state_dict(own)
    return False
