"""Cuts a model's vocabulary, and so most of its weights, down to what its texts need."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from tinybert.artifact import new_folder
from tinybert.corpus import open_corpus
from tinybert.data import load_saved
from tinybert.distill.processes import is_first
from tinybert.distill.published import BROKEN, reason
from tinybert.distill.vocabularies import save_cut
from tinybert.errors import ConfigError, UnsupportedModelError
from tinybert.tables import read_table
from tinybert.text import Tokenizer
from tinybert.vocabulary import Cut, cut_rows, cut_vocabulary, renumber_config

__all__ = ["trim"]

_TABLE = "embeddings.word_embeddings.weight"
_STALE = ("vocab.txt", "vocab.json", "merges.txt", "*.model", "*.bpe.model", "added_tokens.json")
_CHUNK = 1_000


def trim(
    model: str | Path,
    to: str | Path,
    *,
    text: Sequence[str | Path] = (),
    column: str = "text",
    say: Callable[[str], None] = print,
) -> Path:
    """Write a model whose vocabulary holds the pieces of its texts, and single characters.

    Two thirds of a small model are word embeddings, most of pieces that its users never type. Texts
    of known pieces get the very answers that the whole model gives; other words fall into smaller
    pieces down to characters, and none becomes unknown that was not.

    Args:
        model: A Hugging Face folder with one ``model.safetensors`` and ``tokenizer.json``. Inside a
            run, the run's train texts are read, augmented and unlabelled ones too.
        to: The folder to write; missing or empty. Every file but tokenizer, config and weights is
            copied.
        text: Further texts: files or folders as for ``tinybert general``, or Hugging Face ids.
        column: Column of the text where there are columns.
        say: Told how many pieces and weights stay.

    Returns:
        The new folder.

    Raises:
        ConfigError: ``to`` holds something, or there are no texts.
        DataError: A file of texts cannot be read.
        UnsupportedModelError: Another kind of folder, or a vocabulary that has no smaller pieces.

    Source: vocabulary pruning: Abdaoui et al. 2020, "Load What You Need", section 3.
    """
    source, target = Path(model), Path(to)
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise ConfigError(f"{target} is not an empty folder; choose another one")
    weights, config, spec = _read(source)
    table = [name for name in weights if name.endswith(_TABLE)]
    if len(table) != 1:
        raise UnsupportedModelError(
            f"{source} has {len(table)} tables of word embeddings (`*.{_TABLE}`); wanted one, as "
            "in an encoder of the BERT family"
        )
    needed = _needed(Tokenizer(source, max_length=512), _texts(source, text, column))
    cut = cut_vocabulary(spec, needed)
    old = weights[table[0]]
    before = sum(value.size for value in weights.values())
    weights[table[0]] = cut_rows(old, cut)
    after = sum(value.size for value in weights.values())
    config = renumber_config(config, cut, source)
    _write(source, target, weights, config, cut)
    say(
        f"{len(cut.rows):,} of {len(old):,} pieces stay; "
        f"{after / 1e6:.1f} of {before / 1e6:.1f} million weights"
    )
    return target


def _read(folder: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any], dict[str, Any]]:
    """Return weights, config and tokenizer of a folder."""
    names = ("model.safetensors", "config.json", "tokenizer.json")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UnsupportedModelError(f"{folder} has no {', '.join(missing)}; wanted a model folder")
    try:
        config, spec = (json.loads((folder / n).read_text(encoding="utf-8")) for n in names[1:])
        return load_file(folder / names[0]), config, spec
    except BROKEN as error:
        raise UnsupportedModelError(f"{folder} cannot be read: {reason(error)}") from error


def _texts(model: Path, text: Sequence[str | Path], column: str) -> Iterator[str]:
    """Yield the texts of the run that a model lies in, then the given ones."""
    run = model.resolve().parent
    inside = (run / "data" / "task.json").is_file()
    if not inside and not text:
        raise ConfigError(f"{model} lies in no run; name the texts it will read with --text")
    if inside:
        data = load_saved(run)
        for rows in filter(None, (data.train, data.unlabelled)):
            yield from rows["text"]
            yield from rows["text2"] if data.pair else ()
    added = run / "augmented.jsonl"
    if inside and added.is_file():
        rows = read_table(added)
        for name in {"text", "text2"} & set(rows.column_names):
            yield from filter(None, rows[name])
    if text:
        yield from open_corpus(text, column).documents()


def _needed(tokenizer: Tokenizer, texts: Iterable[str]) -> set[int]:
    """Return the ids that texts use, without any truncation."""
    found: set[int] = set()
    stream = iter(texts)
    shown = None if is_first() else True
    with tqdm(unit=" texts", desc="vocabulary", disable=shown, leave=False) as bar:
        while chunk := list(islice(stream, _CHUNK)):
            found.update(*tokenizer.pieces(chunk))
            bar.update(len(chunk))
    return found


def _write(
    source: Path,
    target: Path,
    weights: dict[str, npt.NDArray[Any]],
    config: dict[str, Any],
    cut: Cut,
) -> None:
    """Write the folder under another name, then rename it."""
    stale = shutil.ignore_patterns("*.safetensors", *_STALE)
    with new_folder(target, replace=False) as partial:
        shutil.copytree(source, partial, ignore=stale, dirs_exist_ok=True)
        save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
        text = json.dumps(config, indent=2, ensure_ascii=False)
        (partial / "config.json").write_text(text + "\n", encoding="utf-8")
        save_cut(cut, source, partial)
