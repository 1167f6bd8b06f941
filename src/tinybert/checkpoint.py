"""The Transformer's settings, checked, and the folder that holds them beside its weights."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeGuard

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from tinybert.artifact import write_atomic
from tinybert.errors import ArtifactError, ConfigError, near_miss

__all__ = ["TransformerConfig", "layer_counts", "load_checkpoint", "save_checkpoint", "whole"]

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
FORMAT = 1
MODEL_TYPE = "tinybert_transformer"


@dataclass(frozen=True)
class TransformerConfig:
    """The sizes of a ``TinyBERT``; its arguments say what each one means.

    Raises:
        ConfigError: Sizes that are out of range or do not divide; all are named.
    """

    d_model: int
    nhead: int
    num_encoder_layers: int
    num_decoder_layers: int
    dim_feedforward: int
    num_tokens: int
    dropout: float
    emb_dim: int

    def __post_init__(self) -> None:
        problems = []
        for field in fields(self):
            value, least = getattr(self, field.name), int(field.name != "num_decoder_layers")
            if field.name != "dropout" and (not _is_whole(value) or value < least):
                problems.append(f"{field.name} is {value!r}; wanted a whole number from {least}")
        real = isinstance(self.dropout, int | float) and not isinstance(self.dropout, bool)
        if not real or not 0 <= self.dropout < 1:
            problems.append(f"dropout is {self.dropout!r}; wanted 0 to below 1")
        if not problems and self.d_model % self.nhead:
            problems.append(f"d_model {self.d_model} is not a multiple of nhead {self.nhead}")
        if not problems and self.emb_dim % 2:
            problems.append(
                f"emb_dim is {self.emb_dim}; wanted an even number, sines and cosines come in pairs"
            )
        if problems:
            raise ConfigError("; ".join(problems))


def layer_counts(both: int | None, encoder: int | None, decoder: int | None) -> tuple[int, int]:
    """Return the layers of encoder and decoder.

    Args:
        both: ``num_layers``: the count of every stack there is; None or 0 says nothing.
        encoder: ``num_encoder_layers``; None takes ``both``.
        decoder: ``num_decoder_layers``; None or 0 is no decoder.

    Returns:
        The two counts.

    Raises:
        ConfigError: No count, or one that differs from ``both``.

    >>> layer_counts(2, None, None), layer_counts(0, 6, 2), layer_counts(2, 2, 2)
    ((2, 0), (6, 2), (2, 2))
    """
    if not both:
        if encoder is None:
            raise ConfigError("num_layers and num_encoder_layers are both missing; give one")
        return encoder, decoder or 0
    for name, count in (("num_encoder_layers", encoder), ("num_decoder_layers", decoder or None)):
        if count is not None and count != both:
            raise ConfigError(
                f"num_layers is {both!r} but {name} is {count!r}; wanted the same number, "
                "or num_layers=None and a count for each"
            )
    return both, decoder or 0


def whole(name: str, value: object) -> int:
    """Return a value that has to be an int.

    Raises:
        ConfigError: It is none.

    >>> whole("d_model", 312)
    312
    """
    if not _is_whole(value):
        raise ConfigError(f"{name} is {value!r}; wanted a whole number")
    return value


def save_checkpoint(
    folder: str | Path, config: TransformerConfig, weights: Mapping[str, Tensor]
) -> None:
    """Write weights, then settings, each file whole or not at all.

    Args:
        folder: Where they go; made if missing.
        config: The settings.
        weights: Tensors by name; none shares memory with another one.

    Raises:
        ConfigError: ``folder`` is a file.
    """
    root = Path(folder)
    if root.is_file():
        raise ConfigError(f"{root} is a file; wanted a folder to write")
    root.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    values = {"model_type": MODEL_TYPE, "format": FORMAT, **asdict(config)}
    write_atomic(root / WEIGHTS, safetensors.torch.save(tensors))
    write_atomic(root / CONFIG, (json.dumps(values, indent=2) + "\n").encode())


def load_checkpoint(folder: str | Path) -> tuple[TransformerConfig, dict[str, Tensor]]:
    """Read what ``save_checkpoint`` wrote; nothing is unpickled.

    Args:
        folder: The folder.

    Returns:
        Settings, and tensors by name.

    Raises:
        ArtifactError: A file is missing or damaged, or comes from a newer version.
        ConfigError: A setting is unknown or out of range.
    """
    root = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (root / name).is_file():
            what = f"has no {name}" if root.is_dir() else "is not a folder"
            raise ArtifactError(f"{folder} {what}; wanted a folder written by save_pretrained")
    config = _read_config(root / CONFIG)
    try:
        return config, safetensors.torch.load_file(root / WEIGHTS)
    except SafetensorError as error:
        raise ArtifactError(f"{root / WEIGHTS} is damaged: {error}; save it again") from error


def _read_config(path: Path) -> TransformerConfig:
    """Read the settings; each one must be there and known."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path} is not valid JSON: {error}; save it again") from error
    if not isinstance(values, dict):
        raise ArtifactError(f"{path} holds no object; save it again")
    kind, version = values.pop("model_type", None), values.pop("format", None)
    if kind != MODEL_TYPE:
        raise ArtifactError(f"{path}: model_type is {kind!r}; wanted {MODEL_TYPE!r}")
    if not _is_whole(version) or not 1 <= version <= FORMAT:
        raise ArtifactError(
            f"{path} has format {version!r}, this tinybert reads 1 to {FORMAT}; "
            "upgrade tinybert or save it again"
        )
    names = [field.name for field in fields(TransformerConfig)]
    for name in values:
        if name not in names:
            raise ConfigError(f"unknown setting `{name}` in {path}{near_miss(name, names)}")
    missing = [name for name in names if name not in values]
    if missing:
        raise ArtifactError(f"{path} lacks {', '.join(missing)}; save it again")
    try:
        return TransformerConfig(**values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is an int and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)
