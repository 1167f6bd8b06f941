"""The student's own vocabulary: the pieces that its texts need, or the most frequent of them."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel

from tinybert.artifact import write_atomic
from tinybert.data import TaskData
from tinybert.distill.processes import first_alone
from tinybert.errors import ConfigError
from tinybert.layout import layout_of
from tinybert.text import Tokenizer
from tinybert.vocabulary import Cut, cut_for, cut_rows, renumber_config

__all__ = [
    "Vocabulary",
    "count_pieces",
    "cut_words",
    "make_vocabulary",
    "save_cut",
    "what_stays",
]

_CHUNK = 1_000


@dataclass(frozen=True)
class Vocabulary:
    """What the student reads with.

    Args:
        folder: Holds its ``tokenizer.json`` and ``tokenizer_config.json``.
        tokenizer: Its tokenizer.
        cut: What stayed of the teacher's; None where it is the teacher's.
        same: Whether it cuts the training texts as the teacher's does.
    """

    folder: str
    tokenizer: Tokenizer
    cut: Cut | None = None
    same: bool = True

    def new_ids(self) -> npt.NDArray[np.int64] | None:
        """Return the student's id of each of the teacher's, −1 where there is none."""
        return None if self.cut is None else self.cut.id_table()


def make_vocabulary(
    size: int | str | None,
    texts: Dataset,
    data: TaskData,
    folder: str,
    tokenizer: Tokenizer,
    place: Path,
    say: Callable[[str], None],
) -> Vocabulary:
    """Cut the teacher's vocabulary for the student.

    Special tokens always stay, and single characters, so that a word whose pieces are gone falls
    into smaller ones and none becomes unknown that was not.

    Args:
        size: ``texts``: every piece that the texts need; a number: so many pieces, characters
            included, the most frequent first; None: all of the teacher's.
        texts: All texts of the training, columns ``text`` and, of pairs, ``text2``.
        data: The task.
        folder: The teacher's folder.
        tokenizer: Its tokenizer.
        place: Where the student's tokenizer is written.
        say: Told how many pieces stay.

    Raises:
        ConfigError: Fewer pieces than the special tokens and characters, or so few that words of
            the texts fall apart where tags or answers have their places in them.
        UnsupportedModelError: A vocabulary that has no smaller pieces.
    """
    if size is None:
        return Vocabulary(folder, tokenizer)
    spec = json.loads((Path(folder) / "tokenizer.json").read_text(encoding="utf-8"))
    names = [name for name in ("text", "text2") if name in texts.column_names]
    counts = count_pieces(tokenizer, *(texts[name] for name in names))
    cut = cut_for(spec, counts, size)
    lost = sum(count for piece, count in counts.items() if piece not in cut.new_ids)
    if lost and data.task in ("answering", "tagging"):
        raise ConfigError(
            f"student.vocabulary is {size}, the texts need {len(counts):,} pieces, and {data.task} "
            "has no student that cuts words otherwise than its teacher; set it to `texts`"
        )
    with first_alone() as first:
        if first:
            place.mkdir(parents=True, exist_ok=True)
            save_cut(cut, folder, place)
    say(f"vocabulary: {what_stays(cut, counts, tokenizer.vocab_size)}")
    own = Tokenizer(place, max_length=tokenizer.max_length)
    return Vocabulary(str(place), own, cut, same=not lost)


def cut_words(model: PreTrainedModel, cut: Cut) -> None:
    """Leave a model, in place, with the word embeddings of a smaller vocabulary.

    Raises:
        UnsupportedModelError: It counts positions from a padding id that would change.
    """
    config: Any = model.config
    for name, value in renumber_config(config.to_dict(), cut, "the student").items():
        if name == "vocab_size" or name.endswith("_token_id"):
            setattr(config, name, value)
    encoder: Any = layout_of(config).encoder(model)
    old = encoder.embeddings.word_embeddings
    rows = torch.from_numpy(cut_rows(old.weight.detach().numpy(), cut))
    pad = config.pad_token_id if old.padding_idx is not None else None
    encoder.embeddings.word_embeddings = nn.Embedding.from_pretrained(
        rows, freeze=False, padding_idx=pad
    )


def save_cut(cut: Cut, source: str | Path, place: str | Path) -> None:
    """Write a smaller tokenizer, and the settings of the one it was cut from, into a folder."""
    text = json.dumps(cut.tokenizer, ensure_ascii=False, separators=(",", ":"))
    write_atomic(Path(place) / "tokenizer.json", text.encode())
    settings = Path(source) / "tokenizer_config.json"
    if settings.is_file():
        about = json.loads(settings.read_text(encoding="utf-8"))
        about.pop("added_tokens_decoder", None)
        text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
        write_atomic(Path(place) / "tokenizer_config.json", text.encode())


def count_pieces(tokenizer: Tokenizer, *texts: Sequence[str | None]) -> Counter[int]:
    """Count the pieces of texts, nothing cut off.

    Args:
        tokenizer: Cuts them.
        texts: Columns of texts; None and empty ones are passed over.
    """
    found: Counter[int] = Counter()
    for column in texts:
        for start in range(0, len(column), _CHUNK):
            given = filter(None, column[start : start + _CHUNK])
            found.update(chain.from_iterable(tokenizer.pieces(list(given))))
    return found


def what_stays(cut: Cut, counts: Mapping[int, int], size: int) -> str:
    """Say how many of ``size`` pieces stay, and what share of the texts' pieces does not."""
    lost = sum(count for piece, count in counts.items() if piece not in cut.new_ids)
    share = lost / max(1, sum(counts.values()))
    note = f"; {share:.1%} of the texts' pieces fall into smaller ones" if lost else ""
    return f"{len(cut.rows):,} of {size:,} pieces{note}"
