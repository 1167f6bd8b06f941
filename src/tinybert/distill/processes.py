"""Steps that the first of several training processes takes for all of them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta

import torch
from accelerate import PartialState

__all__ = ["count", "first_alone", "is_first", "spoken_once"]

# The others wait for the first one while a teacher answers all texts.
_PATIENCE = timedelta(days=7)
_alone: ContextVar[bool] = ContextVar("alone", default=False)


def count() -> int:
    """Return how many processes train together, as ``torchrun`` or ``accelerate launch`` say."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that writes files and talks."""
    return os.environ.get("RANK", "0") == "0"


def spoken_once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Return what says a thing in the first process and nothing in the others."""
    return say if is_first() else lambda _: None


@contextmanager
def first_alone() -> Iterator[bool]:
    """Yield True in the first process and False in the others; all enter and leave together.

    What the others read before is read when the first one begins, and what it wrote inside lies on
    the disk when they go on. Inside of it, where the others are not, another one waits for nobody.
    """
    if count() == 1 or _alone.get():
        yield True
        return
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)
    state.wait_for_everyone()
    token = _alone.set(is_first())
    try:
        yield is_first()
    finally:
        _alone.reset(token)
        state.wait_for_everyone()
