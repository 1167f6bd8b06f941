"""The baselines of tagging, in place of TF-IDF."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from tinybert.data import TaskData

__all__ = ["features", "lexicon"]

Array = npt.NDArray[Any]

_STEPS = 60


def lexicon(data: TaskData, split: str = "dev") -> Array:
    """Return logits of each word's most frequent tag in train; of all words, for an unseen one.

    Returns:
        Float (W, C) for the words of the split: the logarithms of shares.
    """
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for words, tags in zip(data.train["words"], data.train["label"], strict=True):
        for word, tag in zip(words, tags, strict=True):
            counts[word][tag] += 1
    whole: Counter[int] = sum(counts.values(), Counter())
    found = [counts.get(word, whole) for words in data.splits()[split]["words"] for word in words]
    table = np.array([[row[tag] for tag in range(len(data.labels))] for row in found])
    shares: Array = np.log(table / table.sum(axis=1, keepdims=True) + 1e-12)
    return shares


def features(data: TaskData, split: str = "dev") -> Array:
    """Return logits of logistic regression on what each word and its neighbors look like.

    The word, its first and last three characters, its shape, whether it begins the text, and word
    and shape of two words on either side; what only one word of train shows is left out.

    Returns:
        Float (W, C) for the words of the split.
    """
    seen, asked = (
        (look for words in data.splits()[name]["words"] for look in _looks(words))
        for name in ("train", split)
    )
    counter = CountVectorizer(analyzer=list, binary=True, min_df=2)
    inputs, queries = counter.fit_transform(seen), counter.transform(asked)
    model = LogisticRegression(C=3.0, max_iter=_STEPS, tol=1e-3)
    model.fit(inputs, data.targets("train"))
    logits = np.full((queries.shape[0], len(data.labels)), -1e9)
    logits[:, model.classes_] = np.log(model.predict_proba(queries) + 1e-12)
    return logits


def _looks(words: Sequence[str]) -> Iterator[list[str]]:
    """Yield what each word of a text looks like, as texts."""
    shapes = [_shape(word) for word in words]
    for i, word in enumerate(words):
        low = word.lower()
        look = ["any", f"word={word}", f"low={low}", f"shape={shapes[i]}"]
        look += [f"{n}<{low[:n]}" for n in (1, 2, 3)] + [f"{n}>{low[-n:]}" for n in (1, 2, 3)]
        for step in (-2, -1, 1, 2):
            there = 0 <= i + step < len(words)
            look.append(f"{step}={words[i + step].lower() if there else ''}")
            look.append(f"{step}shape={shapes[i + step] if there else ''}")
        yield look


def _shape(word: str) -> str:
    """Return a word with A for capitals, a for other letters, 0 for digits, runs as one.

    >>> _shape("McDonald's-24")
    "AaAa'a-0"
    """
    kinds = (
        "A" if c.isupper() else "a" if c.isalpha() else "0" if c.isdigit() else c for c in word
    )
    return "".join(kind for kind, _ in groupby(kinds))
