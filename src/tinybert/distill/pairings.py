"""More pairs for the teacher to label: each first text beside the second texts most like it."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from datasets import Dataset

from tinybert.baselines import vectorizer
from tinybert.distill.progress import progress

__all__ = ["near_pairs"]

# So many second texts are looked at, drawn by seed; so many first texts at once.
_POOL, _CHUNK = 50_000, 512


def near_pairs(
    train: Dataset, count: int, *, held: Collection[tuple[str, str]], seed: int
) -> Dataset:
    """Return new pairs: each first text beside the second texts of other rows most like it.

    Likeness is the cosine of TF-IDF vectors, over words, or over characters where texts have no
    spaces. A text's own partners are not new, nor is the text itself; what shares nothing with it
    is left out, so that fewer than ``count`` may be found.

    Args:
        train: Columns ``text``, ``text2``, ``line``.
        count: K, pairs of each distinct first text.
        held: Pairs that are known, without spaces around; none of them comes back.
        seed: Seeds the draw where there are very many second texts.

    Returns:
        Columns ``text``, ``text2`` (without spaces around), ``origin`` (line of the first text's
        first row), ``source`` (``pairs``) and ``copy`` (1 for the most like).

    Source: Thakur et al. 2021, Augmented SBERT, section 3.1 (BM25 sampling).
    Differs: TF-IDF in place of BM25; the distribution of the teacher's labels is not evened out.
    """
    lines: dict[str, int] = {}
    for text, line in zip(train["text"], train["line"], strict=True):
        lines.setdefault(text.strip(), line)
    firsts = list(lines)
    seconds = list(dict.fromkeys(text.strip() for text in train["text2"]))
    if len(seconds) > _POOL:
        picked = np.random.default_rng(seed).permutation(len(seconds))[:_POOL]
        seconds = [seconds[i] for i in np.sort(picked)]
    found: dict[str, list[object]] = {
        name: [] for name in ("text", "text2", "origin", "source", "copy")
    }
    for first, near in zip(firsts, _nearest(firsts, seconds), strict=True):
        new = (second for second in near if first != second and (first, second) not in held)
        for copy, second in zip(range(1, count + 1), new, strict=False):
            for name, value in zip(
                found, (first, second, lines[first], "pairs", copy), strict=True
            ):
                found[name].append(value)
    return Dataset.from_dict(found)


def _nearest(firsts: Sequence[str], seconds: Sequence[str]) -> Iterator[Iterator[str]]:
    """Yield for each first text the second texts that share something with it, most like first."""
    vectors = vectorizer([*firsts, *seconds])
    try:
        table = vectors.fit_transform(seconds).T.tocsr()
    except ValueError:  # none of them has a word
        yield from (iter(()) for _ in firsts)
        return
    with progress("pairing", len(firsts)) as add:
        for start in range(0, len(firsts), _CHUNK):
            likeness = (vectors.transform(firsts[start : start + _CHUNK]) @ table).tocsr()
            for row in likeness:
                order = row.indices[np.lexsort((row.indices, -row.data))]
                yield (seconds[i] for i in order)
                add(1)
