"""Writes texts greedily with ONNX files, and compares them with what PyTorch writes."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from transformers import GenerationConfig, PreTrainedModel

from tinybert.errors import ArtifactError
from tinybert.ship.merge import DECODER, ENCODER, MERGED, PAST
from tinybert.text import Tokenizer

__all__ = ["OnnxWriter", "Search", "compare", "greedy_tokens"]

_TIE = 1e-3
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Search:
    """Where an answer begins and ends.

    Args:
        start: Token id that the decoder begins with.
        eos, pad: Token ids of an answer's end and of padding, which is never written.
        longest: Most tokens of an answer.
        forced: Token id that every answer begins with; None leaves it free.
    """

    start: int
    eos: int
    pad: int
    longest: int
    forced: int | None = None


class OnnxWriter:
    """The ONNX files of an encoder-decoder.

    Args:
        folder: Where they are.
        suffix: ``_quantized`` takes the int8 files.
        merged: Take the decoder that is one file.
    """

    def __init__(self, folder: str | Path, *, suffix: str = "", merged: bool = False) -> None:
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3

        def load(name: str) -> onnxruntime.InferenceSession:
            path = str(Path(folder) / f"{name}{suffix}.onnx")
            return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])

        self._encoder, self._merged = load(ENCODER), merged
        self._decoder = load(MERGED if merged else DECODER)
        self._later = self._decoder if merged else load(PAST)
        names = [item.name for item in self._decoder.get_outputs()[1:]]
        self._past = [name.replace("present", "past_key_values") for name in names]
        shapes = {item.name: item.shape for item in self._later.get_inputs()}
        self._empty = {name: (shapes[name][1], 0, shapes[name][3]) for name in self._past}

    def encode(self, ids: Ids, mask: Ids) -> npt.NDArray[np.float32]:
        """Return states (B, S, D) of sources (B, S)."""
        (found,) = self._encoder.run(None, {"input_ids": ids, "attention_mask": mask})
        return np.asarray(found)

    def step(
        self, tokens: Ids, states: npt.NDArray[np.float32], mask: Ids, past: dict[str, Any]
    ) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Return logits (B, T, V) and the cache.

        Args:
            tokens: (B, T); with a past the newest alone, (B, 1).
            states, mask: Of the source.
            past: The cache; empty at the start.
        """
        given: dict[str, Any] = {"input_ids": tokens, "encoder_attention_mask": mask} | past
        if not past or self._merged:
            given["encoder_hidden_states"] = states
        if self._merged:
            given["use_cache_branch"] = np.array([bool(past)])
            if not past:
                sizes = {name: (len(tokens), *size) for name, size in self._empty.items()}
                given |= {name: np.zeros(size, np.float32) for name, size in sizes.items()}
        session = self._later if past else self._decoder
        names = [item.name for item in session.get_outputs()]
        found = dict(zip(names, session.run(names, given), strict=True))
        logits = np.asarray(found.pop("logits"))
        cache = {name.replace("present", "past_key_values"): x for name, x in found.items()}
        return logits, past | cache


def greedy_tokens(writer: OnnxWriter, ids: Ids, mask: Ids, search: Search) -> list[list[int]]:
    """Return the likeliest tokens one after another for B sources, each with its end."""
    states = writer.encode(ids, mask)
    past: dict[str, Any] = {}
    tokens = np.full((len(ids), 1), search.start)
    answers: list[list[int]] = [[] for _ in ids]
    for step in range(search.longest):
        logits, past = writer.step(tokens, states, mask, past)
        logits[:, :, search.pad] = -np.inf
        tokens = logits[:, -1:].argmax(axis=-1)
        if step == 0 and search.forced is not None:
            tokens[:] = search.forced
        for answer, token in zip(answers, tokens[:, 0].tolist(), strict=True):
            if answer[-1:] != [search.eos]:
                answer.append(token)
        if all(answer[-1] == search.eos for answer in answers):
            break
    return answers


