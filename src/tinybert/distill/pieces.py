"""Candidates for a word from a model: neighbors of its embedding, or guesses where it is masked."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer as Backend
from torch import Tensor
from transformers import AutoModelForMaskedLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from tinybert.distill.infer import batches_by_length, longest_input, resolve, save_tokenizer
from tinybert.distill.words import Split, fits, is_chinese, is_word
from tinybert.errors import UnsupportedModelError
from tinybert.text import pad_batch

__all__ = ["EmbeddingNeighbors", "MaskedWords", "Propose", "Slot", "read_backend"]

Slot = tuple[int, int]
Propose = Callable[[Sequence[Split], Sequence[Slot]], list[Sequence[str]]]

_BATCH = 64
_SPARE = 8


class EmbeddingNeighbors:
    """Proposes the words whose embeddings have the largest cosine with a word's own.

    Words of several pieces get no candidates, and none is proposed.

    Args:
        backend: The model's tokenizer.
        table: Word embeddings, float (V, E).
        count: K, candidates a word.
    """

    def __init__(self, backend: Backend, table: Tensor, count: int) -> None:
        self._pieces = _Pieces(backend, len(table))
        self._table, self._count = F.normalize(table, dim=1), count
        self._found: dict[str, Sequence[str]] = {}

    def __call__(self, splits: Sequence[Split], slots: Sequence[Slot]) -> list[Sequence[str]]:
        """Return the neighbors of each slot's word."""
        words = [splits[i].words[j] for i, j in slots]
        new = sorted(set(words) - self._found.keys())
        for start in range(0, len(new), 1024):
            block = new[start : start + 1024]
            ids = self._pieces.ids(block)
            self._found |= {word: () for word, i in zip(block, ids, strict=True) if i is None}
            asked = [(word, i) for word, i in zip(block, ids, strict=True) if i is not None]
            scores = self._table[[i for _, i in asked]] @ self._table.T
            names = [word for word, _ in asked]
            found = self._pieces.best(names, scores, self._count)
            self._found |= dict(zip(names, found, strict=True))
        return [self._found[word] for word in words]


class MaskedWords:
    """Proposes what a masked language model puts in a word's place in its own sentence.

    Every word is masked alone. Nothing stands beside its sentence: the model cannot copy the word
    from there. Many words of many texts share a forward pass, and only the masked positions pass
    through the model's head.

    Args:
        model: Folder or hub id of a masked language model.
        count: K, candidates a word.
        fallback: Proposes for words of several pieces, and for those beyond the longest input.

    Raises:
        UnsupportedModelError: The model has no masked-language-model head, or no mask token.

    Source: Jiao et al. 2020, Algorithm 1.
    Differs: the official code puts the unmasked sentence beside the masked one as a second segment,
        which draws the model towards the word itself, and runs a forward pass for every word.
    """

    def __init__(self, model: str | Path, count: int, fallback: Propose) -> None:
        self._model = _load_masked(model)
        with TemporaryDirectory() as folder:
            save_tokenizer(model, folder)
            self._backend = read_backend(folder)
        self._mask = _special(self._backend, model, "[MASK]", "<mask>")
        self._pad = _special(self._backend, model, "[PAD]", "<pad>")
        self._pieces = _Pieces(self._backend, int(self._model.config.vocab_size))
        self._backend.enable_truncation(longest_input(self._model.config))
        self._count, self._fallback = count, fallback

    def __call__(self, splits: Sequence[Split], slots: Sequence[Slot]) -> list[Sequence[str]]:
        """Return the model's best words for each slot."""
        used = sorted({i for i, _ in slots})
        encoded = dict(
            zip(used, self._backend.encode_batch([splits[i].join() for i in used]), strict=True)
        )
        spans = {i: splits[i].spans() for i in used}
        at = [_only_token(encoded[i].offsets, spans[i][j]) for i, j in slots]
        known = {n for n, (i, _) in enumerate(slots) if self._is_piece(encoded[i].ids, at[n])}
        found: list[Sequence[str]] = [()] * len(slots)
        rest = [n for n in range(len(slots)) if n not in known]
        for n, other in zip(rest, self._fallback(splits, [slots[n] for n in rest]), strict=True):
            found[n] = other
        order = sorted(known)
        for picked in batches_by_length([len(encoded[slots[n][0]].ids) for n in order], _BATCH):
            numbers = [order[k] for k in picked]
            positions = [position for n in numbers if (position := at[n]) is not None]
            rows = [list(encoded[slots[n][0]].ids) for n in numbers]
            for row, position in zip(rows, positions, strict=True):
                row[position] = self._mask
            scores = self._scores(rows, positions)
            words = [splits[slots[n][0]].words[slots[n][1]] for n in numbers]
            best = self._pieces.best(words, scores, self._count)
            for n, candidates in zip(numbers, best, strict=True):
                found[n] = candidates
        return found

    def _is_piece(self, ids: Sequence[int], position: int | None) -> bool:
        return position is not None and ids[position] in self._pieces.words

    def _scores(self, rows: list[list[int]], positions: list[int]) -> Tensor:
        """Return the logits (B, V) at one position of each row."""
        batch = pad_batch(rows, [[0] * len(row) for row in rows], self._pad)
        device = self._model.device
        tensors = {
            name: torch.from_numpy(batch[name]).to(device)
            for name in ("input_ids", "attention_mask")
        }
        index = torch.tensor(positions, device=device)

        def only(_module: Any, _inputs: Any, output: Any) -> Any:
            states = output.last_hidden_state
            output.last_hidden_state = states[torch.arange(len(index)), index][:, None]
            return output

        handle = self._model.base_model.register_forward_hook(only)
        try:
            with torch.inference_mode():
                logits: Tensor = self._model(**tensors).logits[:, 0].float().cpu()
        finally:
            handle.remove()
        return logits


