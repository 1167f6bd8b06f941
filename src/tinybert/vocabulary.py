"""Cuts a tokenizer's vocabulary down to the pieces that texts need, single characters included."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tinybert.errors import ConfigError, UnsupportedModelError

__all__ = [
    "FROM_PADDING",
    "Cut",
    "cut_for",
    "cut_rows",
    "cut_to_size",
    "cut_vocabulary",
    "renumber_config",
]

# Architectures that count positions from the id of padding on.
FROM_PADDING = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)


@dataclass(frozen=True)
class Cut:
    """A smaller tokenizer.

    Args:
        tokenizer: The content of its ``tokenizer.json``.
        rows: For each of its V' ids, in order, the old ids whose embeddings it takes the mean of:
            one for every piece that was there, several for a character that no piece was alone.
        new_ids: New id of each old one that stayed.
    """

    tokenizer: dict[str, Any]
    rows: tuple[tuple[int, ...], ...]
    new_ids: Mapping[int, int]

    def id_table(self, size: int | None = None) -> npt.NDArray[np.int64]:
        """Return the new id of each old one, −1 where there is none.

        Args:
            size: V, old ids; None takes those up to the last that stayed.

        Returns:
            Int64 (V,).
        """
        found = np.full(size or max(self.new_ids) + 1, -1, dtype=np.int64)
        found[list(self.new_ids)] = list(self.new_ids.values())
        return found


@dataclass
class _Pieces:
    """What stays of a model: pieces by old id, and characters that become pieces."""

    names: dict[int, str]
    kept: set[int]
    made: dict[str, tuple[int, ...]]


def cut_vocabulary(tokenizer: Mapping[str, Any], needed: Iterable[int]) -> Cut:
    """Keep the needed pieces, every special token, and characters as a way out for other words.

    Texts that use needed pieces alone are cut as before. Any other word falls into smaller pieces,
    and none becomes unknown that was not.

    Args:
        tokenizer: The content of ``tokenizer.json``; it is not changed.
        needed: Ids that texts use.

    Returns:
        The tokenizer, its pieces in their old order, made ones last.

    Raises:
        UnsupportedModelError: No WordPiece, BPE or Unigram model.
    """
    spec = deepcopy(dict(tokenizer))
    model = spec["model"]
    rules: dict[str, Callable[[dict[str, Any], set[int], set[int]], _Pieces]] = {
        "WordPiece": _word_pieces,
        "BPE": _byte_pairs,
        "Unigram": _unigrams,
    }
    if model.get("type") not in rules:
        raise UnsupportedModelError(
            f"a {model.get('type')} vocabulary has no smaller pieces to fall back on; wanted "
            f"{', '.join(rules)}"
        )
    special = {int(token["id"]) for token in spec.get("added_tokens", ())}
    pieces = rules[model["type"]](model, set(needed), special)
    pieces.kept |= special
    order = sorted(pieces.kept)
    new_ids = {old: new for new, old in enumerate(order)}
    rows = [(old,) for old in order] + list(pieces.made.values())
    _shrink(model, pieces, order, new_ids)
    for token in spec.get("added_tokens", ()):
        token["id"] = new_ids[token["id"]]
    _renumber(spec.get("post_processor"), new_ids)
    spec["padding"] = None
    return Cut(spec, tuple(rows), new_ids)


def cut_for(tokenizer: Mapping[str, Any], counts: Mapping[int, int], size: int | str) -> Cut:
    """Keep all pieces that texts need (``texts``) or so many of the most frequent.

    Args:
        tokenizer: The content of ``tokenizer.json``; it is not changed.
        counts: How often texts use each id.
        size: ``texts``, or pieces that may stay.

    Raises:
        ConfigError: Special tokens and characters alone are more than ``size``.
        UnsupportedModelError: No WordPiece, BPE or Unigram model.
    """
    if isinstance(size, int):
        return cut_to_size(tokenizer, counts, size)
    return cut_vocabulary(tokenizer, counts)


def cut_to_size(tokenizer: Mapping[str, Any], counts: Mapping[int, int], size: int) -> Cut:
    """Keep special tokens, characters and, as far as there is room, the most frequent pieces.

    Args:
        tokenizer: The content of ``tokenizer.json``; it is not changed.
        counts: How often texts use each id.
        size: Pieces that may stay, those above included.

    Raises:
        ConfigError: Special tokens and characters alone are more.
        UnsupportedModelError: No WordPiece, BPE or Unigram model.
    """
    ranked = sorted(counts, key=lambda piece: (-counts[piece], piece))
    best = cut_vocabulary(tokenizer, ())
    if len(best.rows) > size:
        raise ConfigError(
            f"vocabulary is {size:,}; special tokens and the characters that any word can fall "
            f"into are {len(best.rows):,}; take more, or `texts`"
        )
    low, high = 0, min(len(ranked), size)
    while low < high:
        middle = (low + high + 1) // 2
        found = cut_vocabulary(tokenizer, ranked[:middle])
        if len(found.rows) <= size:
            low, best = middle, found
        else:
            high = middle - 1
    return best


def cut_rows(table: npt.NDArray[Any], cut: Cut) -> npt.NDArray[Any]:
    """Return the smaller table, (V', E): each row the mean of the old rows it stands for."""
    single = np.array([rows[0] for rows in cut.rows])
    found: npt.NDArray[Any] = table[single]
    for new, rows in enumerate(cut.rows):
        if len(rows) > 1:
            found[new] = table[list(rows)].astype(np.float32).mean(axis=0)
    return found


def renumber_config(config: Mapping[str, Any], cut: Cut, name: object) -> dict[str, Any]:
    """Return a config's values with the smaller size and the new ids of special tokens.

    Args:
        config: Its values.
        cut: The smaller vocabulary.
        name: What to call the model.

    Raises:
        UnsupportedModelError: It counts positions from a padding id that would change.
    """
    found = {**config, "vocab_size": len(cut.rows)}
    for key, value in config.items():
        if key.endswith("_token_id") and isinstance(value, int):
            found[key] = cut.new_ids.get(value, value)
    pad = config.get("pad_token_id")
    if config.get("model_type") in FROM_PADDING and cut.new_ids.get(pad or 0) != pad:
        raise UnsupportedModelError(
            f"{name} counts positions from its padding token's id, {pad}, which would change"
        )
    return found


def _word_pieces(model: dict[str, Any], needed: set[int], special: set[int]) -> _Pieces:
    """Keep what a greedy cut of any known word can end in: each character, first and inside."""
    prefix = model["continuing_subword_prefix"]
    ids: dict[str, int] = model["vocab"]
    names = {old: piece for piece, old in ids.items()}
    holders: dict[str, list[int]] = {}
    for old, piece in names.items():
        if old in special:
            continue
        inside = piece.startswith(prefix) and piece != prefix
        for place, character in enumerate(piece.removeprefix(prefix) if inside else piece):
            form = f"{prefix}{character}" if inside or place else character
            holders.setdefault(form, []).append(old)
    kept = needed | {ids[form] for form in holders if form in ids}
    made = {
        form: (ids[form.removeprefix(prefix)],) if form.removeprefix(prefix) in ids else tuple(old)
        for form, old in holders.items()
        if form not in ids
    }
    return _Pieces(names, kept, made)


def _byte_pairs(model: dict[str, Any], needed: set[int], special: set[int]) -> _Pieces:
    """Keep all characters, and every merge that leads to a needed piece."""
    ids: dict[str, int] = model["vocab"]
    names = {old: piece for piece, old in ids.items()}
    ranks = {_pair(merge): rank for rank, merge in enumerate(model["merges"])}
    kept = {old for piece, old in ids.items() if len(piece) == 1 or piece.startswith("<0x")}
    used: set[tuple[str, str]] = set()
    for old in needed - special:
        used |= _merges_to(names[old], ranks)
    kept |= {ids["".join(pair)] for pair in used} | {ids[part] for pair in used for part in pair}
    model["merges"] = [merge for merge in model["merges"] if _pair(merge) in used]
    return _Pieces(names, kept | needed, {})


def _merges_to(piece: str, ranks: Mapping[tuple[str, str], int]) -> set[tuple[str, str]]:
    """Return the merges by which a piece's characters become it, lowest rank first."""
    parts, used = list(piece), set()
    while len(parts) > 1:
        pairs = [(ranks[p], p) for p in pairwise(parts) if p in ranks]
        if not pairs:
            break
        pair = min(pairs)[1]
        used.add(pair)
        merged: list[str] = []
        for part in parts:
            if merged and (merged[-1], part) == pair:
                merged[-1] += part
            else:
                merged.append(part)
        parts = merged
    return used


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    """Return a merge, which older files write as one string."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _unigrams(model: dict[str, Any], needed: set[int], special: set[int]) -> _Pieces:
    """Keep single characters and bytes, and pieces that hold a character which is none."""
    names = {old: piece for old, (piece, _) in enumerate(model["vocab"])}
    words = {old: piece for old, piece in names.items() if old not in special}
    single = {piece for piece in words.values() if len(piece) == 1}
    rest = {old for old, piece in words.items() if len(piece) == 1 or not single.issuperset(piece)}
    rest |= {old for old, piece in words.items() if piece.startswith("<0x")}
    return _Pieces(names, needed | rest, {})


def _shrink(
    model: dict[str, Any], pieces: _Pieces, order: Sequence[int], new_ids: Mapping[int, int]
) -> None:
    """Write the smaller vocabulary; added tokens that stood outside it stay outside."""
    if isinstance(model["vocab"], list):
        model["vocab"] = [model["vocab"][old] for old in order if old in pieces.names]
        if model.get("unk_id") is not None:
            model["unk_id"] = new_ids[model["unk_id"]]
        return
    model["vocab"] = {pieces.names[old]: new_ids[old] for old in order if old in pieces.names}
    model["vocab"] |= {piece: len(order) + i for i, piece in enumerate(pieces.made)}


def _renumber(part: Any, new_ids: Mapping[int, int]) -> None:
    """Give the special tokens of a post-processor their new ids, wherever it keeps them."""
    if not isinstance(part, dict):
        return
    for processor in part.get("processors", ()):
        _renumber(processor, new_ids)
    for name in ("sep", "cls"):
        if name in part:
            part[name][1] = new_ids[part[name][1]]
    specials = part.get("special_tokens")
    for token in specials.values() if isinstance(specials, dict) else ():
        token["ids"] = [new_ids[old] for old in token["ids"]]
