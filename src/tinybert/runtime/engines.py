"""Chooses what runs an artifact's model: the package's own engine, or ONNX Runtime."""

import os
from pathlib import Path

from tinybert.artifact import INT8
from tinybert.engine import Engine, UnknownGraphError, best_isa, is_built
from tinybert.errors import ConfigError

__all__ = ["ENGINES", "engine_name", "open_native"]

ENGINES = ("auto", "native", "onnx")
_ASKED = "TINYBERT_ENGINE"


def open_native(
    folder: str | Path, model: str, *, max_length: int, engine: str = "auto", optimize: bool = True
) -> Engine | None:
    """Open an artifact's model in the package's own engine where it can and may run there.

    Args:
        folder: The artifact.
        model: Its model file, relative to the folder.
        max_length: Longest input in tokens.
        engine: ``native``, ``onnx``, or ``auto``: the environment variable ``TINYBERT_ENGINE``, and
            without it the own engine wherever it knows the model and the processor has one of its
            quick instruction sets.
        optimize: Off where the graph must run as it was exported; ``auto`` is then ``onnx``.

    Returns:
        The engine; None where ONNX Runtime shall answer.

    Raises:
        ArtifactError: The model file is damaged.
        ConfigError: The engine has another name, or ``native`` cannot run this model.
    """
    asked = engine
    if asked == "auto":
        asked = os.environ.get(_ASKED) or "auto"
    if asked not in ENGINES:
        raise ConfigError(f"engine is `{asked}`; wanted one of {', '.join(ENGINES)}")
    if asked == "onnx" or (asked == "auto" and not (optimize and _is_quick())):
        return None
    problem = "" if model == INT8 else "it runs int8 models only"
    problem = problem or ("" if is_built() else "it was not built when tinybert was installed")
    if not problem:
        try:
            return Engine(Path(folder) / model, max_length=max_length)
        except UnknownGraphError as error:
            problem = f"it does not know {error}"
    if asked == "auto":
        return None
    raise ConfigError(f"engine native cannot run {Path(folder) / model}: {problem}; take `onnx`")


def engine_name(folder: str | Path, model: str, *, max_length: int) -> str:
    """Return what would run an artifact: ``native`` and its instruction set, or ``onnx``."""
    found = open_native(folder, model, max_length=max_length)
    return f"native ({found.isa})" if found else "onnx"


def _is_quick() -> bool:
    """Whether the engine is there and faster than ONNX Runtime, or a set was asked for."""
    return is_built() and (best_isa() != "plain" or bool(os.environ.get("TINYBERT_ISA")))
