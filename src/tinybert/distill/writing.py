"""What a model that writes texts learns from: rows, batches, the loss, the measure on dev."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinybert import text_metrics
from tinybert.bart import has_two_tables
from tinybert.ctranslate import token_lists, write_ctranslate2
from tinybert.distill.forward import real_logits
from tinybert.distill.writer_layers import WriterLayers
from tinybert.losses.sequence import log_probabilities, next_token_loss, smoothed_loss
from tinybert.pairs import PairData
from tinybert.runtime.carried import carrying
from tinybert.runtime.generation import Decoding, Generator
from tinybert.text import Tokenizer

__all__ = [
    "Batches",
    "Top",
    "WritingObjective",
    "dev_quality",
    "open_model",
    "prefix_of",
    "rows",
]

_SHOWN = {
    "summarization": ("rougeL", "rouge1", "length_ratio"),
    "translation": ("chrf", "bleu", "length_ratio"),
}


@dataclass(frozen=True)
class Top:
    """The teacher's likeliest next tokens at each of the W places of all targets.

    Args:
        ids: Int32 (W, K).
        probabilities: Float16 (W, K).
    """

    ids: npt.NDArray[np.int32]
    probabilities: npt.NDArray[np.float16]


def rows(
    sources: Sequence[str],
    targets: Sequence[Sequence[str]],
    weights: Sequence[Sequence[float]],
    tokenizers: tuple[Tokenizer, Tokenizer],
    model: PreTrainedModel,
) -> Dataset:
    """Return rows to learn from.

    Args:
        sources: N texts.
        targets: What shall be written for each: one text or several.
        weights: What each target counts.
        tokenizers: Of sources and of targets; they differ in their limits.
        model: Says what its decoder begins with, which a target does not repeat, and what every
            target begins with, such as a language's token.

    Returns:
        Columns ``input_ids``; of each target ``labels``, ``weights`` and ``places``: where its
        tokens begin among the W places of all targets; ``length``, and ``order``, by which rows of
        like targets and sources are neighbors.
    """
    ids = tokenizers[0].encode(list(sources))[0]
    flat = iter(_labels([text for row in targets for text in row], tokenizers[1], model))
    labels = [[next(flat) for _ in row] for row in targets]
    sides = [(len(own), max(map(len, row))) for own, row in zip(ids, labels, strict=True)]
    longest = 1 + max((max(pair) for pair in sides), default=0)
    ends = iter(np.cumsum([len(one) for row in labels for one in row]))
    columns = {
        "input_ids": ids,
        "labels": labels,
        "weights": [list(row) for row in weights],
        "places": [[int(next(ends)) - len(one) for one in row] for row in labels],
        "length": [len(own) + sum(map(len, row)) for own, row in zip(ids, labels, strict=True)],
        "order": [max(pair) * longest + min(pair) for pair in sides],
    }
    return Dataset.from_dict(columns)


def _labels(texts: list[str], tokenizer: Tokenizer, model: PreTrainedModel) -> list[list[int]]:
    """Return the next tokens of targets."""
    start = int(model.config.decoder_start_token_id)
    forced = getattr(model.generation_config, "forced_bos_token_id", None)
    labels = tokenizer.encode(texts)[0]
    if forced is not None:
        before = len(tokenizer.frame()[0])
        room = tokenizer.max_length - 2
        labels = [[int(forced), *row[before:-1][:room], row[-1]] for row in labels]
    return [row[1:] if row[:1] == [start] else row for row in labels]


class Batches:
    """Turns rows into one padded batch of tensors.

    Args:
        pad: Token id of padding.
        start: Token id that the decoder begins with.
        top: The teacher's next tokens; None where none are learned from.
    """

    def __init__(self, pad: int, start: int, top: Top | None = None) -> None:
        self._pad, self._start, self._top = pad, start, top

    def __call__(self, batch: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Return a batch of B sources and their R targets, padded to the longest of each.

        ``source``, int64 (R,), says which source each target belongs to.
        """
        ids = _padded([row["input_ids"] for row in batch], self._pad)
        targets = [one for row in batch for one in row["labels"]]
        labels = _padded(targets, self._pad)
        lengths = torch.tensor([len(one) for one in targets])
        before = torch.full_like(labels[:, :1], self._start)
        source_lengths = torch.tensor([len(row["input_ids"]) for row in batch])
        found = {
            "input_ids": ids,
            "attention_mask": (torch.arange(ids.shape[1]) < source_lengths[:, None]).long(),
            "decoder_input_ids": torch.cat([before, labels[:, :-1]], dim=1),
            "labels": labels,
            "pad_mask": torch.arange(labels.shape[1]) >= lengths[:, None],
            "source": torch.tensor([i for i, row in enumerate(batch) for _ in row["labels"]]),
            "weights": torch.tensor([float(one) for row in batch for one in row["weights"]]),
        }
        if self._top is not None:
            shape = (*labels.shape, self._top.ids.shape[1])
            tops = torch.zeros(shape, dtype=torch.int64), torch.ones(shape)
            places = [one for row in batch for one in row["places"]]
            for i, (place, one) in enumerate(zip(places, targets, strict=True)):
                count = len(one)
                span = slice(place, place + count)
                tops[0][i, :count] = torch.from_numpy(self._top.ids[span].astype(np.int64))
                given = self._top.probabilities[span].astype(np.float32)
                tops[1][i, :count] = torch.from_numpy(given)
            found |= {"top_ids": tops[0], "top_probabilities": tops[1]}
        return found


