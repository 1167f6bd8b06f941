"""Answers with translations of texts of any length."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tinybert.artifact import Card
from tinybert.runtime.carried import ADDRESS, Generate, carry, carrying
from tinybert.runtime.generation import Decoding, Generator, Hypothesis, windows
from tinybert.runtime.sentences import Piece, join, separator, split_lines, split_sentences
from tinybert.runtime.writer import Writer, check_texts

__all__ = ["Translator"]

_ADDRESS = re.compile(ADDRESS, re.ASCII)


class Translator(Writer):
    """A loaded artifact that translates; may be shared by many threads.

    Lines stay lines. A line longer than the card's ``max_length`` tokens is cut at the ends of
    sentences into parts that fit; a line of a model that learned from single sentences always is.
    A sentence that is too long is cut behind a comma or a space. What stands between the parts, as
    spaces and blank lines, is kept, and so is a part without a letter, such as a date, and one that
    is a web or mail address alone. Where the card says so, marks stand for the numbers and
    addresses of other parts while these are translated; such a part is streamed as a whole.

    Args:
        generator: The model.
        card: Its card.
    """

    def __init__(self, generator: Generator, card: Card) -> None:
        super().__init__(generator, card)
        self._carries = bool(card.generation.get("carried"))
        self._answer = carrying(generator, self._by_windows) if self._carries else generator

    def hypotheses(
        self, texts: Iterable[str], best: int | None = None, **settings: Any
    ) -> list[list[Hypothesis]]:
        """Return at most ``best`` translations of every text with their scores, the best first.

        Of a text in several parts the n-th has the n-th of every part, its score is their mean.
        An empty text has itself alone, with the score 0.

        Raises:
            DataError: Not a list, or an element that is not a text.
            ConfigError: A setting out of range, or ``best`` above the number of beams.
        """
        decoding = self._search(settings)
        count = self._count(best, decoding)
        plans = [self._parts(text) for text in check_texts(texts)]
        return _answered(plans, self._answer, decoding, count)

    def stream(self, text: str, **settings: Any) -> Iterator[str]:
        """Yield the translation of a text piece by piece while it is written, with one beam.

        Raises:
            DataError: Not a text.
            ConfigError: An unknown setting, or one out of range.
        """
        decoding = self._search_one(settings)
        parts = self._parts(check_texts([text])[0])
        said, space = "", ""
        for piece in parts:
            begun = False
            for new in self._pieces(piece.text, decoding):
                if not begun and (between := separator(said, space, new)):
                    yield between
                begun, said = True, new
                yield new
            if not begun:
                said = ""
                if space:
                    yield space
            space = piece.after
        if space:
            yield space

    def _pieces(self, text: str, decoding: Decoding) -> Iterator[str]:
        """Yield the translation of a part while it is written."""
        if _has_words(text):
            if self._carries and carry(text)[1]:
                yield self._answer([text], decoding.over(beams=1), 1)[0][0].text
            else:
                yield from self._generate.stream(text, decoding)
        elif text:
            yield text

    def _by_windows(
        self, texts: Sequence[str], decoding: Decoding, best: int
    ) -> list[list[Hypothesis]]:
        """Translate sentences that may be too long to be translated at once."""
        plans = [windows(self._generate, [Piece(text, "")]) for text in texts]
        return _answered(plans, self._generate, decoding, best)

    def _fits(self, text: str) -> bool:
        """Whether a part is short enough to be translated at once."""
        read = carry(text)[0] if self._carries else text
        return self._generate.lengths([read])[0] <= self.card.max_length

    def _small(self, part: Piece) -> list[Piece]:
        """Cut a sentence that is too long."""
        return [part] if self._fits(part.text) else windows(self._generate, [part])

    def _parts(self, text: str) -> list[Piece]:
        """Cut a text into what is translated at once."""
        found: list[Piece] = []
        for line in split_lines(text):
            parts = split_sentences(line.text) or [Piece("", "")]
            if self.card.generation.get("split") == "sentence":
                parts = [small for part in parts for small in self._small(part)]
            elif self._fits(line.text):
                parts = [Piece(line.text, "")]
            else:
                parts = windows(self._generate, parts)
            found += [*parts[:-1], Piece(parts[-1].text, line.after)]
        return found


def _has_words(text: str) -> bool:
    """Whether there is something to translate: a letter, outside of a web or mail address alone."""
    return any(map(str.isalpha, text)) and not _ADDRESS.fullmatch(text)


def _answered(
    plans: Sequence[Sequence[Piece]], answer: Generate, decoding: Decoding, count: int
) -> list[list[Hypothesis]]:
    """Return at most ``count`` translations of every text, which are given in their parts."""
    asked = [piece.text for parts in plans for piece in parts if _has_words(piece.text)]
    answers = iter(answer(asked, decoding, count))
    found = []
    for parts in plans:
        rows = [next(answers) if _has_words(piece.text) else [] for piece in parts]
        least = min((len(row) for row in rows if row), default=1)
        found.append([_nth(rows, parts, n) for n in range(least)])
    return found


def _nth(rows: Sequence[list[Hypothesis]], parts: Sequence[Piece], n: int) -> Hypothesis:
    """Return the n-th translation of a whole text."""
    scores = [row[n].score for row in rows if row]
    given = zip(rows, parts, strict=True)
    text = join([row[n].text if row else piece.text for row, piece in given], parts)
    return Hypothesis(text, sum(scores) / len(scores) if scores else 0.0)
