"""How far a long step has come: a bar on a terminal, a line a minute elsewhere."""

import math
import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

__all__ = ["SILENCE", "Progress", "time_left"]

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


class Progress:
    """Shows the progress of N parts.

    Args:
        what: What is being done.
        total: N.
        done: Parts that were there before.
    """

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        self._what, self._total, self._done, self._before = what, total, done, done
        self._begun = self._told = time.monotonic()
        self._lines = not sys.stderr.isatty()
        self._bar = tqdm(total=total, initial=done, desc=what, disable=self._lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def add(self, count: int) -> None:
        """Count parts that have been done."""
        self._bar.update(count)
        self._done += count
        now = time.monotonic()
        if self._lines and now - self._told >= SILENCE:
            self._told = now
            new, left = self._done - self._before, self._total - self._done
            pace = time_left(now - self._begun, new, left)
            print(f"  {self._what}: {self._done:,} of {self._total:,}{pace}", flush=True)
