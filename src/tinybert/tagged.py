"""Texts that are tagged word by word: from lists of words and tags to what is learned."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import datasets as hf
from datasets import Dataset

from tinybert.errors import DataError, near_miss
from tinybert.tags import OUTSIDE, PLAIN, odd_tag, scheme_of

__all__ = ["encode_tags", "outside_tag", "select_words", "tag_names"]

_FEATURES = {
    "text": hf.Value("string"),
    "words": hf.List(hf.Value("string")),
    "line": hf.Value("int64"),
}


def select_words(split: Dataset, words: str, tags: str, origin: str) -> Dataset:
    """Keep words and tags under our names, and the text that the words make.

    Args:
        split: Columns of lists.
        words, tags: Their names.
        origin: What an error calls the split.

    Returns:
        Columns ``text`` (the words with a space between), ``words``, ``label`` (as they are given)
        and ``line``.

    Raises:
        DataError: No list of words or of tags, or not a tag for each word; line and value are
            named.
    """
    lines = list(split["line"]) if "line" in split.column_names else range(1, len(split) + 1)
    texts, labels = ([_as_list(value) for value in split[name]] for name in (words, tags))
    for given, own, line in zip(texts, labels, lines, strict=True):
        if not isinstance(given, list) or not all(isinstance(word, str) for word in given):
            raise DataError(
                f"{origin} line {line}: column `{words}` is {given!r}; wanted a list of words"
            )
        if not isinstance(own, list) or None in own:
            raise DataError(
                f"{origin} line {line}: column `{tags}` is {own!r}; wanted a list of tags"
            )
        if len(given) != len(own):
            raise DataError(
                f"{origin} line {line}: {len(given)} words and {len(own)} tags "
                f"({' '.join(given)[:60]}); wanted a tag for each word"
            )
    kind = split.features[tags]
    if not isinstance(kind, hf.List):
        kind, labels = hf.List(hf.Value("string")), [list(map(str, own)) for own in labels]
    columns = {"text": list(map(" ".join, texts)), "words": texts, "label": labels}
    return Dataset.from_dict(
        columns | {"line": list(lines)}, features=hf.Features({**_FEATURES, "label": kind})
    )


def tag_names(train: Dataset, source: str) -> list[str]:
    """Return the tags of train in a fixed order: given, numeric or alphabetic.

    Args:
        train: From ``select_words``.
        source: What an error calls it.

    Raises:
        DataError: Fewer than two, or tags that mix schemes; the line is named.
    """
    inner = getattr(train.features["label"], "feature", None)
    if isinstance(inner, hf.ClassLabel):
        names = list(inner.names)
    else:
        found = {str(tag) for tag in _flat(train["label"])}
        names = sorted(found, key=float if all(map(str.isdigit, found)) else str)
    if len(names) < 2:
        shown = f"only the tag `{names[0]}`" if names else "no tag"
        raise DataError(f"{source}: {shown} in train; wanted two or more")
    odd = odd_tag(names)
    if odd is not None:
        where = next((f" line {line}" for row, line in _lines(train) if odd in map(str, row)), "")
        raise DataError(
            f"{source}{where}: tag `{odd}` does not fit the scheme of the other tags "
            f"({', '.join(name for name in names if name != odd)[:80]}); wanted one scheme: BIO, "
            "BIOES, BMES, BILOU or plain tags"
        )
    return names


def encode_tags(
    split: Dataset, names: Sequence[str], origin: str, name: str, notes: list[str]
) -> Dataset:
    """Turn the tags in ``label`` into their indices; leave out dev and test rows of other tags.

    Args:
        split: From ``select_words``.
        names: From ``tag_names``.
        origin: What an error calls the split.
        name: ``train``, ``dev`` or ``test``.
        notes: Told of rows that are left out.

    Raises:
        DataError: A tag of train that is none, or one that looks like a slip; the line is named.
    """
    index = {name: i for i, name in enumerate(names)}
    given = set(_flat(split["label"]))
    numbered = all(isinstance(tag, int) for tag in given) and not set(map(str, given)) & {*names}
    if numbered or isinstance(getattr(split.features["label"], "feature", None), hf.ClassLabel):
        index = {str(i): i for i in range(len(names))}
    rows, kept = [], []
    strangers: Counter[str] = Counter()
    for i, (row, line) in enumerate(_lines(split)):
        unknown = [tag for tag in map(str, row) if tag not in index]
        for tag in unknown:
            near = near_miss(tag, names)
            if name == "train" or (near and _kind(tag) not in {_kind(own) for own in names}):
                nearest = near.replace("did you mean", "nearest:").rstrip("?")
                raise DataError(
                    f"{origin} line {line}: tag `{tag}` is not one of the {len(names)} tags of "
                    f"the training set{nearest}"
                )
        strangers.update(unknown[:1])
        if not unknown:
            rows.append([index[str(tag)] for tag in row])
            kept.append(i)
    if strangers:
        listed = ", ".join(f"`{tag}` ({count})" for tag, count in strangers.items())
        notes.append(
            f"{sum(strangers.values())} {name} rows of tags that train lacks left out: {listed}"
        )
    whole = hf.List(hf.Value("int64"))
    return split.select(kept).remove_columns("label").add_column("label", rows, feature=whole)


def _kind(tag: str) -> str:
    """Return what a tag of a scheme is of: ``PER`` of ``B-PER``."""
    return tag[2:] if tag[1:2] == "-" else tag


def outside_tag(labels: Sequence[str], rows: Sequence[Sequence[int]]) -> int:
    """Return the tag of words past the limit: ``O``, or the most frequent one of plain tags.

    Args:
        labels: The tags.
        rows: Tags of the training texts, by index.
    """
    if OUTSIDE in labels and scheme_of(labels) != PLAIN:
        return list(labels).index(OUTSIDE)
    counts = Counter(tag for row in rows for tag in row)
    return max(range(len(labels)), key=lambda tag: counts[tag])


def _flat(rows: Sequence[Sequence[Any]]) -> Iterator[Any]:
    """Yield every tag."""
    return (tag for row in rows for tag in row)


def _lines(split: Dataset) -> Iterator[tuple[list[Any], int]]:
    """Yield the tags of each row and its line."""
    return zip(split["label"], split["line"], strict=True)


def _as_list(value: Any) -> Any:
    """Return a list that is written as JSON as a list, anything else as it is."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
