"""Turns a published checkpoint of an older layout into a folder of today's."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel, AutoModelForSequenceClassification

from tinybert.artifact import new_folder
from tinybert.distill.infer import load_report
from tinybert.distill.published import (
    BROKEN,
    brief,
    holds_classifier,
    left_out,
    read_config,
    reason,
    write_tokenizer,
)
from tinybert.distill.writers import copy_vocabulary, missing_weights
from tinybert.errors import ConfigError, UnsupportedModelError
from tinybert.layout import Layout, layout_of

__all__ = ["convert"]

_PICKLES = "pytorch_model*.bin"
_JUNK = ("cell", "emb_size", "pre_trained", "structure", "training")


def convert(folder: str | Path, to: str | Path, say: Callable[[str], None] = print) -> Path:
    """Write a published checkpoint as safetensors with today's names, config and tokenizer.

    ``pytorch_model.bin`` is read by torch's restricted unpickler, which knows tensors and plain
    values and runs no code. Old names are renamed, weights that the model has no place for are
    named and left out. A whole classifier stays one, so does a model that writes texts; of anything
    else the bare encoder is kept. The new folder is built beside ``to``, loaded once, and renamed
    when it is whole.

    Args:
        folder: A downloaded checkpoint with ``config.json``, weights and vocabulary.
        to: The folder to write; it must be missing or empty.
        say: Told what was left out and what is missing.

    Returns:
        The new folder.

    Raises:
        ConfigError: ``to`` holds something already.
        UnsupportedModelError: No checkpoint, one that holds more than tensors, lacks weights of the
            encoder, or whose config or tokenizer cannot be read.

    Differs: the official TinyBERT code puts a ReLU between pooler and classifier. No Hugging Face
        head has it, so the classifier of its checkpoints is left out.
    """
    source, target = Path(folder), Path(to)
    _check(source, target)
    tensors = _read(source)
    config = read_config(source, tensors)
    if getattr(config, "is_encoder_decoder", False):
        return _convert_writer(source, target, tensors)
    layout = layout_of(config)
    kept, extra = _fit(source, config, layout, tensors)
    with new_folder(target, replace=False) as partial:
        save_file(kept, partial / "model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(partial)
        write_tokenizer(source, config, partial)
        fresh = load_report(partial).fresh
    if extra:
        say(f"left out: {left_out(extra)}")
    if missing := [name for name in fresh if name.startswith(f"{layout.base}.")]:
        say(f"missing, made anew when the model is loaded: {brief(missing)}")
    return target


def _convert_writer(source: Path, target: Path, tensors: dict[str, Tensor]) -> Path:
    """Write an encoder-decoder with the files of its tokenizer."""
    with new_folder(target, replace=False) as partial:
        once = {(value.data_ptr(), value.shape): name for name, value in [*tensors.items()][::-1]}
        apart = {name: tensors[name].clone().contiguous() for name in once.values()}
        save_file(apart, partial / "model.safetensors", metadata={"format": "pt"})
        for pattern in ("*.json", "*.spm", "*.model"):
            for path in source.glob(pattern):
                shutil.copyfile(path, partial / path.name)
        (partial / "model.safetensors.index.json").unlink(missing_ok=True)
        missing = missing_weights(partial)
        if missing:
            raise UnsupportedModelError(f"{source} lacks weights: {brief(missing)}")
        copy_vocabulary(partial, partial)
    return target


def _check(source: Path, target: Path) -> None:
    """Refuse what is no folder to read, or no place to write."""
    if not source.is_dir():
        raise UnsupportedModelError(
            f"{source} is not a folder; wanted a downloaded checkpoint "
            "(`hf download ID --local-dir FOLDER`)"
        )
    if not (source / "config.json").is_file():
        raise UnsupportedModelError(
            f"{source} has no config.json; wanted a Hugging Face model folder"
        )
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise ConfigError(f"{target} is not an empty folder; choose another one")


def _read(source: Path) -> dict[str, Tensor]:
    """Read all tensors of a folder: safetensors, or else pickles of tensors alone."""
    safe, pickles = (sorted(source.glob(glob)) for glob in ("*.safetensors", _PICKLES))
    if not safe and not pickles:
        raise UnsupportedModelError(
            f"{source} has no weights; wanted *.safetensors or pytorch_model.bin"
        )
    found: dict[str, Tensor] = {}
    for path in safe or pickles:
        try:
            found |= load_file(path) if safe else _unpickle(path)
        except (EOFError, *BROKEN) as error:
            raise UnsupportedModelError(
                f"{path} cannot be read: {reason(error)}; download it again"
            ) from error
    return found


def _unpickle(path: Path) -> dict[str, Tensor]:
    """Read a pickle by torch's restricted unpickler; anything but named tensors is refused."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"asks for `{wanted[1]}`" if wanted else "is no file of tensors"
        raise UnsupportedModelError(
            f"{path} {what}; wanted tensors alone, so it was not read"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise UnsupportedModelError(f"{path} holds no table of named tensors; it was not used")
    return found


def _fit(
    source: Path, config: Any, layout: Layout, tensors: dict[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights under today's names, and the names of those left out."""
    names = {name: layout.todays_name(name) for name in tensors if "position_ids" not in name}
    whole = holds_classifier(config, tensors)
    outer = f"{layout.head_outer}.weight"
    count = next((len(tensors[old]) for old, name in names.items() if name == outer), 0)
    if whole and count != config.num_labels:
        config.num_labels = count
    for name in _JUNK:
        config.__dict__.pop(name, None)
    kind: Any = AutoModelForSequenceClassification if whole else AutoModel
    with torch.device("meta"):
        model = kind.from_config(config)
    prefix = "" if whole else f"{layout.base}."
    shapes = {prefix + name: value.shape for name, value in model.state_dict().items()}
    kept, extra, problems = {}, [], []
    for old, name in names.items():
        if name not in shapes or name.removeprefix(prefix) in kept:
            extra.append(old)
        elif tensors[old].shape != shapes[name]:
            found, wanted = (" × ".join(map(str, s)) for s in (tensors[old].shape, shapes[name]))
            problems.append(f"{old} is {found}, config.json wants {wanted}")
        else:
            kept[name.removeprefix(prefix)] = tensors[old].clone().contiguous()
    if problems:
        raise UnsupportedModelError(f"{source} does not fit its config.json: {'; '.join(problems)}")
    config.architectures = [type(model).__name__]
    return kept, extra
