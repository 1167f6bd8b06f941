"""Answers with the part of a context that answers a question."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from tinybert.errors import ConfigError
from tinybert.runtime.answerer import Answerer
from tinybert.runtime.session import Input, Session
from tinybert.spans import Place, Reading, Window, answer_rows, best_places, cut_windows

__all__ = ["Answer", "QuestionAnswerer"]


@dataclass(frozen=True)
class Answer:
    """A part of a context that answers a question.

    Args:
        text: The part, as it stands in the context; empty where there is no answer.
        start, end: Its first character and the one after its last, counted from 0; both 0 where
            there is no answer.
        score: Its probability among the 20 best parts and, where the card has a threshold, no
            answer, 0..1; 1 in an empty context.
    """

    text: str
    start: int
    end: int
    score: float


class QuestionAnswerer(Answerer):
    """Finds the answers of questions in contexts of any length.

    A context that is longer than ``max_length`` tokens is read in overlapping windows, each behind
    the question (see ``spans.Reading``). There is no answer where the card's ``threshold`` says so;
    without one there always is, except in an empty context.

    Args:
        session: The artifact's session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.reading = Reading.of(self.card.reading)
        self.threshold: float | None = self.card.reading.get("threshold")

    @overload
    def __call__(self, inputs: Iterable[Input]) -> list[Answer]: ...

    @overload
    def __call__(self, inputs: Iterable[Input], *, n_best: int) -> list[list[Answer]]: ...

    def __call__(
        self, inputs: Iterable[Input], *, n_best: int | None = None
    ) -> list[Answer] | list[list[Answer]]:
        """Answer every pair ``(question, context)``, in order.

        Args:
            inputs: N pairs.
            n_best: How many answers to give for each, at most 20; None gives the best alone.

        Returns:
            The best answer of each pair; with ``n_best`` a list for each, the best first: no answer
            is one of them where the card has a threshold, and there may be fewer.

        Raises:
            DataError: Not a list, or an element that is not a pair of texts.
            ConfigError: ``n_best`` is below 1.
        """
        if n_best is not None and n_best < 1:
            raise ConfigError(f"n_best is {n_best}; wanted at least 1")
        questions, contexts = self._pairs(inputs)
        windows, logits = self._run(questions, contexts)
        left = iter(logits)
        found = [
            self._answers(
                context,
                *best_places(own, [next(left) for _ in own], self.reading.answer_length),
            )
            for context, own in zip(contexts, windows, strict=True)
        ]
        return [own[0] for own in found] if n_best is None else [own[:n_best] for own in found]

    def ask(self, question: str, context: str) -> Answer:
        """Answer one question.

        Raises:
            DataError: One of the two is not a text.
        """
        return self([(question, context)])[0]

    def logits(self, inputs: Iterable[Any]) -> npt.NDArray[Any]:
        """Return what is known of each answer, in order.

        Args:
            inputs: N pairs ``(question, context)``.

        Returns:
            Float64 (N, 4): the best part's start and end in characters, its logit, and that of no
            answer less the threshold.

        Raises:
            DataError: As for a call.
        """
        windows, logits = self._run(*self._pairs(inputs))
        return answer_rows(windows, logits, self.reading.answer_length, self.threshold)

    def _pairs(self, inputs: Iterable[Any]) -> tuple[list[str], list[str]]:
        """Return questions and contexts."""
        questions, contexts = self._session.texts(inputs)
        return questions, contexts or []

    def _run(
        self, questions: Sequence[str], contexts: Sequence[str]
    ) -> tuple[list[list[Window]], list[npt.NDArray[np.float32]]]:
        """Return each question's windows, and the logits of all windows in order."""
        windows = cut_windows(self._session.tokenizer, questions, contexts, self.reading)
        flat = [window for own in windows for window in own]
        found: dict[int, npt.NDArray[np.float32]] = {}
        for rows, logits in self._session.run([w.ids for w in flat], [w.type_ids for w in flat]):
            found |= zip(rows, logits, strict=True)
        return windows, [found[i] for i in range(len(flat))]

    def _answers(self, context: str, places: Sequence[Place], none: float) -> list[Answer]:
        """Return the answers of one question, the best first; at least one."""
        logits = [place.logit for place in places]
        texts = [(context[place.start : place.end], place.start, place.end) for place in places]
        if self.threshold is not None or not places:
            logits.append(none - (self.threshold or 0.0))
            texts.append(("", 0, 0))
        shares = np.exp(np.array(logits) - max(logits))
        scores = shares / shares.sum()
        order = sorted(range(len(texts)), key=lambda i: -logits[i])
        return [Answer(*texts[i], float(scores[i])) for i in order]
