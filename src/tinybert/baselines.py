"""The baselines that every student stands beside."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from tinybert.answer_baselines import unread
from tinybert.data import TaskData
from tinybert.metrics import measure

__all__ = ["cosines", "majority", "tfidf", "vectorizer"]

Array = npt.NDArray[Any]


def majority(data: TaskData, split: str = "dev") -> dict[str, float]:
    """Return the metrics of always answering train's most frequent class, or its mean target.

    In multilabel: the labels that more than half of the texts carry, else the most frequent one. In
    ranking: all passages tied. In answering: as ``answer_baselines.unread``.
    """
    if data.task == "answering":
        return measure(data, split, unread(data, split))
    train, count = data.targets("train"), len(data.targets(split))
    if data.task in ("regression", "ranking"):
        return measure(data, split, np.full((count, 1), train.mean()))
    if data.task == "multilabel":
        shares = train.mean(axis=0)
        usual = shares - min(0.5, shares.max() - 1e-9)
        return measure(data, split, np.tile(usual, (count, 1)))
    counts = np.bincount(train, minlength=len(data.labels)).astype(np.float64)
    return measure(data, split, np.tile(counts, (count, 1)))


def tfidf(data: TaskData, split: str = "dev") -> Array:
    """Return logits of TF-IDF with logistic regression, trained on train.

    Ridge for regression; for ranking the cosine of query and passage, no labels read.

    Returns:
        Float (N, C) for the rows of the split; C = 1 for regression and ranking.
    """
    train, rows = data.joined("train"), data.joined(split)
    vectors = vectorizer(train)
    inputs, queries = vectors.fit_transform(train), vectors.transform(rows)
    if data.task == "ranking":
        return cosines(vectors, *(data.splits()[split][name] for name in ("text", "text2")))
    targets = np.asarray(data.train["label"])
    if data.task == "regression":
        ridge: Array = Ridge(alpha=1.0).fit(inputs, targets).predict(queries)
        return ridge.reshape(-1, 1)
    if data.task == "multilabel":
        columns = [_one_label(inputs, queries, column) for column in targets.T]
        return np.stack(columns, axis=1)
    model = LogisticRegression(C=10.0, max_iter=2000).fit(inputs, targets)
    logits = np.full((len(rows), len(data.labels)), -1e9)
    logits[:, model.classes_] = np.log(model.predict_proba(queries) + 1e-12)
    return logits


def cosines(vectors: Any, first: Sequence[str], second: Sequence[str]) -> Array:
    """Return the cosines of N pairs of texts by a fitted ``vectorizer``, float (N, 1)."""
    sides = [vectors.transform(texts) for texts in (first, second)]
    found: Array = np.asarray(sides[0].multiply(sides[1]).sum(axis=1)).reshape(-1, 1)
    return found


def vectorizer(texts: Sequence[str]) -> Any:
    """Return what makes TF-IDF vectors of texts such as these; it is not fitted yet.

    Word 1- and 2-grams; character 1- to 3-grams where words are not set apart by spaces.
    """
    if sum(" " in text.strip() for text in texts) < len(texts) / 2:
        return TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True, min_df=1)
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")


def _one_label(inputs: Any, queries: Any, column: Array) -> Array:
    """Return the logits of one label; where train knows one answer alone, that answer."""
    if len(set(column.tolist())) == 1:
        return np.full(queries.shape[0], 1.0 if column[0] else -1.0)
    model = LogisticRegression(C=10.0, max_iter=2000).fit(inputs, column)
    logits: Array = model.decision_function(queries)
    return logits
