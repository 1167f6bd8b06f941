"""Sentence encoders: an encoder whose token states are pooled into one vector a text."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from huggingface_hub import snapshot_download
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinybert.distill.infer import batches_by_length, has_types, load_classifier, resolve
from tinybert.distill.published import reason
from tinybert.distill.teach import save_model
from tinybert.errors import UnsupportedModelError
from tinybert.layout import layout_of
from tinybert.text import Tokenizer, pad_batch

__all__ = ["Pooling", "SentenceEncoder", "encode", "load_encoder", "pooling_of", "save_encoder"]

Pooling = Literal["mean", "cls"]
_MODES: dict[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
_KINDS = "sentence_transformers.models"
_MODULES = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))


class SentenceEncoder(nn.Module):
    """An encoder that gives one vector of length 1 a text.

    v = pool(states) / |pool(states)|

    Args:
        encoder: A bare encoder.
        pooling: ``mean`` of the states of real tokens, or ``cls``: the first token's.

    Source: Reimers and Gurevych 2019, "Sentence-BERT", section 3.
    """

    def __init__(self, encoder: PreTrainedModel, pooling: Pooling) -> None:
        super().__init__()
        self.encoder, self.pooling = encoder, pooling
        self.takes_types = has_types(encoder)

    @property
    def width(self) -> int:
        """Numbers a vector."""
        return int(self.encoder.config.hidden_size)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Return vectors of length 1.

        Args:
            input_ids: Int64 (B, T).
            attention_mask: Int64 (B, T), 1 on tokens.
            token_type_ids: Int64 (B, T); not read by encoders without segments.

        Returns:
            Float (B, E).
        """
        types = {"token_type_ids": token_type_ids} if self.takes_types else {}
        states = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, **types
        ).last_hidden_state
        if self.pooling == "cls":
            return F.normalize(states[:, 0], dim=-1)
        mask = attention_mask[:, :, None].to(states.dtype)
        total = (states * mask).sum(dim=1)
        return F.normalize(total / mask.sum(dim=1).clamp(min=1), dim=-1)


def load_encoder(model: str | Path, pooling: Pooling | None = None) -> SentenceEncoder:
    """Load a sentence encoder, or any encoder as one.

    Args:
        model: A folder or hub id, of sentence-transformers or a bare encoder.
        pooling: None takes what the folder's ``1_Pooling/config.json`` says, else the mean.

    Returns:
        The encoder in eval mode.

    Raises:
        UnsupportedModelError: No such model, an unknown architecture, or another kind of pooling.
    """
    classifier = load_classifier(model)
    encoder: Any = layout_of(classifier.config).encoder(classifier)
    return SentenceEncoder(encoder, pooling or pooling_of(resolve(model))).eval()


def pooling_of(source: str | Path) -> Pooling:
    """Return how a model of sentence-transformers pools; the mean where it does not say.

    Args:
        source: Folder or hub id.

    Raises:
        UnsupportedModelError: It pools in another way, or changes its vectors after that.
    """
    folder = _described(source)
    others = [kind for kind in _module_kinds(folder) if kind not in dict(_MODULES).values()]
    if others:
        raise UnsupportedModelError(
            f"{source} has the modules {', '.join(others)}; wanted vectors as "
            f"{', '.join(dict(_MODULES).values())} make them"
        )
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    values = _read(path)
    if not isinstance(values, dict):
        raise UnsupportedModelError(f"{path} holds no JSON object")
    modes = [name for name, on in values.items() if name.startswith("pooling_mode_") and on]
    if len(modes) != 1 or modes[0] not in _MODES:
        raise UnsupportedModelError(
            f"{path} pools by {', '.join(modes) or 'nothing'}; wanted one of {', '.join(_MODES)}"
        )
    return _MODES[modes[0]]


def _described(source: str | Path) -> Path:
    """Return the folder that says what a model does to its states; of a hub id only that."""
    if Path(source).is_dir():
        return Path(source)
    try:
        patterns = ["modules.json", "1_Pooling/config.json"]
        return Path(snapshot_download(str(source), allow_patterns=patterns))
    except (OSError, ValueError) as error:
        raise UnsupportedModelError(f"{source} cannot be loaded: {reason(error)}") from error


def _module_kinds(folder: Path) -> list[str]:
    """Return the kinds of the modules that a folder lists."""
    path = folder / "modules.json"
    values = _read(path) if path.is_file() else []
    try:
        return [str(module["type"]).rpartition(".")[2] for module in values]
    except (TypeError, KeyError) as error:
        raise UnsupportedModelError(f"{path} is no list of modules: {error}") from error


def _read(path: Path) -> Any:
    """Read a JSON file of a model."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnsupportedModelError(f"{path} is no JSON: {error}") from error


def save_encoder(model: SentenceEncoder, source: str | Path, folder: str | Path) -> None:
    """Write a folder that ``AutoModel``, sentence-transformers and ``load_encoder`` read.

    Args:
        model: The sentence encoder.
        source: Where its tokenizer is.
        folder: The folder; an older one is replaced when the new one is whole.
    """
    place = Path(folder)
    whole = place.with_name(f".{place.name}.whole")
    save_model(model.encoder, source, whole)
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"{_KINDS}.{kind}"}
        for i, (path, kind) in enumerate(_MODULES)
    ]
    pooled = {
        "word_embedding_dimension": model.width,
        "pooling_mode_cls_token": model.pooling == "cls",
        "pooling_mode_mean_tokens": model.pooling == "mean",
    }
    for name, values in (("modules.json", modules), ("1_Pooling/config.json", pooled)):
        path = whole / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(place, ignore_errors=True)
    whole.rename(place)


def encode(
    model: SentenceEncoder, tokenizer: Tokenizer, texts: Sequence[str], *, batch_size: int = 32
) -> npt.NDArray[np.float32]:
    """Return the vectors of texts, float32 (N, E), in order; sorted by length inside."""
    ids, types = tokenizer.encode(list(texts), None)
    vectors = np.zeros((len(ids), model.width), dtype=np.float32)
    device, training = next(model.parameters()).device, model.training
    model.eval()
    with torch.inference_mode():
        for rows in batches_by_length([len(row) for row in ids], batch_size):
            batch = pad_batch([ids[i] for i in rows], [types[i] for i in rows], tokenizer.pad_id)
            tensors = {name: torch.from_numpy(x).to(device) for name, x in batch.items()}
            vectors[rows] = model(**tensors).float().cpu().numpy()
    model.train(training)
    return vectors
