"""The baselines of answering: nothing is trained."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tinybert.data import TaskData
from tinybert.spans import NEVER

__all__ = ["overlap", "unread"]

Array = npt.NDArray[Any]

_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*")
_UNIT = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u9fff]+")
_WINDOW = 3


def unread(data: TaskData, split: str = "dev") -> Array:
    """Return answers that do not depend on the question.

    None at all where most questions of train have no answer, else the context's first sentence.

    Returns:
        Float (N, 4), as ``spans.answer_row``.
    """
    silent = np.mean([not places for places in data.train["label"]]) > 0.5
    none = 1.0 if silent else NEVER
    rows = [(*_sentences(context)[0], 0.0, none) for context in data.splits()[split]["text2"]]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def overlap(data: TaskData, split: str = "dev") -> Array:
    """Return the runs of words whose surroundings share most with the question.

    Each run of up to three words (of characters, in Chinese up to three as well) that holds none of
    the question's is scored by the question's words in its sentence and, nearer ones more, around
    it. Words that stand in few of the split's contexts count more, in the question and in the run.
    There always is an answer.

    Returns:
        Float (N, 4), as ``spans.answer_row``.

    Source: a sliding window over words as in Richardson et al. 2013 (MCTest), section 6.1.
    """
    rows = data.splits()[split]
    contexts = set(rows["text2"])
    seen = Counter(word for text in contexts for word in {*_UNIT.findall(text.lower())})
    rare = {word: float(np.log(1 + len(contexts) / count)) for word, count in seen.items()}
    pairs = zip(rows["text"], rows["text2"], strict=True)
    found = [(*_nearest(question, context, rare), 0.0, NEVER) for question, context in pairs]
    return np.array(found, dtype=np.float64).reshape(-1, 4)


def _sentences(context: str) -> list[tuple[int, int]]:
    """Return the places of a context's sentences, without spaces around."""
    found = []
    for match in _SENTENCE.finditer(context):
        text = match.group()
        start = match.start() + len(text) - len(text.lstrip())
        if text.strip():
            found.append((start, start + len(text.strip())))
    return found or [(0, len(context))]


def _nearest(question: str, context: str, rare: Mapping[str, float]) -> tuple[int, int]:
    """Return the place of the best run of words in one context, by how rare each word is."""
    units = [(m.group().lower(), m.start(), m.end()) for m in _UNIT.finditer(context)]
    if not units:
        return 0, len(context)
    asked = set(_UNIT.findall(question.lower()))
    own = np.array([rare[word] for word, _, _ in units])
    weight = np.where([word in asked for word, _, _ in units], own, 0.0)
    ends = np.array([end for _, _, end in units])
    place = np.arange(len(units))
    best, chosen = -1.0, (0, 1)
    for start, end in _sentences(context):
        inside = np.flatnonzero((ends > start) & (ends <= end))
        hits = inside[weight[inside] > 0]
        shared = weight[hits].sum()
        for first in inside:
            for last in range(first, min(first + _WINDOW, inside[-1] + 1)):
                if weight[last]:
                    break
                apart = np.minimum(abs(place[hits] - first), abs(place[hits] - last))
                score = shared + (weight[hits] / (1 + apart)).sum() + own[first : last + 1].sum()
                if score > best:
                    best, chosen = float(score), (int(first), int(last) + 1)
    return units[chosen[0]][1], units[chosen[1] - 1][2]
