"""The report of a run: what was won, what was lost, and how that was measured."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinybert.artifact import write_atomic
from tinybert.data import TaskData, load_saved
from tinybert.errors import ConfigError
from tinybert.ship.figures import figures
from tinybert.ship.page import render
from tinybert.ship.systems import open_run
from tinybert.ship.table import print_table

__all__ = ["print_table", "report"]


def report(run: str | Path, *, split: str | None = None, rounds: int = 3) -> Path:
    """Compare teacher, student and artifact with their baselines, and write what was found.

    Args:
        run: Folder of a finished run.
        split: Split to measure on; None takes test if there is one, else dev.
        rounds: Fresh processes for each model that is timed.

    Returns:
        ``report.html`` in the run's folder; ``report.json`` beside it holds the same figures.

    Raises:
        ArtifactError: The folder holds no finished run, or a model in it cannot be loaded.
        ConfigError: The data have no such split.
    """
    opened = open_run(run)
    data = load_saved(run)
    found, plots = figures(opened, data, _split(data, split), rounds=rounds)
    path = opened.folder / "report.html"
    write_atomic(path, render(found, plots).encode())
    text = json.dumps(_finite(found), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(opened.folder / "report.json", (text + "\n").encode())
    return path


def _split(data: TaskData, split: str | None) -> str:
    """Choose the split to measure on."""
    there = data.splits()
    if split is None:
        return "test" if "test" in there else "dev"
    if split not in there:
        raise ConfigError(f"split is `{split}`; {data.name} has {', '.join(there)}")
    return split


def _finite(value: Any) -> Any:
    """Replace numbers that JSON cannot hold by None."""
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
