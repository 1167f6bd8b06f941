"""Checkpoints of a training: when they are written and which of them stay."""

import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from tinybert.distill import processes

__all__ = ["Checkpoints", "drop_half_written", "written"]

_PAUSE = 600.0


class Checkpoints(TrainerCallback):
    """Writes checkpoints between measurements too: every ten minutes, and where Ctrl-C is pressed.

    Several processes would have to agree when; they write those at measurements alone.

    Args:
        folder: Where the checkpoints are.
        measured: How many of the last that were measured stay, beside the best and the newest one.
    """

    def __init__(self, folder: Path, measured: int) -> None:
        self._folder, self._measured = folder, measured
        self._asked = False
        self._saved = time.monotonic()

    @contextmanager
    def finishing_the_step(self) -> Iterator[None]:
        """Inside, Ctrl-C ends the training after a step whose checkpoint is written.

        A second one ends it at once. Threads other than the main one are not told of any.
        """
        if processes.count() > 1 or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT) or signal.default_int_handler

        def ask(*_: Any) -> None:
            self._asked = True
            signal.signal(signal.SIGINT, before)
            print("\nwriting a checkpoint; press Ctrl-C again to lose it", file=sys.stderr)

        signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Have a checkpoint written where one is due."""
        due = time.monotonic() - self._saved > _PAUSE
        if processes.count() == 1 and (self._asked or due):
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Remove what is no longer of use; end a training that was asked to."""
        self._saved = time.monotonic()
        if state.is_world_process_zero:
            found = written(self._folder)
            every, last = state.save_steps, state.max_steps
            told = [p for p in found if step_of(p) % every == 0 or step_of(p) == last]
            best = Path(state.best_model_checkpoint or "").name
            kept = {found[-1], *told[-self._measured :], self._folder / best}
            for path in set(found) - kept:
                shutil.rmtree(path)
        if self._asked:
            raise KeyboardInterrupt


def written(folder: Path) -> list[Path]:
    """Return the checkpoints there are, the oldest first."""
    return sorted(folder.glob("checkpoint-*"), key=step_of)


def step_of(checkpoint: Path) -> int:
    """Return the step after which a checkpoint was written."""
    return int(checkpoint.name.split("-")[1])


def drop_half_written(folder: Path) -> None:
    """Remove checkpoints that were cut off; the state file is written last, so it tells."""
    while (found := get_last_checkpoint(str(folder))) is not None:
        try:
            json.loads((Path(found) / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(found)
        else:
            return
