"""The folder of a run: opened for one recipe and its texts, with the versions that made it."""

import hashlib
import platform
import tomllib
from collections.abc import Iterable
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tinybert._version import __version__
from tinybert.artifact import write_atomic
from tinybert.distill import recipe as recipes
from tinybert.distill.processes import first_alone
from tinybert.errors import ConfigError

__all__ = ["hold_texts", "open_folder", "versions"]

_FREE = ("out", "search", "ship")
_TEXTS = Path("stages", "texts.sha256")
_PACKAGES = ("torch", "transformers", "datasets", "tokenizers", "numpy")


def open_folder(recipe: Any) -> Path:
    """Create the run's folder, or go on with one of the same recipe.

    What decides no training may differ: where the folder is, what is shipped within which limits,
    and how a shipped writer searches, so that no other artifact costs a whole run. A folder that
    holds the recipe alone was refused before anything was made; any other recipe takes its place.

    Args:
        recipe: Of any kind; its ``out`` is the folder.

    Raises:
        ConfigError: The folder holds a run with other settings; they are named.
    """
    run = Path(recipe.out)
    path = run / "recipe.toml"
    if path.is_file() and _begun(run):
        old = _resolved(recipe, tomllib.loads(path.read_text(encoding="utf-8")))
        new = recipe.model_dump(exclude_none=True, mode="json")
        changed = sorted(_differences(old, new))
        if changed:
            raise ConfigError(
                f"{run} holds a run with other settings ({', '.join(changed)}); "
                "choose another --out, or remove that folder"
            )
    with first_alone() as first:
        if first:
            run.mkdir(parents=True, exist_ok=True)
            if not _begun(run):
                (run / _TEXTS).unlink(missing_ok=True)
            recipes.save(recipe, path)
    return run


def _begun(run: Path) -> bool:
    """Whether anything was made in a folder but its recipe and the hash of its texts."""
    files = (found for found in run.rglob("*") if found.is_file())
    return any(found not in (run / "recipe.toml", run / _TEXTS) for found in files)


def hold_texts(run: Path, *texts: Iterable[str]) -> None:
    """Remember what a run learns from, or refuse to go on where that has changed.

    What is kept of texts in order, such as a teacher's answers, would else be taken for others.

    Args:
        run: Of ``open_folder``.
        texts: Columns of texts; labels may be among them.

    Raises:
        ConfigError: The run was begun with others.
    """
    found = hashlib.sha256()
    for text in chain(*texts):
        found.update(text.encode("utf-8", "surrogatepass") + b"\0")
    path = run / _TEXTS
    with first_alone() as first:
        if first and not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, found.hexdigest().encode())
    if path.read_text(encoding="utf-8") != found.hexdigest():
        raise ConfigError(
            f"{run} was begun with other texts or labels than its files hold now; choose another "
            "--out, or remove that folder"
        )


def versions() -> dict[str, str]:
    """Return the versions that decide what a run makes."""
    found = {"tinybert": __version__, "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in _PACKAGES}


def _resolved(recipe: Any, old: dict[str, Any]) -> dict[str, Any]:
    """Give settings that an older version did not know the value that they have unless set."""
    try:
        found = type(recipe).model_validate(old)
    except ValidationError:
        return old
    return dict(found.model_dump(exclude_none=True, mode="json"))


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted names under which two recipes differ."""
    found = []
    for name in (old.keys() | new.keys()) - ({*_FREE} if not prefix else set()):
        a, b = old.get(name), new.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append(prefix + name)
    return found
