"""Distil a BERT-like teacher into a tiny student that answers without PyTorch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tinybert._version import __version__
from tinybert.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    MissingExtraError,
    ShapeError,
    TinyBertError,
    UnsupportedModelError,
)

if TYPE_CHECKING:
    from tinybert import datasets, distill
    from tinybert.runtime import load
    from tinybert.tinybert import TinyBERT

__all__ = [
    "ArtifactError",
    "ConfigError",
    "DataError",
    "MissingExtraError",
    "ShapeError",
    "TinyBERT",
    "TinyBertError",
    "UnsupportedModelError",
    "__version__",
    "datasets",
    "distill",
    "load",
]

_TRAINING = ("TinyBERT", "datasets", "distill")
_PACKAGES = (
    "torch",
    "transformers",
    "datasets",
    "pydantic",
    "seqeval",
    "sklearn",
    "accelerate",
    "safetensors",
)


def __getattr__(name: str) -> Any:
    """Import ``load`` and the training side when they are first asked for."""
    if name == "load":
        return import_module("tinybert.runtime").load
    if name not in _TRAINING:
        raise AttributeError(f"module `tinybert` has no attribute `{name}`")
    try:
        module = import_module(f"tinybert.{name.lower()}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _PACKAGES:
            raise
        raise MissingExtraError(
            f"tinybert.{name} needs the package `{error.name}`; run: pip install 'tinybert[train]'"
        ) from error
    return module.TinyBERT if name == "TinyBERT" else module