class _Pieces:
    """The pieces of a tokenizer that are whole words."""

    def __init__(self, backend: Backend, size: int) -> None:
        self._backend = backend
        self._before = "" if _puts_a_space(backend) else " "
        ids = sorted(i for i in backend.get_vocab(with_added_tokens=False).values() if i < size)
        texts = [text.strip() for text in backend.decode_batch([[i] for i in ids])]
        candidates = [(i, text) for i, text in zip(ids, texts, strict=True) if is_word(text)]
        alone = self._encode([text for _, text in candidates])
        self.words = {i: t for (i, t), found in zip(candidates, alone, strict=True) if found == i}
        self._allowed = {
            script: torch.tensor(
                [i in self.words and is_chinese(self.words[i]) == script for i in range(size)]
            )
            for script in (True, False)
        }

    def ids(self, words: Sequence[str]) -> list[int | None]:
        """Return the piece that each word is, or None."""
        return [i if i in self.words else None for i in self._encode(words)]

    def best(self, words: Sequence[str], scores: Tensor, count: int) -> list[Sequence[str]]:
        """Return each word's best other words in its own script.

        Args:
            words: N words.
            scores: Float (N, V), larger is better.
            count: K.
        """
        if not words:
            return []
        rows = torch.stack([self._allowed[is_chinese(word)] for word in words])
        values, ids = scores.masked_fill(~rows, -torch.inf).topk(
            min(count + _SPARE, scores.shape[1]), dim=1
        )
        found: list[Sequence[str]] = []
        for word, row, kept in zip(words, ids.tolist(), values > -torch.inf, strict=True):
            texts = [self.words[i] for i, yes in zip(row, kept.tolist(), strict=True) if yes]
            found.append([text for text in texts if fits(word, text)][:count])
        return found

    def _encode(self, words: Sequence[str]) -> list[int | None]:
        """Return the one id that a word inside a sentence has, None where it has several."""
        texts = [self._before + word for word in words]
        found = self._backend.encode_batch(texts, add_special_tokens=False)
        return [encoding.ids[0] if len(encoding.ids) == 1 else None for encoding in found]


def _puts_a_space(backend: Backend) -> bool:
    """Whether a tokenizer puts a space before a text, where there is one too: SentencePiece's."""
    lengths = []
    for text in ("a", " a"):
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        parts = [(text, (0, 0))]
        if backend.pre_tokenizer is not None:
            parts = backend.pre_tokenizer.pre_tokenize_str(text)
        lengths.append(sum(len(part) for part, _ in parts))
    return 1 < lengths[0] < lengths[1]


def read_backend(folder: str | Path) -> Backend:
    """Read a folder's ``tokenizer.json``, without padding and truncation."""
    backend = Backend.from_file(str(Path(folder) / "tokenizer.json"))
    backend.no_padding()
    backend.no_truncation()
    return backend


def _only_token(offsets: Sequence[tuple[int, int]], span: tuple[int, int]) -> int | None:
    """Return the token that covers a word alone, or None."""
    start, end = span
    inside = [n for n, (a, b) in enumerate(offsets) if a < end and b > start]
    return inside[0] if len(inside) == 1 and offsets[inside[0]][1] == end else None


def _load_masked(model: str | Path) -> PreTrainedModel:
    """Load a masked language model in eval mode; a model without such a head is refused."""
    quiet = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        loaded, about = AutoModelForMaskedLM.from_pretrained(
            resolve(model), use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UnsupportedModelError(
            f"{model} cannot be loaded as a masked language model: {reason}"
        ) from error
    finally:
        transformers_logging.set_verbosity(quiet)
    if missing := sorted(about["missing_keys"]):
        raise UnsupportedModelError(
            f"{model} has no masked-language-model head ({missing[0]} is missing); "
            "wanted a model that was trained on masked words"
        )
    found: Any = loaded.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return cast(PreTrainedModel, found)


def _special(backend: Backend, model: str | Path, *names: str) -> int:
    """Return the id of a special token by its usual names."""
    for name in names:
        found = backend.token_to_id(name)
        if found is not None:
            return int(found)
    raise UnsupportedModelError(f"{model} has none of the tokens {', '.join(names)}")
