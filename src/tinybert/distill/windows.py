"""Which windows of contexts a model reads in training, and what it learns from each."""

from collections.abc import Sequence
from typing import Any

from datasets import Dataset

from tinybert.spans import Reading, Window, cut_windows
from tinybert.text import Tokenizer

__all__ = ["positions", "window_rows"]


def window_rows(
    split: Dataset, tokenizer: Tokenizer, reading: Reading, no_label: int
) -> dict[str, list[Any]]:
    """Return a row for each window.

    Args:
        split: Columns ``text`` (questions), ``text2`` (contexts) and ``label`` (start and end of
            each answer in characters), None where nobody gave one.
        tokenizer: The model's tokenizer.
        reading: How long windows are.
        no_label: Stands for a missing label.

    Returns:
        Columns ``input_ids``, ``token_type_ids``, ``length``, ``labels`` (see ``positions``) and
        ``context``: positions of its first token and of the one after its last.
    """
    names = ("input_ids", "token_type_ids", "length", "labels", "context")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    found = cut_windows(tokenizer, list(split["text"]), list(split["text2"]), reading)
    for windows, answers in zip(found, split["label"], strict=True):
        for window in windows:
            context = [window.first, window.first + len(window.places)]
            labels = [no_label] * 2 if answers is None else positions(window, answers)
            row = (window.ids, window.type_ids, len(window.ids), labels, context)
            for name, value in zip(names, row, strict=True):
                columns[name].append(value)
    return columns


def positions(window: Window, answers: Sequence[Sequence[int]]) -> list[int]:
    """Return the first and the last token of the first answer that a window holds whole.

    Args:
        window: From ``spans.cut_windows``.
        answers: Start and end of each answer, in characters of the whole context.

    Returns:
        Two positions in the window; 0 and 0, the first token's, where it holds none.
    """
    for start, end in answers:
        inside = [i for i, (a, b) in enumerate(window.places) if a < end and b > start]
        if not inside:
            continue
        first, last = inside[0], inside[-1]
        if window.places[first][0] <= start and window.places[last][1] >= end:
            return [window.first + first, window.first + last]
    return [0, 0]
