"""Two tokenizers of the same texts: which tokens of the one stand for which of the other."""

from collections.abc import Sequence

import datasets
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from datasets import Dataset, concatenate_datasets
from torch import Tensor

from tinybert.data import TaskData
from tinybert.text import Tokenizer

__all__ = ["align_rows", "pool_array", "pool_scores", "pool_states"]

Word = tuple[int, int]


def align_rows(
    own: Dataset,
    teachers: Dataset,
    texts: Dataset,
    tokenizers: tuple[Tokenizer, Tokenizer],
    data: TaskData,
) -> Dataset:
    """Return what the student reads beside what the teacher gave for the same texts.

    Both cut a text into the same words and those into pieces of their own. The word is where the
    two meet: the mean of its pieces' states on the one side is compared with that on the other, and
    of attention scores the mean over the pieces of both words. A word that ``max_length`` leaves to
    one side alone is passed over.

    Args:
        own: Rows of the student's tokenizer, from ``outputs.tokenize``.
        teachers: Rows with the teacher's outputs, from ``outputs.add_teacher_outputs``.
        texts: The texts of both.
        tokenizers: The student's and the teacher's.
        data: The task; an answer for each text.

    Returns:
        The student's rows and the teacher's outputs, with ``words`` (for each of the student's
        tokens the number of its word, from 0, or −1) and ``teacher_words`` (for the teacher's).

    Source: the word as the unit of two tokenizations: Zhao et al. 2021, "Extremely Small BERT
        Models from Mixed-Vocabulary Training", which trains one model on both instead.
    """
    second = list(texts["text2"]) if data.pair else None
    found = [tokenizer.words(list(texts["text"]), second) for tokenizer in tokenizers]
    columns: dict[str, list[list[int]]] = {"words": [], "teacher_words": []}
    for pair in zip(*found, strict=True):
        for name, numbers in zip(columns, _numbered(*pair), strict=True):
            columns[name].append(numbers)
    kind = datasets.List(datasets.Value("int32"))
    words = Dataset.from_dict(columns, features=datasets.Features(dict.fromkeys(columns, kind)))
    outputs = [
        name for name in teachers.column_names if name.startswith(("teacher_", "hidden_", "score"))
    ]
    parts = [own, words, teachers.select_columns(outputs)]
    return concatenate_datasets(parts, axis=1).with_format("numpy")


def pool_array(values: npt.NDArray[np.float32], words: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return the mean over each word's tokens.

    Args:
        values: States (T, E), or scores (H, T, T).
        words: Number of each token's word, T of them; −1 belongs to none.

    Returns:
        States (W, E), or scores (H, W, W).
    """
    numbers = np.asarray(words)
    each = (numbers[None] == np.arange(numbers.max(initial=-1) + 1)[:, None]).astype(np.float32)
    each /= each.sum(axis=1, keepdims=True)
    pooled: npt.NDArray[np.float32] = each @ values
    return pooled if values.ndim == 2 else pooled @ each.T


def pool_states(states: Tensor, words: Tensor) -> Tensor:
    """Return the mean of each word's states, (B, W, D), from (B, T, D) and numbers (B, T)."""
    return _shares(words, states) @ states


def pool_scores(scores: Tensor, words: Tensor) -> Tensor:
    """Return the mean over both words' tokens, (B, H, W, W), from (B, H, T, T)."""
    each = _shares(words, scores)[:, None]
    return each @ scores @ each.transpose(-1, -2)


def _shares(words: Tensor, like: Tensor) -> Tensor:
    """Return each token's share of each word, (B, W, T)."""
    count = int(words.max()) + 1
    each = F.one_hot(words.clamp_min(-1) + 1, count + 1)[..., 1:].transpose(1, 2).to(like)
    return each / torch.clamp_min(each.sum(dim=-1, keepdim=True), 1)


def _numbered(own: Sequence[Word], teachers: Sequence[Word]) -> tuple[list[int], list[int]]:
    """Number the words that both sides have, in their order."""
    both = set(own) & set(teachers)
    numbers = {word: i for i, word in enumerate(w for w in dict.fromkeys(own) if w in both)}
    return [numbers.get(w, -1) for w in own], [numbers.get(w, -1) for w in teachers]
