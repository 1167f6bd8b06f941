"""What the tags of words say: their scheme, and the entities that they mark."""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinybert.errors import DataError

__all__ = [
    "OUTSIDE",
    "PLAIN",
    "SCHEMES",
    "Span",
    "as_bioes",
    "odd_tag",
    "scheme_of",
    "spans",
    "word_logits",
]

OUTSIDE = "O"
PLAIN = "plain"
SCHEMES = {"BIO": "BI", "BIOES": "BIES", "BMES": "BMES", "BILOU": "BILU"}
_AS_BIOES = {"M": "I", "L": "E", "U": "S"}
_LETTERS = frozenset("BIESMLU")
_MARKED = re.compile(r"[BIESMLU]-.+", re.DOTALL)
_SURE = 20.0


class Span(NamedTuple):
    """An entity: its kind, its first word, and the one after its last."""

    kind: str
    start: int
    end: int


def scheme_of(tags: Iterable[str]) -> str:
    """Return the scheme of a set of tags: one of ``SCHEMES``, or ``plain``.

    Tags such as ``B-PER`` (or bare letters such as ``B`` alone) mark entities, ``O`` what is none.
    Tags without letters before them, and any set without ``O`` in which some are of that form by
    chance, are plain: each word has one of its own, such as its part of speech.

    Raises:
        DataError: The tags mix schemes.

    >>> scheme_of(["O", "B-PER", "I-PER"]), scheme_of(["B-PER", "M-PER", "E-PER", "O"])
    ('BIO', 'BMES')
    >>> scheme_of(["NOUN", "VERB", "."])
    'plain'
    """
    names = set(tags)
    if (odd := odd_tag(names)) is not None:
        raise DataError(f"tag `{odd}` does not fit the scheme of the other tags")
    marked = _marked(names)
    for name, letters in SCHEMES.items() if marked else ():
        if {tag[0] for tag in marked} <= set(letters):
            return name
    return PLAIN


def odd_tag(tags: Iterable[str]) -> str | None:
    """Return a tag that does not fit the scheme of the others, or None where one scheme holds all.

    >>> odd_tag(["O", "B-PER", "I-PER", "E-PER", "M-PER", "S-PER"])
    'I-PER'
    """
    names = set(tags)
    marked = _marked(names)
    if unmarked := sorted(names - marked - {OUTSIDE}) if marked else []:
        return unmarked[0]
    most = max(SCHEMES.values(), key=lambda letters: sum(tag[0] in letters for tag in marked))
    return min((tag for tag in marked if tag[0] not in most), default=None)


def as_bioes(tag: str) -> str:
    """Return a tag with the letters of BIOES: M is I, L is E, U is S."""
    return _AS_BIOES.get(tag[0], tag[0]) + tag[1:]


def spans(tags: Sequence[str], *, plain: bool = False) -> list[Span]:
    """Return the entities that the tags of a text mark, broken sequences too.

    An entity is a run of tags of one kind; it begins anew at B and S, and ends after E and S. So an
    I without a B before it begins an entity. Read so by conlleval and by seqeval's default.

    Args:
        tags: W tags of one scheme.
        plain: The scheme is plain: each word is one of its own, and its tag is the kind.

    >>> [tuple(span) for span in spans(["I-PER", "I-PER", "B-PER", "O", "I-LOC"])]
    [('PER', 0, 2), ('PER', 2, 3), ('LOC', 4, 5)]
    """
    if plain:
        return [Span(tag, i, i + 1) for i, tag in enumerate(tags)]
    found: list[Span] = []
    begun, last, kind = 0, OUTSIDE, ""
    for i, tag in enumerate([*tags, OUTSIDE]):
        letter, own = as_bioes(tag)[0], tag[2:] or "_"
        goes_on = last in ("B", "I") and letter in ("I", "E") and own == kind
        if not goes_on:
            if last != OUTSIDE:
                found.append(Span(kind, begun, i))
            begun = i
        last, kind = letter, own
    return found


def word_logits(
    tokens: npt.NDArray[Any], firsts: Sequence[int], outside: int
) -> npt.NDArray[np.float32]:
    """Return the logits of words: those of each word's first token.

    Args:
        tokens: Float (T, C).
        firsts: Position of each word's first token; -1 where it has none, past ``max_length`` or
            because nothing of it is left: it is then surely tagged ``outside``.
        outside: Index of that tag.

    Returns:
        Float32 (W, C).
    """
    place = np.asarray(firsts, dtype=np.int64)
    found = np.full((len(place), tokens.shape[1]), -_SURE, dtype=np.float32)
    found[:, outside] = 0.0
    found[place >= 0] = tokens[place[place >= 0]]
    return found


def _marked(names: Collection[str]) -> set[str]:
    """Return the tags that mark entities; none where the tags are plain."""
    others = set(names) - {OUTSIDE}
    if len(others) > 1 and others <= _LETTERS:
        return others
    marked = {tag for tag in others if _MARKED.fullmatch(tag)}
    return marked if OUTSIDE in names or marked == others else set()
