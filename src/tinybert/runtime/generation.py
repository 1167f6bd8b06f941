"""Writes texts with an encoder-decoder: beams, n-best, one token after another."""

import atexit
import math
import re
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from tinybert.artifact import TARGET, Card, check_files
from tinybert.errors import ArtifactError, ConfigError, MissingExtraError
from tinybert.runtime.sentences import Piece, pack
from tinybert.text import Tokenizer

__all__ = ["Decoding", "Generator", "Hypothesis", "open_artifact", "windows"]


_MOST_BEAMS = 1000
_ALONE = re.compile(
    r"[\s\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)


@dataclass(frozen=True)
class Decoding:
    """How answers are searched for.

    Args:
        beams: Hypotheses kept at each step; 1 takes the likeliest token each time.
        length_penalty: Scores are divided by length to this power; above 1 favors long answers.
        no_repeat: No run of so many tokens comes twice; 0 allows it.
        repetition_penalty: Above 1 makes tokens that were written less likely.
        max_tokens: Longest answer for a piece of text.
        truncation: A summary is of what fits of a text that is too long, not of all its windows.
    """

    beams: int = 4
    length_penalty: float = 1.0
    no_repeat: int = 0
    repetition_penalty: float = 1.0
    max_tokens: int = 128
    truncation: bool = False

    def __post_init__(self) -> None:
        for name, least in (("beams", 1), ("no_repeat", 0), ("max_tokens", 1)):
            value = getattr(self, name)
            if not _whole(value) or value < least:
                raise ConfigError(f"{name} is {value!r}; wanted at least {least}, a whole number")
        if self.beams > _MOST_BEAMS:
            raise ConfigError(f"beams is {self.beams}; wanted at most {_MOST_BEAMS:,}")
        for name, wanted in (("length_penalty", "at least 0"), ("repetition_penalty", "above 0")):
            value = getattr(self, name)
            right = isinstance(value, Real) and 0 <= float(value) < math.inf
            if not right or (wanted == "above 0" and value == 0):
                raise ConfigError(f"{name} is {value!r}; wanted a number {wanted}")
        if not isinstance(self.truncation, bool):
            raise ConfigError(f"truncation is {self.truncation!r}; wanted True or False")

    def over(self, **settings: Any) -> "Decoding":
        """Return this with those settings changed that are not None.

        Raises:
            ConfigError: An unknown setting, or one out of range.
        """
        known = [field.name for field in fields(self)]
        for name in settings:
            if name not in known:
                raise ConfigError(f"unknown setting `{name}`; wanted one of {', '.join(known)}")
        return replace(self, **{k: v for k, v in settings.items() if v is not None})


@dataclass(frozen=True)
class Hypothesis:
    """A possible answer.

    Args:
        text: The answer.
        score: Log probability divided by length to the power ``length_penalty``; at most 0.
    """

    text: str
    score: float


_OPEN: "weakref.WeakSet[Generator]" = weakref.WeakSet()


@atexit.register
def _close() -> None:
    """Give every model back while Python still runs: CTranslate2's threads end with it."""
    for one in list(_OPEN):
        one.close()


class Generator:
    """A model of CTranslate2 with its tokenizer; may be shared by many threads.

    Args:
        folder: The model, as CTranslate2 reads it.
        tokenizer: The tokenizer of source and target.
        target: The tokenizer of targets where they have a vocabulary of their own.
        prefix: Tokens that every answer begins with, such as a language's.
        threads: Threads a call may use, at least 1; None leaves it to the number of cores.
        batch_size: Most texts that run together, at least 1.

    Raises:
        MissingExtraError: CTranslate2 is not installed.
        ArtifactError: The model cannot be run.
        ConfigError: A setting is out of range.
    """

    def __init__(
        self,
        folder: str | Path,
        tokenizer: Tokenizer,
        *,
        target: Tokenizer | None = None,
        prefix: Sequence[str] = (),
        threads: int | None = None,
        batch_size: int = 32,
    ) -> None:
        for name, value in (("threads", threads), ("batch_size", batch_size)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; wanted at least 1")
        try:
            import ctranslate2
        except ImportError as error:
            raise MissingExtraError(
                "translation and summaries need the package `ctranslate2`; "
                "run: pip install 'tinybert[seq2seq]'"
            ) from error
        self.tokenizer, self.prefix, self.batch_size = tokenizer, list(prefix), batch_size
        self.target = target or tokenizer
        self._ids = self.target.vocabulary
        self._tokens = {i: token for token, i in self._ids.items()}
        self._sources = {i: token for token, i in tokenizer.vocabulary.items()}
        self._model: Any
        try:
            self._model = ctranslate2.Translator(
                str(folder), device="cpu", inter_threads=1, intra_threads=threads or 0
            )
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(f"{folder} cannot be run: {error}") from error
        _OPEN.add(self)

    def close(self) -> None:
        """Give the model back; it answers no more."""
        self._model = None

    def __call__(
        self, texts: Sequence[str], decoding: Decoding, best: int = 1
    ) -> list[list[Hypothesis]]:
        """Answer N texts, each cut at the tokenizer's ``max_length``; the best answers first.

        Texts of as many tokens run together: an answer is the same alone and among any others.

        Raises:
            ConfigError: ``best`` is not between 1 and the number of beams.
        """
        if not _whole(best) or not 1 <= best <= decoding.beams:
            raise ConfigError(
                f"best is {best!r}; wanted 1 to {decoding.beams}, the number of beams"
            )
        if not texts:
            return []
        sources = [self._encode(text) for text in texts]
        found: list[list[Hypothesis]] = [[]] * len(texts)
        for rows in _by_length(sources):
            written = self._model.translate_batch(
                [sources[i] for i in rows],
                target_prefix=[self.prefix] * len(rows) if self.prefix else None,
                max_batch_size=self.batch_size,
                beam_size=decoding.beams,
                num_hypotheses=1 if best == 1 else decoding.beams,
                return_scores=True,
                length_penalty=decoding.length_penalty,
                **self._settings(decoding),
            )
            for i, one in zip(rows, written, strict=True):
                scores: dict[str, float] = {}
                for tokens, score in zip(one.hypotheses, one.scores, strict=True):
                    scores.setdefault(self._text(tokens), float(score))
                found[i] = [Hypothesis(*pair) for pair in list(scores.items())[:best]]
        return found

    def stream(self, text: str, decoding: Decoding) -> Iterator[str]:
        """Yield the likeliest answer for a text piece by piece as it is written; one beam.

        A piece ends where the next token can no longer change it: before the last word.
        """
        tokens: list[str] = []
        said = ""
        for step in self._model.generate_tokens(
            self._encode(text),
            target_prefix=self.prefix or None,
            **self._settings(decoding),
        ):
            tokens.append(step.token)
            whole = self._text(tokens)
            if not step.is_last:
                whole = _settled(whole)
            if len(whole) > len(said) and whole.startswith(said):
                yield whole[len(said) :]
                said = whole

    def log_probabilities(
        self, texts: Sequence[str], answers: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """Return the log probability of each token of given answers, and of the end behind them.

        Args:
            texts: N texts.
            answers: For each its answer's token ids, without the end.
        """
        found = self._model.score_batch(
            [self._encode(text) for text in texts],
            [[self._tokens[i] for i in row] for row in answers],
            max_batch_size=self.batch_size,
            max_input_length=0,
        )
        return [list(one.log_probs) for one in found]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, special tokens included."""
        return self.tokenizer.untruncated_lengths(texts) if texts else []

    def cut(self, text: str) -> list[str]:
        """Cut a text into parts within the tokenizer's ``max_length``.

        Cuts fall behind a space or a comma of the second half of a part where there is one.
        """
        before, after = self.tokenizer.frame()
        room = max(1, self.tokenizer.max_length - len(before) - len(after) - 1)
        spans = self.tokenizer.spans(text)
        parts, start, token = [], 0, 0
        while token + room < len(spans):
            hard = spans[token + room][0]
            middle = spans[token + room // 2][0]
            soft = max(text.rfind(mark, middle, hard) for mark in " \t\n,;:，、；：") + 1
            end = soft if soft > start else hard
            if end > start:
                parts.append(text[start:end])
                start = end
            token += max(1, room // 2)
            while token < len(spans) and spans[token][0] < start:
                token += 1
        return [*parts, text[start:]]

    def _encode(self, text: str) -> list[str]:
        """Return a text's tokens."""
        return [self._sources[i] for i in self.tokenizer.encode([text])[0][0]]

    def _text(self, tokens: Sequence[str]) -> str:
        """Return the text of tokens."""
        return self.target.decode([self._ids[t] for t in tokens if t in self._ids])

    def _settings(self, decoding: Decoding) -> dict[str, Any]:
        """Return what every search is told; what is too long was cut before."""
        return {
            "max_input_length": 0,
            "no_repeat_ngram_size": decoding.no_repeat,
            "repetition_penalty": decoding.repetition_penalty,
            "max_decoding_length": decoding.max_tokens,
            "suppress_sequences": [[self._tokens[self.target.pad_id]]],
        }


def _settled(text: str) -> str:
    """Return what of a text the next token cannot change any more.

    It may add to the last word, and join marks behind it to it; Chinese characters stand alone.

    >>> _settled("for 1, 23"), _settled("it '"), _settled("退款12")
    ('for 1,', '', '退款')
    """
    end = len(text.rstrip())
    while end:
        start = end
        while start and not _ALONE.match(text[start - 1]):
            start -= 1
        word = text[start:end]
        if not word:
            return text[:end]
        end = len(text[:start].rstrip())
        if any(map(str.isalnum, word)):
            break
    return text[:end]


def _whole(value: object) -> bool:
    """Whether something is a whole number."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _by_length(sources: Sequence[Sequence[str]]) -> Iterable[list[int]]:
    """Return the places of sources of one length together, so that none is padded.

    Padding changes how sums are rounded, and now and then the answer.
    """
    groups: dict[int, list[int]] = {}
    for i, tokens in enumerate(sources):
        groups.setdefault(len(tokens), []).append(i)
    return groups.values()


def windows(generator: Generator, pieces: Sequence[Piece]) -> list[Piece]:
    """Put neighboring pieces together, and cut those that are too long, so that each part fits.

    Args:
        generator: Its tokenizer's ``max_length`` is the limit.
        pieces: Parts of a text.
    """
    limit = generator.tokenizer.max_length
    small: list[Piece] = []
    for piece, length in zip(pieces, generator.lengths([p.text for p in pieces]), strict=True):
        cut = [piece.text] if length <= limit else generator.cut(piece.text)
        for part in cut[:-1]:
            text = part.rstrip()
            small.append(Piece(text, part[len(text) :]))
        small.append(Piece(cut[-1], piece.after))
    packed = pack(small, generator.lengths([p.text for p in small]), limit)
    if max(generator.lengths([p.text for p in packed]), default=0) <= limit:
        return packed
    return pack(small, generator.lengths([p.text + p.after for p in small]), limit)


def open_artifact(
    folder: str | Path, card: Card, *, threads: int | None, batch_size: int
) -> Generator:
    """Load a shipped folder's model.

    Raises:
        ArtifactError: A file is missing or altered, or the model cannot be run.
    """
    check_files(folder, card)
    place = Path(folder)
    own = TARGET in card.files
    return Generator(
        (place / card.model).parent,
        Tokenizer(place, max_length=card.max_length, literal=True),
        target=Tokenizer((place / TARGET).parent, max_length=card.max_length) if own else None,
        prefix=card.generation.get("prefix", ()),
        threads=threads,
        batch_size=batch_size,
    )
