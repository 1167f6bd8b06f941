"""Cuts texts at the ends of sentences, and puts the answers for the parts together again."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Piece", "join", "pack", "separator", "split_lines", "split_sentences"]

_END = re.compile(
    r"""(?:(?<![。！？；…])[。！？；…]++[”’」』）"']*+)  # Chinese: no space need follow
    |(?:(?<![.!?])[.!?]++["'”’»)\]]*+(?=\s))""",  # Latin: a space follows
    re.VERBOSE,
)
_SPACE = re.compile(r"\s*")
_SPACES = re.compile(r"\s+")
_ABBREVIATIONS = frozenset(
    (
        *("mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e", "no", "nr", "fig"),
        *("ca", "approx", "bzw", "usw", "z.b", "d.h", "u.a", "inc", "ltd", "co", "jr", "sr"),
        *("sen", "gov", "gen", "rep", "mt", "ft", "vol", "sec", "p", "pp", "art", "abs", "abb"),
        *("mme", "mlle", "jan", "feb", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "okt"),
        *("nov", "dec", "dez"),
    )
)
_SHORT = re.compile(r"[^\W\d_]|\d\d?|[\ue000-\ue009]|(?:[A-Z]\.)+[A-Z]")
_LONGEST_WORD = 20
_AS_WIDE = re.compile(r"[\d“”‘’…—]")
_WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")


@dataclass(frozen=True)
class Piece:
    """A part of a text.

    Args:
        text: Without spaces around; empty where there is nothing but space.
        after: The space behind it, as it was.
    """

    text: str
    after: str


def split_lines(text: str) -> list[Piece]:
    r"""Cut a text into its lines; blank lines and spaces around lines stay as ``after``.

    >>> split_lines("One.\n\nTwo.")
    [Piece(text='One.', after='\n\n'), Piece(text='Two.', after='')]
    """
    found, place = [], 0
    for match in _SPACES.finditer(text):
        if "\n" in match.group() or match.start() == 0 or match.end() == len(text):
            found.append(Piece(text[place : match.start()], match.group()))
            place = match.end()
    if place < len(text):
        found.append(Piece(text[place:], ""))
    return found


def split_sentences(line: str) -> list[Piece]:
    """Cut a line at the ends of sentences, Latin or Chinese.

    A point ends no sentence inside a number, a name of a site, behind an initial, an abbreviation,
    capitals with points or a number of one or two digits, as in ``3. Oktober``; nor does any mark
    behind which a small letter follows.

    >>> [piece.text for piece in split_sentences("Mr. Li paid 3.50 at a.com. 好的。谢谢！")]
    ['Mr. Li paid 3.50 at a.com.', '好的。', '谢谢！']
    """
    found, place = [], 0
    for match in _END.finditer(line):
        end = match.end()
        space = _SPACE.match(line, end).group()  # type: ignore[union-attr]
        following = line[end + len(space) : end + len(space) + 1]
        last = line[max(place, end - _LONGEST_WORD) : end]
        latin = match.group()[0] in ".!?"
        if not following or (latin and following.islower()):
            continue
        if match.group()[0] == "." and _goes_on(last):
            continue
        found.append(Piece(line[place:end], space))
        place = end + len(space)
    if place < len(line):
        found.append(Piece(line[place:], ""))
    return found


def _goes_on(last: str) -> bool:
    """Whether a sentence goes on behind the point that its last word ends with."""
    words = last.rstrip("\"'”’»)]").rsplit(None, 1)
    word = words[-1].rstrip(".").lstrip("(\"'“„«") if words else ""
    return word.lower() in _ABBREVIATIONS or bool(_SHORT.fullmatch(word))


def pack(pieces: Sequence[Piece], lengths: Sequence[int], limit: int) -> list[Piece]:
    """Put neighboring pieces together as long as the sum of their lengths is within a limit.

    >>> pack([Piece("a", " "), Piece("b", " "), Piece("c", "")], [2, 2, 2], 4)
    [Piece(text='a b', after=' '), Piece(text='c', after='')]
    """
    found: list[Piece] = []
    total = 0
    for piece, length in zip(pieces, lengths, strict=True):
        if found and total + length <= limit:
            last = found.pop()
            piece = Piece(last.text + last.after + piece.text, piece.after)
            length += total
        found.append(piece)
        total = length
    return found


def join(texts: Sequence[str], pieces: Sequence[Piece]) -> str:
    """Put the answers for the pieces of a text together, with what stands between them."""
    following = [*texts[1:], ""][: len(texts)]
    parts = zip(texts, pieces, following, strict=True)
    return "".join(text + separator(text, piece.after, after) for text, piece, after in parts)


def separator(before: str, space: str, after: str) -> str:
    """Return what stands between two answers between whose texts a space stood, or none.

    Where none stood, as in Chinese, and the answers are not written in wide characters, one is put
    in; where one stood and both answers are wide, it is left out. Quotes, dashes and digits are as
    wide as what stands on their other side.

    >>> separator("Good.", "", "Thanks."), separator("好。", " ", "谢谢"), separator("好", "", "2")
    (' ', '', '')
    """
    if "\n" in space or not before or not after:
        return space
    ends = before[-1], after[0]
    if any(map(_WIDE.match, ends)) and all(_WIDE.match(one) or _AS_WIDE.match(one) for one in ends):
        return "" if space in ("", " ") else space
    return space or " "
