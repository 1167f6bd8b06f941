"""What translators and summarizers have in common."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from tinybert.artifact import Card
from tinybert.errors import ArtifactError, ConfigError, DataError
from tinybert.runtime.generation import Decoding, Generator, Hypothesis
from tinybert.runtime.session import shorten
from tinybert.text import lone_surrogate

__all__ = ["Writer", "check_texts"]

_BEST = 4


class Writer:
    """A loaded artifact that writes texts; may be shared by many threads.

    Args:
        generator: The model.
        card: Its card.

    Raises:
        ArtifactError: The card says to search in a way that this version does not know.
    """

    def __init__(self, generator: Generator, card: Card) -> None:
        self._generate = generator
        self.card, self.labels = card, card.labels
        try:
            self.decoding = Decoding().over(**card.decoding())
        except ConfigError as error:
            raise ArtifactError(
                f"card.json, `generation`: {error}; upgrade tinybert or export again"
            ) from error

    def __call__(self, texts: Iterable[str], **settings: Any) -> list[str]:
        """Return what is written for every text, in order.

        Args:
            texts: N texts.
            settings: Of ``Decoding``, over those of the card: ``beams``, ``length_penalty``,
                ``no_repeat``, ``repetition_penalty``, ``max_tokens``; of summaries ``truncation``.

        Raises:
            DataError: Not a list, or an element that is not a text.
            ConfigError: An unknown setting, or one out of range.
        """
        return [found[0].text for found in self.hypotheses(texts, 1, **settings)]

    def _search(self, settings: Mapping[str, Any]) -> Decoding:
        """Return how answers are searched for; refuse longer ones than the model can write.

        Raises:
            ConfigError: An unknown setting, one out of range, or truncation of what is translated.
        """
        decoding = self.decoding.over(**settings)
        if decoding.truncation and self.card.task == "translation":
            raise ConfigError("truncation is True; a translator reads all of a text")
        about = self.card.generation
        longest = about.get("positions", math.inf) - len(about.get("prefix", ()))
        if decoding.max_tokens > longest:
            raise ConfigError(
                f"max_tokens is {decoding.max_tokens}; the model writes at most {longest}"
            )
        return decoding

    def _search_one(self, settings: Mapping[str, Any]) -> Decoding:
        """Return how an answer is streamed.

        Raises:
            ConfigError: As ``_search``; or several beams, of which none is known before the end.
        """
        if settings.get("beams") not in (None, 1):
            raise ConfigError(f"beams is {settings['beams']}; a stream has one")
        return self._search(settings)

    @staticmethod
    def _count(best: int | None, decoding: Decoding) -> int:
        """Return how many answers to give: as asked, else as there are beams, up to four."""
        return min(_BEST, decoding.beams) if best is None else best

    def hypotheses(
        self, texts: Iterable[str], best: int | None = None, **settings: Any
    ) -> list[list[Hypothesis]]:
        """Return at most ``best`` answers for every text with their scores, the best first."""
        raise NotImplementedError


def check_texts(texts: Iterable[str]) -> list[str]:
    """Return texts as a list; name the first that is none.

    Raises:
        DataError: Not a list, or an element that is not a text.
    """
    if isinstance(texts, str):
        raise DataError(f"one text was given; wanted a list: [{shorten(texts)}]")
    if not isinstance(texts, Iterable):
        raise DataError(f"{shorten(texts)} was given; wanted a list, each item a text")
    items = list(texts)
    for i, item in enumerate(items):
        if not isinstance(item, str):
            raise DataError(f"input {i} is {shorten(item)}; wanted a text")
        if problem := lone_surrogate(item):
            raise DataError(f"input {i} {problem}")
    return items