class WritingObjective(nn.Module):
    """Cross-entropy of the targets, and the divergence from the teacher's next tokens.

    L = (1 - α)·L_smoothed + α·L_next + those of the layers

    Args:
        model: The encoder-decoder.
        smoothing: ε of the cross-entropy.
        word_level: α, 0..1; above 0 batches must hold the teacher's next tokens.
        layers: The teacher's layers; None learns from none.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        smoothing: float = 0.0,
        word_level: float = 0.0,
        layers: WriterLayers | None = None,
    ) -> None:
        super().__init__()
        self.model, self._smoothing, self._word_level = model, smoothing, word_level
        self._layers = layers

    def forward(
        self,
        labels: Tensor,
        pad_mask: Tensor,
        weights: Tensor,
        top_ids: Tensor | None = None,
        top_probabilities: Tensor | None = None,
        **inputs: Tensor,
    ) -> Mapping[str, Any]:
        """Return the loss.

        Args:
            labels: Int64 (R, T), the next tokens.
            pad_mask: Bool (R, T), True on padding.
            weights: Float (R,), what each target counts.
            top_ids, top_probabilities: Int64 and float (R, T, K), the teacher's likeliest tokens.
            inputs: ``input_ids``, ``attention_mask`` (B, S), ``source`` (R,), ``decoder_input_ids``
                (R, T).
        """
        real = ~pad_mask
        more: dict[str, Tensor] = {}
        if self._layers is not None:
            out, more = self._layers.losses(self.model, inputs, pad_mask)
            logits = out.logits[real]
        else:
            logits = real_logits(self.model, inputs, real)
        each, ids = weights[:, None].expand(real.shape)[real], labels[real][:, None]
        if self._word_level and top_ids is not None:
            ids = torch.cat([ids, top_ids[real]], dim=1)
        found, mean = log_probabilities(logits, ids)
        loss = smoothed_loss(found[:, 0], mean, self._smoothing, each)
        parts = {"target": loss.detach()}
        if self._word_level and top_probabilities is not None:
            next_token = next_token_loss(found[:, 1:], top_probabilities[real], each)
            parts["next_token"] = next_token.detach()
            loss = (1 - self._word_level) * loss + self._word_level * next_token
        for name, value in more.items():
            loss = loss + value
            parts[name] = value.detach()
        return {"loss": loss, "parts": parts}

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the weights; of several names of one tensor the first."""
        found = super().state_dict(*args, **kwargs)
        seen: set[tuple[int, tuple[int, ...]]] = set()
        kept = {}
        for name, value in found.items():
            key = (value.data_ptr(), tuple(value.shape))
            if key not in seen or not value.numel():
                kept[name] = value
            seen.add(key)
        return kept

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load what ``state_dict`` returned."""
        missing = sorted(set(self.state_dict()) - set(state_dict))
        if strict and missing:
            raise RuntimeError(f"weights are missing: {', '.join(missing)}")
        found = super().load_state_dict(state_dict, strict=False, assign=assign)
        return type(found)(missing, found.unexpected_keys)


def open_model(
    model: PreTrainedModel,
    tokenizers: tuple[Tokenizer, Tokenizer],
    folder: str | Path,
    *,
    batch_size: int = 64,
) -> Generator:
    """Write a model for CTranslate2, in float32, and load it to answer with."""
    source, target = tokenizers
    tokens = token_lists(model, source.vocabulary, target.vocabulary)
    write_ctranslate2(model, tokens, folder, int8=False)
    return Generator(
        folder,
        source,
        target=target if has_two_tables(model) else None,
        prefix=prefix_of(model, tokens[1]),
        threads=None,
        batch_size=batch_size,
    )


def prefix_of(model: PreTrainedModel, tokens: Sequence[str]) -> list[str]:
    """Return the tokens that every answer of a model begins with."""
    settings: Any = model.generation_config
    forced = getattr(settings, "forced_bos_token_id", None) if settings is not None else None
    return [tokens[forced]] if forced is not None else []


def dev_quality(
    model: PreTrainedModel,
    tokenizers: tuple[Tokenizer, Tokenizer],
    data: PairData,
    *,
    count: int,
    longest: int,
    carried: bool = False,
) -> Callable[[], dict[str, float]]:
    """Return a function that measures a model's likeliest answers on the first dev rows.

    ``distinct`` says how many answers differ where sources do: 0 where all are alike, as before a
    model has learned to look at its sources, 1 where none are.

    Args:
        model: The model; it may change between calls.
        tokenizers: Of sources and of targets.
        data: The pairs.
        count: Most rows to measure on.
        longest: Most tokens of an answer.
        carried: Whether marks stand for numbers and addresses meanwhile.
    """
    held = data.dev.select(range(min(count, len(data.dev))))
    sources, references = list(held["source"]), list(held["references"])
    others = len(set(sources)) - 1

    def measure() -> dict[str, float]:
        training = model.training
        model.eval()
        with tempfile.TemporaryDirectory() as place:
            write = open_model(model, tokenizers, Path(place) / "model")
            answer = carrying(write) if carried else write
            found = answer(sources, Decoding(beams=1, max_tokens=longest), 1)
        model.train(training)
        answers = [one[0].text for one in found]
        figures = text_metrics.measure(data.task, answers, references, sources)
        distinct = (len(set(answers)) - 1) / others if others else 1.0
        return {name: figures[name] for name in _SHOWN[data.task]} | {"distinct": distinct}

    return measure


def _padded(sequences: Sequence[Sequence[int]], pad: int) -> Tensor:
    """Return sequences as one tensor, int64 (B, T)."""
    longest = max(len(row) for row in sequences)
    return torch.tensor([[*row, *[pad] * (longest - len(row))] for row in sequences])
