"""What a folder holds: an artifact, a Hugging Face model or a run."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open

from tinybert.artifact import CARD, WRITTEN, Card, check_files, read_card
from tinybert.distill.infer import resolve
from tinybert.distill.published import read_config
from tinybert.errors import ArtifactError
from tinybert.layout import sizes_of
from tinybert.runtime.engines import engine_name

__all__ = ["info"]


def info(path: str | Path) -> dict[str, Any]:
    """Describe a folder.

    Args:
        path: An artifact, a run, or a Hugging Face model's folder.

    Returns:
        By name: kind, sizes, labels, parameters, files in MB, quality and parity, as far as the
        folder tells.

    Raises:
        ArtifactError: The folder is none of these, or a damaged artifact.
    """
    place = Path(path)
    if (place / CARD).is_file():
        return _artifact(place)
    if (place / "run.json").is_file():
        return _run(place)
    place = Path(resolve(path))
    if (place / "config.json").is_file():
        return _model(place)
    raise ArtifactError(f"{path} is no artifact, run or model; wanted a folder with {CARD}")


def _artifact(place: Path) -> dict[str, Any]:
    card = read_card(place)
    check_files(place, card)
    return {
        "kind": "artifact",
        "task": card.task,
        "labels": list(card.labels),
        "pair": card.pair,
        "max_length": card.max_length,
        **({"reading": dict(card.reading)} if card.reading else {}),
        "parameters": card.parameters,
        **_sizes(place),
        "model": card.model,
        "engine": _engine(place, card),
        "files_mb": _megabytes(place),
        "teacher": card.teacher,
        "metrics": dict(card.metrics),
        "parity": dict(card.parity),
        "tinybert": card.tinybert,
        "format": card.format,
    }


def _run(place: Path) -> dict[str, Any]:
    found = json.loads((place / "run.json").read_text(encoding="utf-8"))
    parts = ("student", "artifact")
    return {
        "kind": "run",
        **found,
        **{part: info(place / part) for part in parts if (place / part).is_dir()},
    }


def _model(place: Path) -> dict[str, Any]:
    counts = {"embeddings": 0, "layers": 0, "head": 0}
    for file in sorted(place.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as weights:
            for name in weights.keys():  # noqa: SIM118 - no mapping, only keys()
                size = 1
                for axis in weights.get_slice(name).get_shape():
                    size *= axis
                counts[_part(name)] += size
    return {
        "kind": "model",
        **_sizes(place),
        "parameters": sum(counts.values()),
        **{f"parameters_{name}": count for name, count in counts.items()},
        "files_mb": _megabytes(place),
    }


def _part(name: str) -> str:
    """Return the part of a model that a weight belongs to, by its name."""
    if any(word in name for word in ("embeddings", "embedding.", "embed_", "shared.")):
        return "embeddings"
    return "layers" if ".layer." in name or ".layers." in name else "head"


def _engine(place: Path, card: Card) -> str:
    """Return what would run an artifact."""
    if card.task in WRITTEN:
        return "ctranslate2"
    return engine_name(place, card.model, max_length=card.max_length)


def _sizes(place: Path) -> dict[str, Any]:
    """Return layers, widths and vocabulary of a config."""
    config = read_config(place)
    return {"architecture": config.model_type, **sizes_of(config)}


def _megabytes(place: Path) -> dict[str, float]:
    """Return the sizes of all files in MB (10⁶ bytes)."""
    files = (p for p in sorted(place.rglob("*")) if p.is_file())
    return {str(p.relative_to(place)): round(p.stat().st_size / 1e6, 3) for p in files}
