"""Candidates for a word: the four sources, opened by their settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from tinybert.distill.pieces import EmbeddingNeighbors, MaskedWords, Propose, Slot, read_backend
from tinybert.distill.recipe import WordSettings
from tinybert.distill.vectors import vector_neighbors
from tinybert.distill.wordnet import read_wordnet
from tinybert.distill.words import Split, fits, is_chinese
from tinybert.errors import ConfigError

__all__ = ["Source", "by_word", "check_source", "open_source"]


@dataclass(frozen=True)
class Source:
    """Proposes other words for words.

    Args:
        name: ``embeddings``, ``mlm``, ``vectors`` or ``wordnet``.
        propose: Given texts and slots (text, word), returns the candidates of each slot, best
            first; none where a word stays.
        known: Chinese words of more than one character that it knows.
    """

    name: str
    propose: Propose
    known: frozenset[str] = frozenset()


def check_source(settings: WordSettings) -> None:
    """Refuse a source without what it reads, and what no source would read; all at once.

    Raises:
        ConfigError: A file, folder or model is not named, does not exist or is not used.
    """
    source, problems = settings.source, []
    used = {"vectors": ("vectors", "mlm"), "wordnet": ("wordnet",), "mlm": ("mlm",)}
    for name, sources in used.items():
        value = getattr(settings, name)
        if value is None and source == name:
            problems.append(
                f"augment.source is `{source}`, augment.{name} is not set; name it with --{name}"
            )
        elif value is not None and source not in sources:
            problems.append(
                f"augment.{name} is `{value}`, which the source `{source}` does not read; "
                f"set augment.source to {' or '.join(sources)}"
            )
        elif value is not None and name != "mlm" and not Path(value).exists():
            problems.append(f"augment.{name} is `{value}`, which does not exist")
    if problems:
        raise ConfigError("; ".join(problems))


def open_source(
    settings: WordSettings, texts: Sequence[str], teacher: PreTrainedModel, folder: str | Path
) -> Source:
    """Open the source of candidates that the settings name.

    Args:
        settings: The source, its files and K, the candidates a word.
        texts: Every text that will be augmented: a file of vectors is read for their words alone.
        teacher: Its word embeddings are the default source.
        folder: The teacher's folder, for its tokenizer.

    Raises:
        ConfigError, DataError, UnsupportedModelError: A file, folder or model cannot be used.
    """
    check_source(settings)
    count = settings.candidates
    if settings.source == "wordnet":
        assert settings.wordnet is not None
        return by_word("wordnet", read_wordnet(settings.wordnet), count)
    if settings.vectors is not None:
        near = by_word("vectors", vector_neighbors(settings.vectors, texts, count), count)
    else:
        table: Any = teacher.get_input_embeddings()
        backend = read_backend(folder)
        weight = table.weight.detach().float().cpu()
        near = Source("embeddings", EmbeddingNeighbors(backend, weight, count))
    if settings.source != "mlm":
        return near
    assert settings.mlm is not None
    return Source("mlm", MaskedWords(settings.mlm, count, near.propose))


def by_word(name: str, table: Mapping[str, Sequence[str]], count: int) -> Source:
    """Return a source that looks a word up as it is written, else in small letters."""

    def propose(splits: Sequence[Split], slots: Sequence[Slot]) -> list[Sequence[str]]:
        words = [splits[i].words[j] for i, j in slots]
        found = [table.get(word) or table.get(word.lower(), ()) for word in words]
        return [
            [c for c in candidates if fits(word, c)][:count]
            for word, candidates in zip(words, found, strict=True)
        ]

    known = frozenset(word for word in table if len(word) > 1 and is_chinese(word))
    return Source(name, propose, known)
