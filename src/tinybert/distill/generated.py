"""Lets a teacher of any architecture write its answers through PyTorch."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from tinybert.distill.infer import batches_by_length
from tinybert.runtime.generation import Decoding, Hypothesis
from tinybert.text import Tokenizer

__all__ = ["TorchWriter"]


class TorchWriter:
    """Answers as ``runtime.Generator`` does, many times slower: for T5 and other architectures.

    Args:
        model: An encoder-decoder of Hugging Face.
        tokenizer: Of sources, and of targets where they have none of their own.
        target: The tokenizer of targets.
        batch_size: Texts that run together.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Tokenizer,
        *,
        target: Tokenizer | None = None,
        batch_size: int = 16,
    ) -> None:
        self._model: Any = model
        self._tokenizer, self._target = tokenizer, target or tokenizer
        self._batch_size = batch_size

    def __call__(self, texts: Sequence[str], decoding: Decoding) -> list[list[Hypothesis]]:
        """Answer N texts, each cut at the tokenizer's ``max_length``; the best answer of each."""
        ids = self._tokenizer.encode(list(texts))[0]
        found: list[list[Hypothesis]] = [[] for _ in ids]
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model.to(device)
        beams: dict[str, Any] = {}
        if decoding.beams > 1:
            beams = {"early_stopping": True, "length_penalty": decoding.length_penalty}
        for rows in batches_by_length([len(row) for row in ids], self._batch_size):
            longest = max(len(ids[i]) for i in rows)
            pad = self._tokenizer.pad_id
            batch = torch.tensor([[*ids[i], *[pad] * (longest - len(ids[i]))] for i in rows])
            lengths = torch.tensor([len(ids[i]) for i in rows])
            with torch.inference_mode():
                written = self._model.generate(
                    batch.to(device),
                    attention_mask=(torch.arange(longest) < lengths[:, None]).long().to(device),
                    num_beams=decoding.beams,
                    max_new_tokens=decoding.max_tokens,
                    do_sample=False,
                    no_repeat_ngram_size=decoding.no_repeat,
                    repetition_penalty=decoding.repetition_penalty,
                    **beams,
                )
            for i, row in zip(rows, written.tolist(), strict=True):
                found[i] = [Hypothesis(self._target.decode(row), 0.0)]
        self._model.to("cpu")
        return found
