"""Reads SQuAD's JSON, so that every bad question is named by where it stands in it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset

from tinybert.errors import DataError
from tinybert.tables import decoded_lines

__all__ = ["SQUAD", "read_squad"]

SQUAD = ".json"
_WANTED = (
    'wanted SQuAD\'s layout: {"data": [{"paragraphs": [{"context": "...", "qas": [{"question": '
    '"...", "answers": [{"text": "...", "answer_start": 0}]}]}]}]}'
)


def read_squad(path: str | Path) -> Dataset:
    """Read questions and their contexts from a file in the layout of SQuAD 1.1 or 2.0.

    Returns:
        Columns ``question``, ``context``, ``answers`` (JSON: a list of ``text`` and
        ``answer_start``; empty where ``is_impossible`` says so), ``line`` (the running number of
        the question) and ``place`` (where it stands, such as ``data[0].paragraphs[2].qas[1]``).

    Raises:
        DataError: No such file, not UTF-8, no JSON, a key is missing or of another kind, a question
            without answers that is not marked ``is_impossible``, or no question at all.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file} does not exist; wanted a {SQUAD} file in SQuAD's layout")
    try:
        values = json.loads("".join(line for _, line in decoded_lines(file)))
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file} is no JSON ({error}); {_WANTED}") from error
    rows = list(_questions(file, values))
    if not rows:
        raise DataError(f"{file} holds no question; {_WANTED}")
    names = ("question", "context", "answers", "place")
    columns: dict[str, list[Any]] = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    return Dataset.from_dict(columns | {"line": list(range(1, len(rows) + 1))})


def _questions(file: Path, values: Any) -> Iterator[tuple[str, str, str, str]]:
    """Yield question, context, answers and place."""
    for i, article in enumerate(_get(file, "", values, "data", list)):
        for j, paragraph in enumerate(_get(file, f"data[{i}]", article, "paragraphs", list)):
            where = f"data[{i}].paragraphs[{j}]"
            context = _get(file, where, paragraph, "context", str)
            for k, row in enumerate(_get(file, where, paragraph, "qas", list)):
                place = f"{where}.qas[{k}]"
                question = _get(file, place, row, "question", str)
                none = row.get("is_impossible") is True
                answers = [] if none else _get(file, place, row, "answers", list)
                if not answers and not none:
                    raise DataError(
                        f"{file} {place}: `answers` is empty; wanted an answer, or "
                        "`is_impossible`: true"
                    )
                yield question, context, json.dumps(answers, ensure_ascii=False), place


def _get(file: Path, place: str, values: Any, key: str, kind: type) -> Any:
    """Return a value of a kind; say where it is missing."""
    where = f"{file} {place}".rstrip()
    if not isinstance(values, dict) or key not in values:
        shown = ", ".join(values) if isinstance(values, dict) else type(values).__name__
        raise DataError(f"{where} has no `{key}` (it has: {shown[:80]}); {_WANTED}")
    found = values[key]
    if not isinstance(found, kind):
        what = "a list" if kind is list else "a text"
        raise DataError(f"{where}: `{key}` is {str(found)[:60]!r}; wanted {what}")
    return found
