"""Soft labels: how likely each class is, as a language model or several people said."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tinybert.errors import DataError

__all__ = ["SOFT", "check_soft", "named", "read_soft", "shares"]

SOFT = "soft_label"
_LIKE_SHARES = re.compile(r"""\{\s*["'].*|\{.*:.*\}""", re.DOTALL)


def named(value: Any) -> Mapping[str, Any] | None:
    """Return a soft label, an object or its JSON text, as classes and weights; None of others."""
    if isinstance(value, str) and value.strip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not isinstance(value, Mapping):
        return None
    return {str(name): weight for name, weight in value.items() if weight is not None}


def read_soft(
    values: Sequence[Any], lines: Sequence[int], origin: str
) -> list[dict[str, float] | None]:
    """Read the soft labels of N rows.

    Args:
        values: Labels, soft or not.
        lines: The line of each.
        origin: What an error calls the split.

    Returns:
        Of each row the classes with their shares, which sum to 1; None where its label is no soft
        one.

    Raises:
        DataError: A weight is no number of 0 or more, or all are 0; the line is named.
    """
    found: list[dict[str, float] | None] = []
    for value, line in zip(values, lines, strict=True):
        weights = named(value)
        if weights is None:
            found.append(None)
            continue
        for name, weight in weights.items():
            number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not number or not math.isfinite(weight) or weight < 0:
                raise DataError(
                    f"{origin} line {line}: label `{name}` has the weight {weight!r}; wanted a "
                    "number of 0 or more"
                )
        total = float(sum(weights.values()))
        if not total:
            raise DataError(f"{origin} line {line}: no label has a weight above 0")
        found.append({name: float(weight) / total for name, weight in weights.items()})
    return found


def check_soft(
    values: Sequence[Any], lines: Sequence[int], origin: str, *, several: bool = False
) -> None:
    """Refuse soft labels that cannot be read, and any where a text carries a number of labels.

    Args:
        values: Labels of N rows.
        lines: The line of each.
        origin: What an error calls the split.
        several: Whether a text carries any number of labels.

    Raises:
        DataError: A label begins like the text of a JSON object and is none; or one is soft where
            texts carry several. Its line is named.
    """
    for value, line in zip(values, lines, strict=True):
        if named(value) is not None:
            if several:
                raise DataError(
                    f"{origin} line {line}: label is {value}, one label shared out among several; "
                    "wanted a list of labels where a text carries any number"
                )
        elif isinstance(value, str) and _LIKE_SHARES.fullmatch(value.strip()):
            raise DataError(
                f"{origin} line {line}: label is {value.strip()[:60]}, which looks like shares of "
                'classes and is no JSON; wanted {"refund": 0.8, "card": 0.2}'
            )


def shares(
    soft: Sequence[Mapping[str, float] | None], hard: Sequence[int], names: Sequence[str]
) -> list[list[float]]:
    """Return the share of each of C classes, a row of C for each label.

    Args:
        soft: From ``read_soft``.
        hard: Class index of each row, which counts where it has no soft label.
        names: Classes by index.
    """
    rows = []
    for own, index in zip(soft, hard, strict=True):
        given = {names[index]: 1.0} if own is None else own
        rows.append([given.get(name, 0.0) for name in names])
    return rows
