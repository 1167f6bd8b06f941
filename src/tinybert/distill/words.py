"""Cuts a text into words and what stands between them, so that it can be rejoined exactly."""

import re
import sys
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

__all__ = ["Split", "fits", "is_chinese", "is_word", "like", "runs", "splitter"]

_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_MARKS = "".join(
    chr(code) for code in range(sys.maxunicode >> 4) if unicodedata.category(chr(code))[0] == "M"
)
_OTHER = rf"(?:[^\W_{_CHINESE}]|[{_MARKS}])+"
_WORD = re.compile(rf"[{_CHINESE}]+|{_OTHER}(?:['’]{_OTHER})*")


@dataclass(frozen=True)
class Split:
    """A text in words.

    Args:
        words: W words: runs of letters and digits, or Chinese characters or words.
        gaps: W + 1 texts around them: spaces and punctuation, as they were.
    """

    words: tuple[str, ...]
    gaps: tuple[str, ...]

    def join(self, words: Sequence[str] | None = None) -> str:
        """Return the text, or the text with W other words in its places."""
        parts = zip(self.words if words is None else words, self.gaps[1:], strict=True)
        return self.gaps[0] + "".join(word + gap for word, gap in parts)

    def spans(self) -> list[tuple[int, int]]:
        """Return where each word begins and ends, in characters."""
        found, at = [], len(self.gaps[0])
        for word, gap in zip(self.words, self.gaps[1:], strict=True):
            found.append((at, at + len(word)))
            at += len(word) + len(gap)
        return found


def splitter(known: Collection[str] = frozenset()) -> Callable[[str], Split]:
    """Return a function that cuts texts into words.

    Letters and digits make one word as long as they run (an apostrophe inside belongs to it).
    Chinese has no spaces: from left to right the longest word that is known, else one character.

    Args:
        known: Chinese words of more than one character.

    >>> splitter({"快递"})("My 快递在哪, Bob's?").words
    ('My', '快递', '在', '哪', "Bob's")
    """
    longest = max(map(len, known), default=1)

    def split(text: str) -> Split:
        words, gaps, end = [], [], 0
        for match in _WORD.finditer(text):
            start = match.start()
            for word in _cut(match.group(), known, longest):
                words.append(word)
                gaps.append(text[end:start])
                end = start = start + len(word)
        return Split(tuple(words), (*gaps, text[end:]))

    return split


def runs(text: str) -> list[str]:
    """Return the words of a text, a run of Chinese characters uncut."""
    return _WORD.findall(text)


def is_word(text: str) -> bool:
    """Whether a text is one word, or one run of Chinese characters, and nothing else."""
    return _WORD.fullmatch(text) is not None


def is_chinese(word: str) -> bool:
    """Whether a word is written in Chinese characters."""
    return re.match(f"[{_CHINESE}]", word) is not None


def fits(word: str, candidate: str) -> bool:
    """Whether a candidate is another word in the same script."""
    return candidate.casefold() != word.casefold() and is_chinese(candidate) == is_chinese(word)


def like(word: str, candidate: str) -> str:
    """Return the candidate in the capitals of the word that it replaces.

    >>> like("Good", "great"), like("GOOD", "great"), like("good", "Great")
    ('Great', 'GREAT', 'great')
    """
    if word.islower():
        return candidate.lower()
    if word.isupper() and len(word) > 1:
        return candidate.upper()
    return candidate[0].upper() + candidate[1:] if word[:1].isupper() else candidate


def _cut(run: str, known: Collection[str], longest: int) -> list[str]:
    """Return a run as one word, or Chinese as its longest known words."""
    if not is_chinese(run):
        return [run]
    found, at = [], 0
    while at < len(run):
        lengths = range(min(longest, len(run) - at), 1, -1)
        length = next((n for n in lengths if run[at : at + n] in known), 1)
        found.append(run[at : at + length])
        at += length
    return found
