"""Vocabularies of writers: a student's few pieces, and a prefix before what a teacher reads."""

import json
import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from transformers import AutoModelForSeq2SeqLM, PreTrainedModel

from tinybert.bart import has_two_tables, vocabulary_sizes
from tinybert.distill.processes import first_alone
from tinybert.distill.vocabularies import count_pieces, save_cut, what_stays
from tinybert.distill.writers import open_vocabulary
from tinybert.distill.writing import Top
from tinybert.errors import ConfigError, UnsupportedModelError
from tinybert.runtime.carried import MARKS
from tinybert.subwords import put_before
from tinybert.text import Tokenizer
from tinybert.vocabulary import Cut, cut_for, cut_rows

__all__ = [
    "OwnVocabulary",
    "carry_over",
    "check_marks",
    "check_vocabulary",
    "cut_writer",
    "with_prefix",
]

_SOURCES = ("model.encoder.embed_tokens.weight",)
_TARGETS = ("model.decoder.embed_tokens.weight", "lm_head.weight")
_BOTH = ("model.shared.weight",)
_BIAS = "final_logits_bias"


@dataclass(frozen=True)
class OwnVocabulary:
    """What a student reads and writes with, and itself with tables of that size.

    Args:
        folder: Holds its tokenizer; ``target`` in it may hold that of targets.
        tokenizers: Of sources and of targets.
        student: The student.
        targets: Int64 (V,): the student's id of each of the teacher's target pieces, −1 where
            there is none.
        cuts: Of sources and of targets, or of both.
    """

    folder: Path
    tokenizers: tuple[Tokenizer, Tokenizer]
    student: PreTrainedModel
    targets: npt.NDArray[np.int64]
    cuts: tuple[Cut, ...]

    def cut(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return a model of the teacher's vocabulary as one that reads and writes these pieces."""
        return _with_tables(model, self.cuts)


def check_marks(model: str, folder: Path) -> None:
    """Refuse a teacher's vocabulary that has no marks for numbers (see ``runtime.carried``).

    Raises:
        ConfigError: It has none.
    """
    for tokenizer in open_vocabulary(folder, (4, 4)):
        if not set(MARKS) <= set(tokenizer.vocabulary):
            raise ConfigError(
                f"data.carried is true and the tokenizer of `{model}` knows no marks; wanted the "
                "teacher of a run with data.carried, or one that is trained here"
            )


def check_vocabulary(size: int | str, folder: Path) -> None:
    """Refuse a size that special tokens and characters alone exceed, before anything is trained.

    Args:
        size: A number, or ``texts``.
        folder: Of the teacher's tokenizers.

    Raises:
        ConfigError: It does.
        UnsupportedModelError: A vocabulary that has no smaller pieces.
    """
    for place in _folders(folder):
        cut_for(_spec(place), {}, size)


def cut_writer(
    size: int | str,
    texts: tuple[Sequence[str], Sequence[str]],
    student: PreTrainedModel,
    folder: Path,
    place: Path,
    limits: tuple[int, int],
    say: Callable[[str], None],
) -> OwnVocabulary:
    """Cut the teacher's vocabulary for a student that has the teacher's.

    Special tokens always stay, and single characters or bytes, so that a word whose pieces are gone
    falls into smaller ones.

    Args:
        size: ``texts``: every piece that the texts need; a number: so many pieces of each
            vocabulary, the most frequent first.
        texts: All sources and all targets that are learned from.
        student: It stays as it is.
        folder: Of the teacher's tokenizers.
        place: Where the student's are written.
        limits: Longest source and target in tokens.
        say: Told how many pieces stay.

    Raises:
        ConfigError: Fewer pieces than the special tokens and characters.
        UnsupportedModelError: A vocabulary that has no smaller pieces, or a padding id that must
            not change and would.

    Source: vocabulary pruning: Abdaoui et al. 2020, "Load What You Need", section 3.
    """
    tokenizers = open_vocabulary(folder, limits)
    counts = [count_pieces(t, given) for t, given in zip(tokenizers, texts, strict=True)]
    folders = _folders(folder)
    if len(folders) == 1:
        counts = [counts[0] + counts[1]]
    cuts = tuple(cut_for(_spec(own), c, size) for own, c in zip(folders, counts, strict=True))
    _check_padding(student, cuts)
    with first_alone() as first:
        if first:
            for own, cut in zip(folders, cuts, strict=True):
                to = place / own.relative_to(folder)
                to.mkdir(parents=True, exist_ok=True)
                save_cut(cut, own, to)
    for cut, seen, old in zip(cuts, counts, vocabulary_sizes(student), strict=False):
        say(f"the student's vocabulary: {what_stays(cut, seen, old)}")
    targets = cuts[-1].id_table(vocabulary_sizes(student)[1])
    return OwnVocabulary(
        place, open_vocabulary(place, limits), _with_tables(student, cuts), targets, cuts
    )


def carry_over(top: Top, theirs: Dataset, own: Dataset, new_ids: npt.NDArray[np.int64]) -> Top:
    """Give the teacher's next tokens to the places of a student that cuts words otherwise.

    Where both cut alike, the place has the teacher's tokens that the student has, by its ids; any
    other place the token that stands there alone.

    Args:
        top: Of the W places of ``theirs``.
        theirs: Rows in the teacher's pieces.
        own: The same rows in the student's; W' places.
        new_ids: ``OwnVocabulary.targets``.

    Returns:
        Int32 and float16 (W', K).
    """
    labels = [np.asarray(one, dtype=np.int64) for row in own["labels"] for one in row]
    flat = np.concatenate(labels)
    ids = np.repeat(flat[:, None], top.ids.shape[1], axis=1)
    probabilities = np.zeros(ids.shape, np.float16)
    probabilities[:, 0] = 1
    begun = [place for row in own["places"] for place in row]
    there = [place for row in theirs["places"] for place in row]
    before = [new_ids[one] for row in theirs["labels"] for one in row]
    for mapped, label, start, other in zip(before, labels, begun, there, strict=True):
        for place, mine in _alike(mapped, label):
            found = new_ids[top.ids[other + place]]
            weights = np.where(found >= 0, top.probabilities[other + place], 0)
            if weights.sum() > 0:
                ids[start + mine] = np.maximum(found, 0)
                probabilities[start + mine] = weights
    return Top(ids.astype(np.int32), probabilities)


def with_prefix(
    prefix: str, folder: Path, tokenizers: tuple[Tokenizer, Tokenizer]
) -> tuple[Tokenizer, Tokenizer]:
    """Return the tokenizers of a teacher that wants a prefix before every source.

    Args:
        prefix: An empty one changes nothing.
        folder: Of ``tokenizers``; it stays as it is.
        tokenizers: Of sources and of targets.

    Raises:
        UnsupportedModelError: The tokenizer cannot put it there.
    """
    if not prefix:
        return tokenizers
    with TemporaryDirectory() as place:
        shutil.copytree(folder, place, dirs_exist_ok=True)
        put_before(prefix, place)
        asking = Tokenizer(place, max_length=tokenizers[0].max_length, literal=True)
    return asking, tokenizers[1]


def _alike(theirs: npt.NDArray[np.int64], own: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the places of the same pieces in both, in order."""
    if len(theirs) == len(own) and (theirs == own).all():
        return [(i, i) for i in range(len(own))]
    blocks = SequenceMatcher(None, theirs.tolist(), own.tolist(), autojunk=False)
    return [
        (block.a + i, block.b + i)
        for block in blocks.get_matching_blocks()
        for i in range(block.size)
    ]


def _folders(folder: Path) -> list[Path]:
    """Return where the tokenizers are: one, or that of sources and that of targets."""
    return [folder, folder / "target"] if (folder / "target").is_dir() else [folder]


def _spec(folder: Path) -> dict[str, Any]:
    """Return the content of a folder's tokenizer."""
    found: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return found


def _check_padding(student: PreTrainedModel, cuts: Sequence[Cut]) -> None:
    """Refuse ids of padding that sources and targets, or positions, would no longer agree on."""
    pad = int(student.config.pad_token_id)
    new = {cut.new_ids[pad] for cut in cuts}
    if len(new) > 1 or (student.config.model_type == "m2m_100" and new != {pad}):
        raise UnsupportedModelError(
            f"student.vocabulary is given, and the teacher's padding token {pad} would change: its "
            "positions are counted from it, or its two vocabularies share it; leave it out"
        )


def _with_tables(model: PreTrainedModel, cuts: Sequence[Cut]) -> PreTrainedModel:
    """Return a model with smaller tables and the ids of special tokens in them."""
    source, target = cuts[0], cuts[-1]
    config: Any = deepcopy(model.config)
    config.vocab_size = len(source.rows)
    if has_two_tables(model):
        config.decoder_vocab_size = len(target.rows)
    _renumber(config, target)
    found: PreTrainedModel = AutoModelForSeq2SeqLM.from_config(config)
    weights = dict(model.state_dict())
    for names, cut in ((_BOTH, source), (_SOURCES, source), (_TARGETS, target)):
        for name in weights.keys() & set(names):
            weights[name] = torch.from_numpy(cut_rows(weights[name].numpy(), cut))
    if _BIAS in weights:
        weights[_BIAS] = torch.from_numpy(cut_rows(weights[_BIAS].numpy().T, target)).T
    found.load_state_dict(weights)
    found.generation_config = deepcopy(model.generation_config)
    _renumber(found.generation_config, target)
    found.eval()
    return found


def _renumber(settings: Any, cut: Cut) -> None:
    """Give settings the new ids of special tokens."""
    for name, value in settings.to_dict().items():
        if name.endswith("_token_id"):
            many = isinstance(value, list)
            old = value if many else [value]
            new = [cut.new_ids.get(one, one) if isinstance(one, int) else one for one in old]
            setattr(settings, name, new if many else new[0])
        elif name == "bad_words_ids" and value:
            kept = [[cut.new_ids.get(one) for one in row] for row in value]
            setattr(settings, name, [row for row in kept if None not in row] or None)
