"""The one tokenizer that training batches and live requests both go through."""

import json
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate, count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer as _Backend

from tinybert.errors import ArtifactError, ConfigError, DataError

__all__ = ["Aligned", "PairFrame", "Tokenizer", "lone_surrogate", "pad_batch"]

_PAD_NAMES = ("[PAD]", "<pad>")


@dataclass(frozen=True)
class Aligned:
    """The tokens of a text, and which of them belong to its words.

    Args:
        ids, type_ids: Token ids and segment ids, T of each.
        firsts: Position of each word's first token, W of them; -1 where a word has none: it stands
            past ``max_length``, or nothing is left of it (a control character).
        spans: First character of each word in its text, and the one after its last.
    """

    ids: list[int]
    type_ids: list[int]
    firsts: list[int]
    spans: list[tuple[int, int]]


@dataclass(frozen=True)
class PairFrame:
    """What stands around the two texts of a pair.

    Args:
        before, between, after: Ids of the special tokens.
        types: Segment of the first text and of the second.
    """

    before: list[int]
    between: list[int]
    after: list[int]
    types: tuple[int, int]

    @property
    def size(self) -> int:
        """Number of special tokens."""
        return len(self.before) + len(self.between) + len(self.after)


class Tokenizer:
    """Turns texts, or pairs of texts, into token ids by a ``tokenizer.json``.

    Truncation rule: a single text keeps its first tokens; in a pair the longer text loses its last
    tokens first (``longest_first``). Special tokens always stay. No limit is read from the file:
    ``max_length`` is ours. May be shared by many threads.

    Args:
        folder: A folder with ``tokenizer.json`` (and ``tokenizer_config.json`` for the pad token).
        max_length: Longest sequence in tokens, special tokens included; at least 4.
        literal: Whether the name of a special token in a text, such as ``</s>``, is text.

    Raises:
        ArtifactError: The folder has no readable ``tokenizer.json`` or it has no pad token.
        ConfigError: ``max_length`` is below 4.
    """

    def __init__(self, folder: str | Path, *, max_length: int, literal: bool = False) -> None:
        if max_length < 4:
            raise ConfigError(f"max_length is {max_length}; wanted at least 4 tokens")
        path = Path(folder) / "tokenizer.json"
        if not path.is_file():
            raise ArtifactError(f"{path} does not exist; wanted a tokenizer in that folder")
        try:
            self._backend = _Backend.from_file(str(path))
        except Exception as error:  # the backend raises bare Exception for any damaged file
            raise ArtifactError(f"{path} cannot be read as a tokenizer: {error}") from error
        self.max_length = max_length
        self.pad_id = _pad_id(self._backend, Path(folder))
        self._backend.no_padding()
        self._backend.encode_special_tokens = literal
        self._backend.enable_truncation(max_length, strategy="longest_first")

    @cached_property
    def _whole(self) -> _Backend:
        """The same without truncation: a copy, for other threads use the first meanwhile."""
        backend = _Backend.from_str(self._backend.to_str())
        backend.encode_special_tokens = self._backend.encode_special_tokens
        backend.no_truncation()
        return backend

    @property
    def vocab_size(self) -> int:
        """Number of token ids, added tokens included."""
        return self._backend.get_vocab_size(with_added_tokens=True)

    def encode(
        self, texts: Sequence[str], texts2: Sequence[str] | None = None
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Tokenize texts, or pairs of texts, without padding.

        Args:
            texts: N texts.
            texts2: N second texts, or None for single texts.

        Returns:
            ``(ids, type_ids)``: for each text its token ids and its segment ids, in order, each
            at most ``max_length`` long.

        Raises:
            DataError: A text holds half of a surrogate pair.
        """
        batch = list(texts) if texts2 is None else list(zip(texts, texts2, strict=True))
        encodings = _encoded(self._backend.encode_batch_fast, batch)
        return [e.ids for e in encodings], [e.type_ids for e in encodings]

    def align(self, texts: Sequence[str | Sequence[str]]) -> list[Aligned]:
        """Tokenize texts that are tagged word by word, without padding.

        Args:
            texts: N texts. One that is given as a list of words is read with a space between them;
                one that is given whole is cut into words as its tokenizer cuts it before it makes
                pieces (BERT's: at spaces, around punctuation and around each Chinese character).

        Returns:
            N texts. Of one given whole, only words that begin within ``max_length`` are there.

        Raises:
            DataError: A text holds half of a surrogate pair.
        """
        whole = [text if isinstance(text, str) else " ".join(text) for text in texts]
        encodings = _encoded(self._backend.encode_batch, whole)
        return [
            _own_words(text, encoding)
            if isinstance(given, str)
            else _given_words(given, text, encoding)
            for given, text, encoding in zip(texts, whole, encodings, strict=True)
        ]

    def words(
        self, texts: Sequence[str], texts2: Sequence[str] | None = None
    ) -> list[list[tuple[int, int]]]:
        """Return to which word each token belongs, as ``encode`` cuts the texts.

        Returns:
            For each token the number of its text and that of its word in it, both from 0; −1 and a
            running number for special tokens.

        Raises:
            DataError: A text holds half of a surrogate pair.
        """
        batch = list(texts) if texts2 is None else list(zip(texts, texts2, strict=True))
        found = []
        for encoding in _encoded(self._backend.encode_batch, batch):
            special = count()
            pairs = zip(encoding.sequence_ids, encoding.word_ids, strict=True)
            found.append([(-1, next(special)) if w is None else (s or 0, w) for s, w in pairs])
        return found

    def untruncated_lengths(
        self, texts: Sequence[str], texts2: Sequence[str] | None = None
    ) -> list[int]:
        """Return how many tokens each text has before truncation, special tokens included."""
        batch = list(texts) if texts2 is None else list(zip(texts, texts2, strict=True))
        return [len(e.ids) for e in _encoded(self._whole.encode_batch_fast, batch)]

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Return each text's token ids, without special tokens and without truncation."""
        found = self._whole.encode_batch_fast(list(texts), add_special_tokens=False)
        return [e.ids for e in found]

    def whole_pieces(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Return each text's token ids and their places in it, in characters from 0.

        No special tokens, and nothing is cut off. A space before a piece is no part of it.

        Raises:
            DataError: A text holds half of a surrogate pair.
        """
        encode = partial(self._backend.encode_batch, add_special_tokens=False)
        found = []
        for text, encoding in zip(texts, _encoded(encode, list(texts)), strict=True):
            parts = [encoding, *encoding.overflowing]
            ids = [i for part in parts for i in part.ids]
            places = [_trimmed(text, *place) for part in parts for place in part.offsets]
            found.append((ids, places))
        return found

    def pair_frame(self) -> PairFrame:
        """Return the special tokens around the texts of a pair.

        Raises:
            ConfigError: ``max_length`` has no room for a pair.
        """
        pair = self._backend.encode("a", "a")
        order = pair.sequence_ids
        if 0 not in order or 1 not in order:
            raise ConfigError(f"max_length is {self.max_length}; wanted room for two texts")
        ends = [len(order) - order[::-1].index(k) for k in (0, 1)]
        starts = [order.index(k) for k in (0, 1)]
        return PairFrame(
            pair.ids[: starts[0]],
            pair.ids[ends[0] : starts[1]],
            pair.ids[ends[1] :],
            (pair.type_ids[starts[0]], pair.type_ids[starts[1]]),
        )

    def frame(self) -> tuple[list[int], list[int]]:
        """Return the special tokens that stand before and after every single text."""
        ids, inner = self.encode(["a"])[0][0], self.pieces(["a"])[0]
        count = len(ids) - len(inner)
        start = next((i for i in range(count + 1) if ids[i : i + len(inner)] == inner), count)
        return ids[:start], ids[start + len(inner) :]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where each token of a text stands in it, without truncation or special tokens.

        Raises:
            DataError: The text holds half of a surrogate pair.
        """
        encode = partial(self._whole.encode_batch, add_special_tokens=False)
        (found,) = _encoded(encode, [text])
        return list(found.offsets)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids; special tokens are left out."""
        return self._backend.decode(list(ids), skip_special_tokens=True)

    @property
    def vocabulary(self) -> dict[str, int]:
        """Token ids by piece, added tokens included."""
        return self._backend.get_vocab(with_added_tokens=True)

    def save(self, folder: str | Path) -> None:
        """Write ``tokenizer.json`` with this truncation and no padding into a folder."""
        self._backend.save(str(Path(folder) / "tokenizer.json"))


def _encoded(encode: Callable[[Any], list[Any]], batch: Sequence[Any]) -> list[Any]:
    """Return encodings of texts or pairs; name the text that is no Unicode."""
    try:
        return encode(batch)
    except TypeError:
        for i, parts in enumerate(batch):
            for text in (parts,) if isinstance(parts, str) else parts:
                if problem := lone_surrogate(text):
                    raise DataError(f"input {i} {problem}") from None
        raise


def _given_words(words: Sequence[str], text: str, encoding: Any) -> Aligned:
    """Find the first token of each given word."""
    ends = [end - 1 for end in accumulate(len(word) + 1 for word in words)]
    starts = [end - len(word) for end, word in zip(ends, words, strict=True)]
    firsts = [-1] * len(words)
    for position, offsets in enumerate(encoding.offsets):
        start, end = _trimmed(text, *offsets)
        word = bisect_right(starts, start) - 1
        if start < end and firsts[word] < 0:
            firsts[word] = position
    return Aligned(encoding.ids, encoding.type_ids, firsts, list(zip(starts, ends, strict=True)))


def _own_words(text: str, encoding: Any) -> Aligned:
    """Take the words of the tokenizer; one that is cut in two at the limit keeps its whole span."""
    firsts: list[int] = []
    spans: list[tuple[int, int]] = []
    last = None
    for position, (word, offsets) in enumerate(
        zip(encoding.word_ids, encoding.offsets, strict=True)
    ):
        start, end = _trimmed(text, *offsets)
        if word is None or start == end:
            continue
        if word != last:
            firsts.append(position)
            spans.append((start, end))
        spans[-1] = (spans[-1][0], end)
        last = word
    cut = bool(spans) and spans[-1][1] < len(text) and not text[spans[-1][1]].isspace()
    for rest in encoding.overflowing if cut else ():
        own = [offsets for word, offsets in zip(rest.word_ids, rest.offsets, strict=True)
               if word == last]  # fmt: skip
        if not own:
            break
        spans[-1] = (spans[-1][0], own[-1][1])
    return Aligned(encoding.ids, encoding.type_ids, firsts, spans)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Take the space before a piece out of its span; tokenizers of bytes count it in."""
    while start < end and text[start].isspace():
        start += 1
    return start, end


def lone_surrogate(text: str) -> str:
    """Say where a text holds half of a surrogate pair, which UTF-8 cannot write; else nothing.

    >>> lone_surrogate("smile " + chr(0xD83D))
    'holds U+D83D at character 7, half of a surrogate pair; wanted valid Unicode'
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        return (
            f"holds U+{code:04X} at character {error.start + 1}, half of a surrogate pair; "
            "wanted valid Unicode"
        )
    return ""


def pad_batch(
    ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]], pad_id: int
) -> dict[str, npt.NDArray[np.int64]]:
    """Pad B sequences to the longest of them.

    Args:
        ids: B sequences of token ids.
        type_ids: B sequences of segment ids, each as long as its ids.
        pad_id: Token id that fills the end.

    Returns:
        ``input_ids``, ``attention_mask`` (1 on tokens, 0 on padding) and ``token_type_ids``, each
        int64 of shape (B, T).
    """
    shape = (len(ids), max((len(row) for row in ids), default=0))
    batch = {
        "input_ids": np.full(shape, pad_id, dtype=np.int64),
        "attention_mask": np.zeros(shape, dtype=np.int64),
        "token_type_ids": np.zeros(shape, dtype=np.int64),
    }
    for i, (row, types) in enumerate(zip(ids, type_ids, strict=True)):
        batch["input_ids"][i, : len(row)] = row
        batch["attention_mask"][i, : len(row)] = 1
        batch["token_type_ids"][i, : len(row)] = types
    return batch


def _pad_id(backend: _Backend, folder: Path) -> int:
    """Find the pad token by the tokenizer's config, else by its usual names."""
    names = list(_PAD_NAMES)
    config = folder / "tokenizer_config.json"
    if config.is_file():
        token = json.loads(config.read_text(encoding="utf-8")).get("pad_token")
        token = token.get("content") if isinstance(token, dict) else token
        names = [token, *names] if token else names
    for name in names:
        found = backend.token_to_id(name)
        if found is not None:
            return int(found)
    raise ArtifactError(
        f"{folder / 'tokenizer.json'} has no pad token; wanted one of {', '.join(names)}"
    )
