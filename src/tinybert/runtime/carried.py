"""Carries numbers and addresses over a translation: marks stand for them meanwhile."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from tinybert.runtime.generation import Decoding, Hypothesis

__all__ = [
    "ADDRESS",
    "MARKS",
    "NUMBER",
    "Generate",
    "bounded",
    "bring_back",
    "carry",
    "carry_pair",
    "carrying",
]

MARKS = tuple(chr(0xE000 + i) for i in range(10))  # of the private use area
_LETTERS = r"\w\u00c0-\u024f\u0370-\u1fff"  # none that is as wide as a Chinese character
ADDRESS = (
    rf"(?:https?://|www\.)[{_LETTERS}.,:;/?=&%+~#@!$*-]*[{_LETTERS}/=]"
    r"|(?<![\w.+-])[\w.+-]++@[\w-]+(?:\.[\w-]+)+"
)
NUMBER = r"\d+(?:[.,:]\d+)*(?![.,:]\d)"
_BEFORE, _AFTER = r"(?<![A-Za-z0-9])(?<!\d[.,:])", r"(?![A-Za-z0-9])"
_MARK = re.compile(f"[{MARKS[0]}-{MARKS[-1]}]")
_STRAY = re.compile(f" ?{_MARK.pattern}")

Generate = Callable[[Sequence[str], Decoding, int], list[list[Hypothesis]]]


def bounded(forms: str) -> re.Pattern[str]:
    """Return a pattern of forms that are no part of a word or of a longer number."""
    return re.compile(f"{_BEFORE}(?:{forms}){_AFTER}", re.ASCII)


_CARRIED = bounded(f"{ADDRESS}|{NUMBER}")


def carry(text: str) -> tuple[str, tuple[str, ...]]:
    r"""Put marks in the places of the first ten numbers and web or mail addresses.

    A text that holds a mark itself stays as it is.

    >>> carry("room 1102, joe@a.com") == ("room \ue000, \ue001", ("1102", "joe@a.com"))
    True
    """
    if _MARK.search(text):
        return text, ()
    spans: list[str] = []

    def put(match: re.Match[str]) -> str:
        if len(spans) == len(MARKS):
            return match.group()
        spans.append(match.group())
        return MARKS[len(spans) - 1]

    return _CARRIED.sub(put, text), tuple(spans)


def carry_pair(source: str, target: str) -> tuple[str, str]:
    """Put marks in the places of what stands once on either side of a pair, the same on both."""
    if _MARK.search(source + target):
        return source, target
    here, there = (Counter(_CARRIED.findall(text)) for text in (source, target))
    shared = [span for span, count in here.items() if count == there[span] == 1]
    marks: dict[str, str] = dict(zip(shared, MARKS, strict=False))

    def put(match: re.Match[str]) -> str:
        span = str(match.group())
        return marks.get(span, span)

    return _CARRIED.sub(put, source), _CARRIED.sub(put, target)


def bring_back(answer: str, spans: Sequence[str]) -> tuple[str, int]:
    r"""Put the spans in the first places of their marks, and leave other marks out.

    Args:
        answer: With marks.
        spans: What the first marks stand for, in order.

    Returns:
        The answer, and how many spans it has, less the marks left out.

    >>> bring_back("\ue001 men, \ue001 \ue005", ("7", "12"))
    ('12 men,', -1)
    """
    places = dict(zip(MARKS, spans, strict=False))

    def put(match: re.Match[str]) -> str:
        span = places.pop(match.group().strip(), None)
        return "" if span is None else match.group().replace(match.group()[-1], span)

    text = _STRAY.sub(put, answer)
    found = len(spans) - len(places)
    return text, found - (len(_MARK.findall(answer)) - found)


def carrying(generate: Generate, plainly: Generate | None = None) -> Generate:
    """Return what answers as ``generate`` does, numbers and addresses carried over.

    Of a text whose answer has not every mark once the other beams are looked at too: those with the
    most are its answers. One without any mark is answered as it stands.

    Args:
        generate: Answers texts with marks.
        plainly: Answers those as they stand, which may be longer; None takes ``generate``.
    """
    again = plainly or generate

    def answer(texts: Sequence[str], decoding: Decoding, best: int = 1) -> list[list[Hypothesis]]:
        plans = [carry(text) for text in texts]
        rows = generate([text for text, _ in plans], decoding, best)
        found = [_carried_back(row, spans) for row, (_, spans) in zip(rows, plans, strict=True)]
        short = [i for i, (_, lost) in enumerate(found) if lost]
        beams = max(best, decoding.beams)
        if short and beams > best:
            others = generate([plans[i][0] for i in short], decoding, beams)
            for i, row in zip(short, others, strict=True):
                found[i] = _carried_back(row, plans[i][1])
        bare = [i for i in short if found[i][1] >= len(plans[i][1])]
        plain = again([texts[i] for i in bare], decoding, best) if bare else []
        for i, row in zip(bare, plain, strict=True):
            found[i] = _carried_back(row, ())
        return [row[:best] for row, _ in found]

    return answer


def _carried_back(row: Sequence[Hypothesis], spans: Sequence[str]) -> tuple[list[Hypothesis], int]:
    """Return the answers that have the most of the spans, and how many these lack."""
    back = [(one, *bring_back(one.text, spans)) for one in row]
    most = max((count for _, _, count in back), default=-1)
    found = [replace(one, text=text) for one, text, count in back if count == most]
    return found, len(spans) - most