def compare(
    network: PreTrainedModel,
    tokenizer: Tokenizer,
    folder: Path,
    texts: Sequence[str],
    *,
    longest: int,
) -> dict[str, Any]:
    """Return how far ONNX files write what PyTorch writes.

    PyTorch answers each text alone, ONNX Runtime all of them in one padded batch. In float32 the
    answers must be the same token for token; where PyTorch's two likeliest tokens are within 0.001
    of each other either is right.

    Args:
        network: In eval mode.
        tokenizer: Of sources.
        folder: The ONNX files.
        texts: N texts.
        longest: Most tokens of an answer.

    Returns:
        ``texts``, ``same_answers``, ``ties``, and ``int8_same_answers`` and ``int8_same_tokens``:
        the shares of the answers, and of the next tokens after PyTorch's, that int8 finds too.

    Raises:
        ArtifactError: An answer differs.
    """
    config: Any = network.config
    forced = getattr(network.generation_config, "forced_bos_token_id", None)
    search = Search(
        int(config.decoder_start_token_id),
        int(config.eos_token_id),
        tokenizer.pad_id,
        longest,
        forced,
    )
    rows = tokenizer.encode(list(texts))[0]
    width = max(map(len, rows))
    ids = np.array([[*row, *[search.pad] * (width - len(row))] for row in rows])
    mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    wanted, gaps = _torch_answers(network, rows, search)
    ties = 0
    for merged in (False, True):
        found = greedy_tokens(OnnxWriter(folder, merged=merged), ids, mask, search)
        ties = max(ties, _check(found, wanted, gaps, texts, merged))
    int8 = OnnxWriter(folder, suffix="_quantized", merged=True)
    written = greedy_tokens(int8, ids, mask, search)
    plain = OnnxWriter(folder, suffix="_quantized")
    return {
        "texts": len(texts),
        "same_answers": 1 - ties / len(texts),
        "ties": ties,
        "int8_same_answers": sum(map(list.__eq__, written, wanted)) / len(texts),
        "int8_same_tokens": _same_tokens(plain, ids, mask, wanted, search),
    }


def _torch_answers(
    network: PreTrainedModel, rows: Sequence[Sequence[int]], search: Search
) -> tuple[list[list[int]], list[Any]]:
    """Return PyTorch's answer to each source alone, and its logits (T, V)."""
    plain: Any = copy.deepcopy(network)
    plain.generation_config = GenerationConfig(
        max_new_tokens=search.longest,
        num_beams=1,
        do_sample=False,
        decoder_start_token_id=search.start,
        eos_token_id=search.eos,
        pad_token_id=search.pad,
        forced_bos_token_id=search.forced,
        suppress_tokens=[search.pad],
        output_logits=True,
        return_dict_in_generate=True,
    )
    answers, logits = [], []
    for row in rows:
        found = plain.generate(torch.tensor([row]))
        answers.append(found.sequences[0, 1:].tolist())
        logits.append(torch.cat(found.logits).numpy())
    return answers, logits


def _check(
    found: list[list[int]],
    wanted: list[list[int]],
    logits: list[Any],
    texts: Sequence[str],
    merged: bool,
) -> int:
    """Return the number of answers that differ by a tie; refuse any other."""
    ties = 0
    for own, right, scores, text in zip(found, wanted, logits, texts, strict=True):
        if own == right:
            continue
        at = next(i for i, (a, b) in enumerate(zip(own, right, strict=False)) if a != b)
        gap = float(scores[at][right[at]] - scores[at][own[at]])
        if gap > _TIE:
            name = MERGED if merged else DECODER
            raise ArtifactError(
                f"{name}.onnx writes other tokens than PyTorch for {text[:60]!r}: token {at + 1} "
                f"is {own[at]}, wanted {right[at]}, which is ahead by {gap:.2g}; nothing was "
                "written"
            )
        ties += 1
    return ties


def _same_tokens(
    writer: OnnxWriter, ids: Ids, mask: Ids, answers: list[list[int]], search: Search
) -> float:
    """Return the share of tokens of the answers that a model finds after those before them."""
    width = max(map(len, answers))
    right = np.array([[*row, *[search.pad] * (width - len(row))] for row in answers])
    given = np.concatenate([np.full((len(answers), 1), search.start), right[:, :-1]], axis=1)
    logits, _ = writer.step(given, writer.encode(ids, mask), mask, {})
    logits[:, :, search.pad] = -np.inf
    found = logits.argmax(axis=-1)
    if search.forced is not None:
        found[:, 0] = search.forced
    real = right != search.pad
    return float((found == right)[real].mean())
