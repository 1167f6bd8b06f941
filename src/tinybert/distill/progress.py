"""How far a long step has come: a bar on a terminal, a line a minute elsewhere."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

__all__ = ["SILENCE", "progress", "time_left"]

SILENCE = 60.0


def time_left(seconds: float, done: int, left: int) -> str:
    """Say how long the rest takes at the pace so far; nothing where neither is known.

    Args:
        seconds: What ``done`` parts took.
        done, left: Parts that are done, and those that are not.
    """
    if not done or not left:
        return ""
    return f"; about {math.ceil(seconds / done * left / 60)} min left"


@contextmanager
def progress(what: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show the progress of N parts; yield a function that is told how many more are done.

    Args:
        what: What is being done.
        total: N.
        done: Parts that were there before.
    """
    begun = told = time.monotonic()
    terminal, now_done = sys.stderr.isatty(), done
    with tqdm(total=total, initial=done, desc=what, disable=not terminal) as bar:

        def add(count: int) -> None:
            nonlocal now_done, told
            bar.update(count)
            now_done, now = now_done + count, time.monotonic()
            if not terminal and now - told >= SILENCE:
                told = now
                pace = time_left(now - begun, now_done - done, total - now_done)
                print(f"  {what}: {now_done:,} of {total:,}{pace}", flush=True)

        yield add
