"""Answers with summaries of texts of any length."""

from collections.abc import Iterable, Iterator
from typing import Any

from tinybert.runtime.generation import Decoding, Hypothesis, windows
from tinybert.runtime.sentences import Piece, split_lines, split_sentences
from tinybert.runtime.writer import Writer, check_texts

__all__ = ["Summarizer"]

_ROUNDS = 8
_LEAST = 4


class Summarizer(Writer):
    """A loaded artifact that summarizes; may be shared by many threads.

    A text longer than the card's ``max_length`` tokens is cut at the ends of sentences into windows
    that fit. With ``truncation`` the first one counts, or, where that is under a quarter of the
    limit, the text up to the limit. Else the summaries of all, a line each, take the place of the
    text and are summarized in turn, until one window is left; where that makes them no shorter, the
    first window counts. A text of nothing but space has an empty summary.

    Args:
        generator: The model.
        card: Its card.
    """

    def hypotheses(
        self, texts: Iterable[str], best: int | None = None, **settings: Any
    ) -> list[list[Hypothesis]]:
        """Return at most ``best`` summaries of every text with their scores, the best first.

        An empty text has an empty one alone, with the score 0.

        Raises:
            DataError: Not a list, or an element that is not a text.
            ConfigError: A setting out of range, or ``best`` above the number of beams.
        """
        decoding = self._search(settings)
        count = self._count(best, decoding)
        short = self._shortened(check_texts(texts), decoding)
        answers = iter(self._generate([text for text in short if text], decoding, count))
        return [next(answers) if text else [Hypothesis("", 0.0)] for text in short]

    def stream(self, text: str, **settings: Any) -> Iterator[str]:
        """Yield the summary of a text piece by piece while it is written, with one beam.

        Raises:
            DataError: Not a text.
            ConfigError: An unknown setting, or one out of range.
        """
        decoding = self._search_one(settings)
        (short,) = self._shortened(check_texts([text]), decoding)
        if short:
            yield from self._generate.stream(short, decoding)

    def _shortened(self, texts: list[str], decoding: Decoding) -> list[str]:
        """Return every text as one window."""
        found = [text.strip() for text in texts]
        if decoding.truncation:
            return [self._beginning(text) if text else "" for text in found]
        for _ in range(_ROUNDS):
            plans = {i: self.windows(text) for i, text in enumerate(found) if text}
            plans = {i: parts for i, parts in plans.items() if len(parts) > 1}
            asked = [part for parts in plans.values() for part in parts]
            answers = iter(self._generate(asked, decoding))
            for i, parts in plans.items():
                whole = "\n".join(next(answers)[0].text for _ in parts).strip()
                found[i] = whole if len(whole) < len(found[i]) else parts[0]
            if not plans:
                break
        return [self.windows(text)[0] if text else "" for text in found]

    def _beginning(self, text: str) -> str:
        """Return the first window, or what fits where a long sentence leaves that almost empty."""
        first, limit = self.windows(text)[0], self.card.max_length
        if first != text and self._generate.lengths([first])[0] < limit / _LEAST:
            return self._generate.cut(text)[0].rstrip()
        return first

    def windows(self, text: str) -> list[str]:
        """Cut a text into the windows that are summarized: one, where all of it fits."""
        if self._generate.lengths([text])[0] <= self.card.max_length:
            return [text]
        pieces: list[Piece] = []
        for line in split_lines(text):
            parts = split_sentences(line.text) or [Piece("", "")]
            pieces += [*parts[:-1], Piece(parts[-1].text, line.after)]
        return [part.text for part in windows(self._generate, pieces) if part.text]
