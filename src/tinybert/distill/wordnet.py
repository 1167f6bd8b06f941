"""Synonyms out of a WordNet: Princeton's published files, or tables of synsets and lemmas."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from tinybert.distill.words import is_chinese, is_word
from tinybert.errors import DataError
from tinybert.tables import decoded_lines

__all__ = ["read_wordnet"]

_CONTENT = (  # that the list of stop words holds too
    "amount back become bill bottom call cry describe detail empty fill find fire front full get "
    "give go interest keep made mill mine move name part put see seem serious show side sincere "
    "system take thick thin top"
)
_FUNCTION = ENGLISH_STOP_WORDS - {*_CONTENT.split()}
_PARTS = ("noun", "verb", "adj", "adv")

Synsets = Mapping[str, Sequence[str]]
Senses = Iterator[tuple[str, Sequence[str]]]


def read_wordnet(folder: str | Path) -> dict[str, tuple[str, ...]]:
    """Return the synonyms of every word, those of its most frequent senses first.

    A word's senses are taken in the order of the files, its parts of speech in turn: the first
    sense as a noun, the first as a verb, and so on, then the second ones.

    Args:
        folder: One of: Princeton WordNet's ``index.noun``, ``data.noun`` and so on; ``entries.tsv``
            and ``synsets.tsv`` (Open English WordNet as tables, columns ``lemma``, ``pos``,
            ``synsets_in_sense_order`` and ``synset``, ``members``); ``lemmas.tsv`` (a synset and a
            lemma a line); or ``wn-data-LANGUAGE.tab`` of the Open Multilingual Wordnet.

    Returns:
        Synonyms by word; the words in small letters, the synonyms as they are written. Words such
        as ``in``, ``it`` and ``no`` have none, nor have single letters: in a WordNet they are units
        and elements. What a WordNet writes in capitals is no sense of a word in small letters, nor
        is a name where the word in small letters is there too.

    Raises:
        DataError: The folder holds none of these, or a line that does not fit, by its number.
    """
    place = Path(folder)
    if not place.is_dir():
        raise DataError(f"{place} is no folder; wanted one with a WordNet")
    tabs = sorted(place.glob("wn-data-*.tab"))
    if (place / "data.noun").is_file() or (place / "index.noun").is_file():
        synsets, senses = _princeton(place)
    elif (place / "entries.tsv").is_file() and (place / "synsets.tsv").is_file():
        synsets, senses = _entries(place)
    elif (place / "lemmas.tsv").is_file():
        synsets, senses = _lemmas(place / "lemmas.tsv")
    elif tabs:
        synsets, senses = _lemmas(tabs[0])
    else:
        listed = ", ".join(sorted(f.name for f in place.iterdir())) or "nothing"
        raise DataError(
            f"{place} holds {listed}; wanted a WordNet: data.noun and index.noun, entries.tsv and "
            "synsets.tsv, lemmas.tsv, or wn-data-*.tab"
        )
    return _synonyms(synsets, senses)


def _synonyms(synsets: Synsets, senses: Senses) -> dict[str, tuple[str, ...]]:
    """Join the senses of each word into its synonyms."""
    ranked: dict[str, list[tuple[int, Sequence[str]]]] = defaultdict(list)
    small = {member for members in synsets.values() for member in members if member.islower()}
    for lemma, found in senses:
        word = lemma.lower()
        if is_word(word) and (len(word) > 1 or is_chinese(word)) and word not in _FUNCTION:
            members = [synsets[i] for i in found if _means(word, synsets[i], word in small)]
            ranked[word] += list(enumerate(members))
    table = {}
    for word, groups in ranked.items():
        ordered = [m for _, members in sorted(groups, key=lambda g: g[0]) for m in members]
        others = dict.fromkeys(m for m in ordered if m.lower() != word and _is_phrase(m))
        if others:
            table[word] = tuple(others)
    return table


def _means(word: str, members: Sequence[str], small: bool) -> bool:
    """Whether a synset has synonyms of a word in small letters; ``small``: some are written so."""
    forms = [member for member in members if member.lower() == word]
    named = not small and any(not form.isupper() for form in forms)
    return len(members) > 1 and (word in forms or named)


def _is_phrase(lemma: str) -> bool:
    """Whether a lemma is words with spaces or hyphens between them."""
    return all(is_word(part) for part in re.split("[ -]", lemma))


def _princeton(place: Path) -> tuple[Synsets, Senses]:
    """Read ``data.*`` and ``index.*``; lines that begin with a space are the license."""
    synsets: dict[str, Sequence[str]] = {}
    senses: list[tuple[str, Sequence[str]]] = []
    for part in _PARTS:
        data, index = place / f"data.{part}", place / f"index.{part}"
        if not data.is_file() and not index.is_file():
            continue
        for number, line in _lines(data):
            try:
                fields = line.split(" | ")[0].split()
                words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
                synsets[part + fields[0]] = [_plain(word) for word in words]
            except (IndexError, ValueError) as error:
                raise _misfit(data, number, line, "offset, file, type, count and words") from error
        for number, line in _lines(index):
            try:
                fields = line.split()
                offsets = [part + offset for offset in fields[-int(fields[2]) :]]
                missing = next((o for o in offsets if o not in synsets), None)
            except (IndexError, ValueError) as error:
                raise _misfit(index, number, line, "lemma, part, count and offsets") from error
            if missing is not None:
                raise DataError(
                    f"{index} line {number}: {data.name} has no synset {missing[len(part) :]}; "
                    "wanted both files of one version"
                )
            senses.append((_plain(fields[0]), offsets))
    return synsets, iter(senses)


def _entries(place: Path) -> tuple[Synsets, Senses]:
    """Read ``synsets.tsv`` and ``entries.tsv``."""
    members = _table(place / "synsets.tsv", ("synset", "members"))
    synsets = {synset: found.split("|") for _, (synset, found) in members}
    senses = []
    path = place / "entries.tsv"
    for number, (lemma, found) in _table(path, ("lemma", "synsets_in_sense_order")):
        ids = found.split("|")
        missing = next((i for i in ids if i not in synsets), None)
        if missing is not None:
            raise DataError(f"{path} line {number}: synsets.tsv has no synset `{missing}`")
        senses.append((lemma, ids))
    return synsets, iter(senses)


def _lemmas(path: Path) -> tuple[Synsets, Senses]:
    """Read lines of synset and lemma; an ending after ``+`` is not part of the word."""
    synsets: dict[str, list[str]] = defaultdict(list)
    senses: dict[str, list[str]] = defaultdict(list)
    for number, line in _lines(path):
        fields = line.rstrip("\r\n").split("\t")
        if line.startswith("#") or (number == 1 and fields[-1] == "lemma"):
            continue
        if len(fields) > 2 and not fields[1].endswith("lemma"):
            continue
        if len(fields) not in (2, 3) or not fields[-1].strip():
            raise _misfit(path, number, line, "a synset and a lemma, separated by a tab")
        lemma = fields[-1].strip().partition("+")[0]
        if lemma not in synsets[fields[0]]:
            synsets[fields[0]].append(lemma)
            senses[lemma].append(fields[0])
    return synsets, iter(senses.items())


def _table(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and the wanted columns of a table with a header."""
    header: list[str] = []
    for number, line in _lines(path):
        fields = line.rstrip("\r\n").split("\t")
        if not header:
            header = fields
            if missing := [name for name in columns if name not in header]:
                raise DataError(f"{path} has no column `{missing[0]}`; it has {', '.join(header)}")
        elif len(fields) != len(header):
            raise _misfit(path, number, line, f"{len(header)} columns")
        else:
            yield number, [fields[header.index(name)] for name in columns]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that must be there, the license left out."""
    if not path.is_file():
        raise DataError(f"{path} does not exist; wanted it beside the other files")
    return ((n, line) for n, line in decoded_lines(path) if line.strip() and line[0] != " ")


def _plain(word: str) -> str:
    """Return a lemma without the marks of Princeton's files."""
    return re.sub(r"\((a|p|ip)\)$", "", word).replace("_", " ")


def _misfit(path: Path, number: int, line: str, wanted: str) -> DataError:
    """Return the error for a line that does not fit."""
    return DataError(f"{path} line {number}: `{line.strip()[:60]}`; wanted {wanted}")
