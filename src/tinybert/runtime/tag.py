"""Answers with the entities of a text, or with a tag for each of its words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from tinybert.errors import DataError
from tinybert.runtime.answerer import Answerer
from tinybert.runtime.classify import probabilities
from tinybert.runtime.session import Session, shorten
from tinybert.tags import PLAIN, scheme_of, spans, word_logits
from tinybert.text import Aligned

__all__ = ["Entity", "Tagger"]

Words = str | Sequence[str]


@dataclass(frozen=True)
class Entity:
    """A part of a text and what it is.

    Args:
        text: The part, as it stands in the text.
        label: What it is: a kind of entity, or the tag of a word where each has one.
        start, end: Its first character and the one after its last, counted from 0 in the text; in a
            list of words, as if a space stood between them.
        score: Probability of the least sure of its words' tags, 0..1.
        words: Its first word and the one after its last: of the list that was given, else of the
            words that the tokenizer cuts the text into.
    """

    text: str
    label: str
    start: int
    end: int
    score: float
    words: tuple[int, int]


class Tagger(Answerer):
    """Finds the entities of texts; with plain tags, such as parts of speech, tags every word.

    A text that is given whole is cut into words by its tokenizer (see ``text.Tokenizer.align``). A
    word's tag is that of its first piece. Sequences of tags that the scheme does not allow are
    read as ``tags.spans`` says. Words past ``max_length`` tokens get the card's ``outside`` tag in
    a list of words; a text given whole ends there.

    Args:
        session: The artifact's session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.scheme = scheme_of(self.labels)
        self._outside = self.labels.index(self.card.outside)

    @overload
    def __call__(self, inputs: str) -> list[Entity]: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, inputs: Iterable[Words]) -> list[list[Entity]]: ...

    def __call__(self, inputs: str | Iterable[Words]) -> list[Entity] | list[list[Entity]]:
        """Tag every text, in order.

        Args:
            inputs: N texts, each whole or as a list of words; or one text.

        Returns:
            For each text its entities in the order they stand in; or those of the one text.

        Raises:
            DataError: Neither a text nor a list, or an element that is neither a text nor a list
                of words.
        """
        if isinstance(inputs, str):
            return self([inputs])[0]
        texts = _checked(inputs)
        whole = [text if isinstance(text, str) else " ".join(text) for text in texts]
        return [
            self._entities(text, aligned, logits)
            for text, (aligned, logits) in zip(whole, self._answers(texts), strict=True)
        ]

    def logits(self, inputs: Iterable[Any]) -> npt.NDArray[np.float32]:
        """Return the logits of every word, text after text, in order.

        Args:
            inputs: N texts, each whole or as a list of words.

        Returns:
            Float32 (W, C): a row for each word of the lists, or of the tokenizer's words.

        Raises:
            DataError: As for a call.
        """
        found = [logits for _, logits in self._answers(_checked(inputs))]
        return np.concatenate([np.zeros((0, len(self.labels)), dtype=np.float32), *found])

    def _answers(self, texts: Sequence[Words]) -> list[tuple[Aligned, npt.NDArray[np.float32]]]:
        """Return each text's tokens and the logits of its words, (W, C)."""
        aligned = self._session.tokenizer.align(texts)
        found: dict[int, npt.NDArray[np.float32]] = {}
        for rows, logits in self._session.run(
            [text.ids for text in aligned], [text.type_ids for text in aligned]
        ):
            for i, own in zip(rows, logits, strict=True):
                found[i] = word_logits(own, aligned[i].firsts, self._outside)
        return [(text, found[i]) for i, text in enumerate(aligned)]

    def _entities(
        self, text: str, aligned: Aligned, logits: npt.NDArray[np.float32]
    ) -> list[Entity]:
        """Return the entities of one text."""
        tags = [self.labels[int(i)] for i in logits.argmax(axis=1)]
        scores = probabilities(logits).max(axis=1) if len(logits) else logits[:, 0]
        found = []
        for kind, first, last in spans(tags, plain=self.scheme == PLAIN):
            start, end = aligned.spans[first][0], aligned.spans[last - 1][1]
            score = float(scores[first:last].min())
            found.append(Entity(text[start:end], kind, start, end, score, (first, last)))
        return found


def _checked(inputs: Iterable[Any]) -> list[Words]:
    """Return texts and lists of words; name the first element that is neither."""
    wanted = "a text or a list of words"
    if isinstance(inputs, str):
        raise DataError(f"one text was given; wanted a list: [{shorten(inputs)}]")
    if not isinstance(inputs, Iterable):
        raise DataError(f"{shorten(inputs)} was given; wanted a list, each item {wanted}")
    items = list(inputs)
    for i, item in enumerate(items):
        is_words = isinstance(item, list | tuple) and all(isinstance(word, str) for word in item)
        if not isinstance(item, str) and not is_words:
            raise DataError(f"input {i} is {shorten(item)}; wanted {wanted}")
    return items
