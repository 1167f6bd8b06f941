"""Leaves out of an artifact what nobody can reach: positions past its limit, spaces in its JSON."""

import json
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from tinybert.artifact import write_atomic
from tinybert.distill.infer import longest_input
from tinybert.errors import UnsupportedModelError
from tinybert.layout import layout_of

__all__ = ["compact_json", "cut_positions", "limit_length"]

_LEAST = 32


def cut_positions(network: PreTrainedModel, max_length: int) -> None:
    """Leave a model, in place, with the position embeddings of inputs up to a length.

    Args:
        network: A model with an encoder; one of an unknown layout is left as it is.
        max_length: Longest input in tokens; below 32, those of 32 stay.
    """
    try:
        embeddings: Any = layout_of(network.config).encoder(network).get_submodule("embeddings")
    except (UnsupportedModelError, AttributeError):
        return
    surplus = longest_input(network.config) - max(_LEAST, max_length)
    if surplus <= 0:
        return
    old = embeddings.position_embeddings
    count = old.num_embeddings - surplus
    embeddings.position_embeddings = nn.Embedding.from_pretrained(
        old.weight.detach()[:count].clone(), freeze=False, padding_idx=old.padding_idx
    )
    for name, buffer in list(embeddings.named_buffers(recurse=False)):
        setattr(embeddings, name, buffer[..., :count].clone())
    config: Any = network.config
    config.max_position_embeddings = count


def limit_length(folder: Path, max_length: int) -> None:
    """Say in ``tokenizer_config.json`` how many tokens a model takes, for other libraries."""
    path = folder / "tokenizer_config.json"
    about = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    text = json.dumps(about | {"model_max_length": max_length}, indent=2, ensure_ascii=False)
    write_atomic(path, (text + "\n").encode())


def compact_json(path: Path) -> None:
    """Rewrite a JSON file without spaces between its values."""
    content = json.loads(path.read_text(encoding="utf-8"))
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    write_atomic(path, text.encode())
