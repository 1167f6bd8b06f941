"""Questions about contexts: from answers as they are given to the places where they stand."""

import json
from typing import Any

import datasets as hf
from datasets import Dataset

from tinybert.errors import DataError

__all__ = ["check_answers", "select_questions"]

_FEATURES = hf.Features(
    {
        "text": hf.Value("string"),
        "text2": hf.Value("string"),
        "label": hf.List(hf.List(hf.Value("int64"))),
        "line": hf.Value("int64"),
    }
)
_WANTED = 'wanted {"text": ["..."], "answer_start": [0]}, both lists empty where there is no answer'
_WIDTH = 200


def select_questions(
    split: Dataset,
    columns: tuple[str, str, str],
    origin: str,
    *,
    mend: bool = False,
    notes: list[str] | None = None,
) -> Dataset:
    """Keep questions, contexts and the places of the answers under our names.

    Args:
        split: Texts, and answers: ``text`` and ``answer_start`` as lists or as a list of pairs, or
            the JSON of one of both.
        columns: Names of the question, the context and the answers.
        origin: What an error calls the split.
        mend: Look for an answer that does not stand where ``answer_start`` says in the rest of the
            context, and take the nearest place; leave out one that stands nowhere, and a question
            none of whose answers does.
        notes: Told what was mended.

    Returns:
        Columns ``text`` (the question), ``text2`` (its context), ``label`` (start and end of each
        answer in characters; none where there is no answer) and ``line``.

    Raises:
        DataError: A question that is no text, an empty context, answers of another form, an empty
            answer, or one that does not stand where it should; line and value are named.
    """
    names = split.column_names
    lines = list(split["line"]) if "line" in names else list(range(1, len(split) + 1))
    where = (
        [f"{origin} {place}" for place in split["place"]]
        if "place" in names
        else [f"{origin} line {line}" for line in lines]
    )
    given = (list(split[name]) for name in columns)
    rows: dict[str, list[Any]] = {name: [] for name in _FEATURES}
    counts = {"moved": 0, "lost": 0, "left": 0}
    for question, context, answers, line, at in zip(*given, lines, where, strict=True):
        for name, value in zip(columns[:2], (question, context), strict=True):
            if not isinstance(value, str):
                raise DataError(f"{at}: column `{name}` is {value!r}; wanted a text")
        if not context.strip():
            raise DataError(f"{at}: column `{columns[1]}` is empty; wanted a context")
        pairs = _pairs(answers, columns[2], at)
        places = [_place(context, *pair, at, mend, counts) for pair in pairs]
        kept = list(dict.fromkeys(place for place in places if place is not None))
        if pairs and not kept:
            counts["left"] += 1
            continue
        row = (question, context, [list(place) for place in kept], line)
        for name, value in zip(rows, row, strict=True):
            rows[name].append(value)
    if any(counts.values()) and notes is not None:
        notes.append(
            f"{origin}: {counts['moved']:,} answers moved to where their text stands, "
            f"{counts['lost']:,} that stand nowhere left out, with {counts['left']:,} questions"
        )
    return Dataset.from_dict(rows, features=_FEATURES)


def check_answers(train: Dataset, source: str) -> None:
    """Refuse a train split in which no question has an answer.

    Raises:
        DataError: No question has one.
    """
    if not any(train["label"]):
        raise DataError(f"{source}: no train question has an answer; wanted at least some")


def _pairs(value: Any, column: str, at: str) -> list[tuple[str, int]]:
    """Return texts and starts of answers in any of the forms."""
    shown = str(value)[:_WIDTH]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise DataError(f"{at}: column `{column}` is `{shown}`; {_WANTED}") from error
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        value = {name: [part.get(name) for part in value] for name in ("text", "answer_start")}
    if not isinstance(value, dict) or not {"text", "answer_start"} <= value.keys():
        raise DataError(f"{at}: column `{column}` is {shown}; {_WANTED}")
    texts, starts = value["text"], value["answer_start"]
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise DataError(f"{at}: column `{column}` is {shown}; {_WANTED}")
    for text, start in zip(texts, starts, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{at}: answer {text!r}; wanted a text that is not empty")
        if not isinstance(start, int) or isinstance(start, bool):
            raise DataError(f"{at}: answer_start {start!r} of `{text[:40]}`; wanted a whole number")
    return list(zip(texts, starts, strict=True))


def _place(
    context: str, text: str, start: int, at: str, mend: bool, counts: dict[str, int]
) -> tuple[int, int] | None:
    """Return where an answer stands; None where it stands nowhere and that is to be mended."""
    if start >= 0 and context[start : start + len(text)] == text:
        return start, start + len(text)
    places = [i for i in range(len(context)) if context.startswith(text, i)]
    nearest = min(places, key=lambda i: abs(i - start), default=None)
    if mend:
        counts["lost" if nearest is None else "moved"] += 1
        return None if nearest is None else (nearest, nearest + len(text))
    there = context[max(0, start) : max(0, start) + len(text)][:40]
    hint = "it stands nowhere in it" if nearest is None else f"it stands at {nearest}"
    raise DataError(
        f"{at}: answer_start is {start}, where the context reads `{there}`; wanted the place of "
        f"`{text[:40]}`, {hint}; mend the data, or set data.mend_answers = true"
    )
