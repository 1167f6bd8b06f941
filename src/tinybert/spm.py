"""Turns SentencePiece files, Marian's two and T5's one, into tokenizers of today."""

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from tinybert.artifact import write_atomic
from tinybert.errors import UnsupportedModelError

__all__ = [
    "FILES",
    "T5_FILE",
    "Pieces",
    "read_pieces",
    "write_marian_vocabulary",
    "write_t5_vocabulary",
]

FILES = ("source.spm", "target.spm", "vocab.json")
T5_FILE = "spiece.model"
_TARGETS = "target_vocab.json"
_LANGUAGE = re.compile(r">>.+<<")
_SPECIAL = ("</s>", "<unk>", "<pad>")
_BYTE = "<0x00>"
_ABSENT = -1000.0


@dataclass
class Pieces:
    """What a SentencePiece file says.

    Args:
        scores: Log probability of each piece.
        charsmap: How characters are normalized, in SentencePiece's own form; may be empty.
    """

    scores: dict[str, float] = field(default_factory=dict)
    charsmap: bytes = b""


def read_pieces(path: str | Path) -> Pieces:
    """Read pieces and normalization out of a SentencePiece model.

    Raises:
        UnsupportedModelError: No such file, or another kind of file.
    """
    found = Pieces()
    try:
        for number, value in _fields(Path(path).read_bytes()):
            if number == 1:
                inner = dict(_fields(value))
                score = struct.unpack("<f", inner[2])[0] if 2 in inner else 0.0
                found.scores[inner[1].decode()] = score
            elif number == 3:
                found.charsmap = dict(_fields(value)).get(2, b"")
    except (OSError, ValueError, IndexError, KeyError, struct.error) as error:
        raise UnsupportedModelError(f"{path} is no SentencePiece model: {error}") from error
    if not found.scores:
        raise UnsupportedModelError(f"{path} is no SentencePiece model: it has no pieces")
    return found


def write_marian_vocabulary(place: str | Path, folder: str | Path) -> Path:
    """Write the tokenizer of sources into a folder, and that of targets into ``target`` in it.

    Both give the ids of ``vocab.json``, or targets those of ``target_vocab.json`` where there is
    one. They differ in the scores of the pieces: one that is not in a language's own file is taken
    where nothing else writes a text.

    Args:
        place: A Marian folder with ``source.spm``, ``target.spm`` and ``vocab.json``.
        folder: Gets ``tokenizer.json`` and ``tokenizer_config.json``, twice.

    Raises:
        UnsupportedModelError: A file is missing or cannot be read.
    """
    root = Path(place)
    names = _names(root / FILES[2])
    targets = _names(root / _TARGETS) if (root / _TARGETS).is_file() else names
    _write(targets, read_pieces(root / FILES[1]), Path(folder) / "target")
    _write(names, read_pieces(root / FILES[0]), Path(folder))
    return Path(folder)


def write_t5_vocabulary(place: str | Path, folder: str | Path) -> Path:
    """Write the tokenizer of a T5 or mT5 model; the file's order gives the ids.

    Its ``<extra_id_0>`` and so on, which stand for gaps in pre-training, are left out.

    Args:
        place: A folder with ``spiece.model``.
        folder: Gets ``tokenizer.json`` and ``tokenizer_config.json``.

    Raises:
        UnsupportedModelError: The file cannot be read, or lacks ``</s>``, ``<unk>`` or ``<pad>``.
    """
    path = Path(place) / T5_FILE
    pieces = read_pieces(path)
    if missing := [name for name in _SPECIAL if name not in pieces.scores]:
        raise UnsupportedModelError(f"{path} has no piece {', '.join(missing)}; wanted T5's")
    _write(list(pieces.scores), pieces, Path(folder))
    return Path(folder)


def _names(path: Path) -> list[str]:
    """Return the pieces of a vocabulary in the order of their ids."""
    try:
        ids = json.loads(path.read_text(encoding="utf-8"))
        names = [name for name, _ in sorted(ids.items(), key=lambda item: item[1])]
    except (OSError, ValueError, AttributeError) as error:
        raise UnsupportedModelError(f"{path} cannot be read: {error}") from error
    if sorted(ids.values()) != list(range(len(ids))):
        raise UnsupportedModelError(f"{path} has gaps in its ids; wanted 0, 1, 2 …")
    return names


def _write(names: list[str], pieces: Pieces, folder: Path) -> None:
    """Write a tokenizer of one language."""
    unknown = names.index("<unk>")
    scores = {name: score for name, score in pieces.scores.items() if name not in _SPECIAL}
    scored = [(name, scores.get(name, _ABSENT)) for name in names]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=unknown, byte_fallback=_BYTE in names))
    steps: list[normalizers.Normalizer] = [
        normalizers.Replace(Regex(" {2,}"), " "),
        normalizers.Strip(),
    ]
    if pieces.charsmap:
        steps.insert(0, normalizers.Precompiled(pieces.charsmap))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    steps_back = [decoders.ByteFallback(), decoders.Metaspace()] if _BYTE in names else []
    tokenizer.decoder = decoders.Sequence(steps_back) if steps_back else decoders.Metaspace()
    tokenizer.add_special_tokens([name for name in _SPECIAL if name in names])
    languages = filter(_LANGUAGE.fullmatch, names)
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in languages])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", names.index("</s>"))]
    )
    folder.mkdir(parents=True, exist_ok=True)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}
    config |= {"pad_token": "<pad>", "unk_token": "<unk>"}
    write_atomic(folder / "tokenizer.json", tokenizer.to_str().encode())
    write_atomic(folder / "tokenizer_config.json", json.dumps(config, indent=2).encode())


def _fields(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of each field of a protocol buffer; numbers as their bytes."""
    place = 0
    while place < len(content):
        key, place = _number(content, place)
        kind = key & 7
        if kind == 0:
            start = place
            _, place = _number(content, place)
            yield key >> 3, content[start:place]
            continue
        size = {1: 8, 5: 4}.get(kind)
        if size is None:
            if kind != 2:
                raise ValueError(f"a field of kind {kind}")
            size, place = _number(content, place)
        if place + size > len(content):
            raise ValueError("it ends inside a field")
        yield key >> 3, content[place : place + size]
        place += size


def _number(content: bytes, place: int) -> tuple[int, int]:
    """Read a whole number; return it and where it ends."""
    value = shift = 0
    while True:
        byte = content[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
