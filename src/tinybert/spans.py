"""Where answers stand in a context: the windows it is cut into, and the best spans in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinybert.errors import ConfigError
from tinybert.text import PairFrame, Tokenizer

__all__ = [
    "NEVER",
    "READING",
    "Place",
    "Reading",
    "Window",
    "answer_row",
    "answer_rows",
    "best_places",
    "cut_windows",
]

NEVER = -1e9
_KEPT = 20


@dataclass(frozen=True)
class Reading:
    """How long questions, windows and answers are.

    Args:
        overlap: Tokens that two neighboring windows share; at most half of what a window holds.
        question_length: Longest question in tokens; the rest of it is cut off. At most half of
            ``max_length``.
        answer_length: Longest answer in tokens.
    """

    overlap: int = 64
    question_length: int = 64
    answer_length: int = 30

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Reading":
        """Return the reading that a card or a run's data name; other keys are passed over."""
        names = ("overlap", "question_length", "answer_length")
        return cls(**{name: int(values[name]) for name in names if name in values})


READING = Reading()


@dataclass(frozen=True)
class Window:
    """A question and a part of its context, as a model reads them.

    Args:
        ids, type_ids: Token ids and segment ids, T of each.
        first: Position of the context's first token.
        places: First character of each context token in the whole context, and the one after its
            last.
    """

    ids: list[int]
    type_ids: list[int]
    first: int
    places: list[tuple[int, int]]


class Place(NamedTuple):
    """A span of characters of a context, and the sum of its start's and its end's logit."""

    start: int
    end: int
    logit: float


def cut_windows(
    tokenizer: Tokenizer,
    questions: Sequence[str],
    contexts: Sequence[str],
    reading: Reading,
) -> list[list[Window]]:
    """Cut contexts into overlapping windows, each behind its question.

    Args:
        tokenizer: Decides how long a window is.
        questions: N questions.
        contexts: N contexts; equal ones are tokenized once.
        reading: Lengths.

    Returns:
        N lists of one window or more, in the order they stand in; an empty context has one.

    Raises:
        ConfigError: ``max_length`` has no room for a context.
        DataError: A text holds half of a surrogate pair.
    """
    frame = tokenizer.pair_frame()
    free = tokenizer.max_length - frame.size
    if free < 2:
        raise ConfigError(
            f"max_length is {tokenizer.max_length}; wanted at least {frame.size + 2} tokens for a "
            "question and a piece of its context"
        )
    limit = min(reading.question_length, free // 2)
    different = list(dict.fromkeys(contexts))
    pieces = dict(zip(different, tokenizer.whole_pieces(different), strict=True))
    asked = tokenizer.whole_pieces(list(questions))
    return [
        _windows(frame, ids[:limit], *pieces[context], free, reading.overlap)
        for (ids, _), context in zip(asked, contexts, strict=True)
    ]


def _windows(
    frame: PairFrame,
    question: list[int],
    pieces: list[int],
    places: list[tuple[int, int]],
    free: int,
    overlap: int,
) -> list[Window]:
    """Return the windows of one context."""
    room = free - len(question)
    step = room - min(overlap, room // 2)
    head = [*frame.before, *question, *frame.between]
    last = max(0, len(pieces) - room)
    windows = []
    for start in range(0, last + step, step):
        part = pieces[start : start + room]
        ids = [*head, *part, *frame.after]
        types = [frame.types[0]] * len(head) + [frame.types[1]] * (len(part) + len(frame.after))
        windows.append(Window(ids, types, len(head), places[start : start + room]))
    return windows


def best_places(
    windows: Sequence[Window],
    logits: Sequence[npt.NDArray[Any]],
    answer_length: int,
) -> tuple[list[Place], float]:
    """Return the best spans of a context and how much speaks for there being no answer.

    A span's logit is z_start(i) + z_end(j), i ≤ j < i + ``answer_length``, both in one window. That
    of no answer is z_start(0) + z_end(0), the first token's, in the window where it is least.

    Args:
        windows: Of one context.
        logits: Float (T, 2) of each window; what stands past its tokens is not read.
        answer_length: Longest answer in tokens.

    Returns:
        At most 20 spans, the best first, and the logit of no answer.

    Source: Devlin et al. 2019, section 4.3; the official code's ``n_best_size`` of 20.
    """
    best: dict[tuple[int, int], float] = {}
    for window, own in zip(windows, logits, strict=True):
        count = len(window.places)
        start, end = np.asarray(own[window.first : window.first + count], dtype=np.float64).T
        width = min(answer_length, count)
        sums = np.full((count, width), -np.inf)
        for more in range(width):
            sums[: count - more, more] = start[: count - more] + end[more:]
        flat = sums.reshape(-1)
        for index in np.argsort(-flat, kind="stable")[: 2 * _KEPT] if count else ():
            first, more = divmod(int(index), width)
            if first + more >= count:
                continue
            place = (window.places[first][0], window.places[first + more][1])
            if place[0] < place[1]:
                best[place] = max(best.get(place, -np.inf), float(flat[index]))
    ordered = sorted(best.items(), key=lambda item: (-item[1], item[0]))[:_KEPT]
    none = min(float(own[0, 0]) + float(own[0, 1]) for own in logits)
    return [Place(*place, logit) for place, logit in ordered], none


def answer_rows(
    windows: Sequence[Sequence[Window]],
    logits: Sequence[npt.NDArray[Any]],
    answer_length: int,
    threshold: float | None,
) -> npt.NDArray[np.float64]:
    """Return what is known of N answers, float64 (N, 4): the ``answer_row`` of each.

    Args:
        windows: From ``cut_windows``.
        logits: Float (T, 2) of each window, question after question.
        answer_length: Longest answer in tokens.
        threshold: As for ``answer_row``.
    """
    left = iter(logits)
    rows = [
        answer_row(*best_places(own, [next(left) for _ in own], answer_length), threshold)
        for own in windows
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def answer_row(
    places: Sequence[Place], none: float, threshold: float | None
) -> tuple[float, float, float, float]:
    """Return what is known of an answer as a row of numbers.

    Args:
        places: From ``best_places``.
        none: Logit of no answer.
        threshold: How much larger it must be than the best span's for there to be no answer; None:
            there always is one.

    Returns:
        Start and end of the best span in characters, its logit, and that of no answer less the
        threshold: there is no answer where it is the larger one.
    """
    start, end, logit = places[0] if places else Place(0, 0, NEVER)
    return (float(start), float(end), logit, NEVER if threshold is None else none - threshold)
