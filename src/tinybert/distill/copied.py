"""Pairs whose numbers, names and addresses are replaced, so that a small model keeps them."""

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from datasets import Dataset, concatenate_datasets

from tinybert.pairs import PairData
from tinybert.runtime.carried import ADDRESS, NUMBER, bounded, carry_pair

__all__ = ["copied_pairs", "with_carried", "with_copied"]

_KINDS = {"address": ADDRESS, "number": NUMBER, "name": r"[A-Z][a-zA-Z-]+[a-zA-Z]"}
_COPIED = bounded("|".join(f"(?P<{kind}>{form})" for kind, form in _KINDS.items()))
_STARTS = ("b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "br", "st")
_MIDDLES = ("a", "e", "i", "o", "u", "ai", "ee", "ou")
_ENDS = ("", "", "l", "n", "r", "s", "t", "ck", "nd")
_SAME_KIND = 0.7


def with_copied(data: PairData, share: float, seed: int) -> PairData:
    """Add pairs in which other things are to be copied to train (see ``copied_pairs``).

    Args:
        data: The pairs.
        share: How many, as a share of train; 0 adds none.
        seed: Seeds the choice.

    Returns:
        The data with a note on it; the ``line`` of a made pair is that of the one it was made of.
    """
    train, count = data.train, round(share * len(data.train))
    if not count:
        return data
    made = copied_pairs(list(train["source"]), list(train["target"]), count, seed)
    note = f"{len(made):,} pairs with other numbers, names and addresses than they had"
    if not made:
        note = "data.copied: no pair has a number, a name or an address on both sides"
        return replace(data, notes=(*data.notes, note))
    rows = {
        "source": [source for _, source, _ in made],
        "target": [target for _, _, target in made],
        "references": [[target] for _, _, target in made],
        "line": [train[i]["line"] for i, _, _ in made],
    }
    more = Dataset.from_dict(rows, features=train.features)
    return replace(data, train=concatenate_datasets([train, more]), notes=(*data.notes, note))


def with_carried(data: PairData) -> PairData:
    """Put marks into train for the numbers and addresses that both sides of a pair have.

    Returns:
        The data with a note on it; ``references`` of train stay.
    """
    train = data.train
    pairs = [carry_pair(*pair) for pair in zip(train["source"], train["target"], strict=True)]
    count = sum(source != text for (source, _), text in zip(pairs, train["source"], strict=True))
    note = f"{count:,} pairs of train have numbers or addresses on both sides: marks stand for them"
    columns = train.to_dict()
    columns["source"], columns["target"] = (list(side) for side in zip(*pairs, strict=True))
    marked = Dataset.from_dict(columns, features=train.features)
    return replace(data, train=marked, notes=(*data.notes, note))


def copied_pairs(
    sources: Sequence[str], targets: Sequence[str], count: int, seed: int
) -> list[tuple[int, str, str]]:
    """Make pairs of those in which a number, a name or an address stands on both sides.

    It is replaced by another one, on both sides by the same. What stands inside a word stays, as
    the number in ``A380``.

    Args:
        sources, targets: N texts each.
        count: Pairs to make.
        seed: Seeds the choice.

    Returns:
        The place of the pair that each was made of, from 0, its source and its target; empty where
        no pair has anything in common.

    >>> copied_pairs(["she wears a red 7"], ["sie trägt eine rote 7"], 1, seed=3)
    [(0, 'she wears a red 47', 'sie trägt eine rote 47')]
    """
    templates = []
    for i, (source, target) in enumerate(zip(sources, targets, strict=True)):
        shared = _shared(source, target)
        if shared:
            templates.append((i, source, target, shared))
    if not templates:
        return []
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        i, source, target, shared = draw.choice(templates)
        others = {text: _other(kind, draw) for text, kind in shared.items()}

        def put(match: re.Match[str], others: dict[str, str] = others) -> str:
            return others.get(match.group(), match.group())

        found.append((i, _COPIED.sub(put, source), _COPIED.sub(put, target)))
    return found


def _shared(source: str, target: str) -> dict[str, str]:
    """Return what stands once on either side, with its kind; not a text's first word."""
    here, there = ({m.group(): m for m in _COPIED.finditer(text)} for text in (source, target))
    counts = [Counter(m.group() for m in _COPIED.finditer(text)) for text in (source, target)]
    return {
        text: str(match.lastgroup)
        for text, match in here.items()
        if text in there
        and counts[0][text] == counts[1][text] == 1
        and (match.start() > 0 or match.lastgroup != "name")
    }


def _other(kind: str, draw: random.Random) -> str:
    """Return something new to copy, mostly of the same kind."""
    chosen = kind if draw.random() < _SAME_KIND else draw.choice(list(_KINDS))
    return _MAKERS[chosen](draw)


def _number(draw: random.Random) -> str:
    digits = str(draw.randrange(10 ** draw.randint(1, 5)))
    if draw.random() < 0.2:
        digits += draw.choice(".,:") + str(draw.randrange(10 ** draw.randint(1, 2)))
    return digits


def _name(draw: random.Random) -> str:
    parts = (_STARTS, _MIDDLES, _ENDS)
    return "".join(draw.choice(part) for _ in range(draw.randint(1, 3)) for part in parts).title()


def _address(draw: random.Random) -> str:
    first, second = _name(draw).lower(), _name(draw).lower()
    end = draw.choice(("com", "org", "net", "de", "cn"))
    if draw.random() < 0.5:
        return f"{first}@{second}.{end}"
    return f"https://{second}.{end}/{first}/{draw.randrange(1000)}"


_MAKERS: dict[str, Callable[[random.Random], str]] = {
    "address": _address,
    "number": _number,
    "name": _name,
}
