"""The files that hold a teacher's outputs: which of them lie where."""

from collections.abc import Sequence
from pathlib import Path

__all__ = ["cached", "label_of"]


def cached(folder: Path, key: str) -> dict[str, Path]:
    """Return which outputs lie in the cache, and in which file."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob(f"teacher-{key}.*.arrow")):
        found |= dict.fromkeys(_named(path.name.split(".")[1]), path)
    return found


def label_of(names: Sequence[str]) -> str:
    """Return output names so short that they fit into the name of a file: hidden_0-4-8+scores_2."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kind, _, number = name.partition("_")
        kinds.setdefault(kind, []).append(number)
    return "+".join(f"{kind}_{'-'.join(numbers)}" for kind, numbers in kinds.items())


def _named(label: str) -> list[str]:
    """Return the output names that ``label_of`` was given."""
    parts = (part.partition("_") for part in label.split("+"))
    return [f"{kind}_{number}" for kind, _, numbers in parts for number in numbers.split("-")]
