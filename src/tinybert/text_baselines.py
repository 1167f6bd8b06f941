"""The baselines of written answers: nothing is trained."""

from collections.abc import Sequence

from tinybert.runtime.sentences import Piece, split_sentences

__all__ = ["unwritten"]

_WORDS, _CHARACTERS = 8, 16
_LONG = 40


def unwritten(task: str, sources: Sequence[str]) -> dict[str, list[str]]:
    """Return answers to N sources that need no model.

    Args:
        task: ``translation`` or ``summarization``.
        sources: N texts.

    Returns:
        N texts by name: of a translation ``source`` (nothing is translated); of a summary ``first
        sentence`` and ``first 8 words`` (the first sixteen characters of a text without spaces).
    """
    if task == "translation":
        return {"source": list(sources)}
    return {
        "first sentence": [
            next(iter(split_sentences(text)), Piece(text, "")).text for text in sources
        ],
        "first 8 words": [_beginning(text) for text in sources],
    }


def _beginning(text: str) -> str:
    """Return a text's first words, or characters where words are as long as sentences."""
    words = text.split()
    return text[:_CHARACTERS] if len(text) > _LONG * len(words) else " ".join(words[:_WORDS])
