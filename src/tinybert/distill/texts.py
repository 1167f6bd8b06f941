"""The texts of a run: read from the recipe's data, and joined with those that have no label."""

from collections.abc import Callable
from dataclasses import replace

from datasets import Dataset, concatenate_datasets

from tinybert import data as data_room
from tinybert.data import TaskData
from tinybert.distill.recipe import Recipe
from tinybert.errors import ConfigError
from tinybert.tags import scheme_of
from tinybert.text import Tokenizer

__all__ = ["extend", "load_data", "refuse_new_texts", "say_cut_words"]

_PLACED = {"answering": "contexts of answers", "tagging": "words that are tagged"}


def load_data(recipe: Recipe, say: Callable[[str], None]) -> TaskData:
    """Read the recipe's data and say what was found.

    Raises:
        DataError: The data cannot be used.
        ConfigError: Texts shall be made of texts that are tagged word by word, or hold answers; or
            pairs, where there are none.
    """
    settings = recipe.data.model_dump()
    data = data_room.load(settings.pop("source"), **settings, seed=recipe.seed)
    counts = ", ".join(f"{name} {len(rows):,}" for name, rows in data.splits().items())
    what = f"{len(data.labels)} labels" if data.labels else "real-valued targets"
    if data.task == "tagging":
        what = f"{len(data.labels)} tags ({scheme_of(data.labels)})"
    if data.task == "answering":
        what = f"answers in contexts{', or none' if data.unanswerable else ''}"
    refuse_new_texts(recipe, data.task)
    if recipe.augment.pairs and not data.pair:
        raise ConfigError(
            f"augment.pairs is {recipe.augment.pairs}, but {data.name} has one text a row; leave "
            "it out, or name the second text's column with --text2"
        )
    pairs = "pairs, " if data.pair and data.task != "answering" else ""
    say(f"data {data.name}: {counts}; {pairs}{what}")
    for note in data.notes:
        say(f"  {note}")
    return data


def refuse_new_texts(recipe: Recipe, task: str) -> None:
    """Refuse to cut or change texts whose words have tags, or in which answers have their places.

    Raises:
        ConfigError: The recipe asks for it; all that do so are named.
    """
    if task not in _PLACED:
        return
    asked = []
    if recipe.augment.source != "none":
        asked.append(f"augment.source is {recipe.augment.source}")
    if recipe.augment.pairs:
        asked.append(f"augment.pairs is {recipe.augment.pairs}")
    if recipe.student.crops:
        asked.append(f"student.crops is {recipe.student.crops}")
    if asked:
        raise ConfigError(
            f"{' and '.join(asked)}, but {_PLACED[task]} cannot be replaced or cut; give "
            "more texts with --unlabelled instead"
        )


def say_cut_words(data: TaskData, tokenizer: Tokenizer, say: Callable[[str], None]) -> TaskData:
    """Say how many words no token answers for, and note it.

    Returns:
        The data, with the note where there are such words.
    """
    if data.task != "tagging":
        return data
    counts = {}
    for name in data.splits():
        missing = [
            first < 0 for text in tokenizer.align(data.texts(name)[0]) for first in text.firsts
        ]
        counts[name] = f"{sum(missing):,} of {len(missing):,} in {name}"
    if all(count.startswith("0 ") for count in counts.values()):
        return data
    note = (
        f"words past {tokenizer.max_length} tokens count as `{data.labels[data.outside]}`: "
        f"{', '.join(counts.values())}"
    )
    say(f"  {note}")
    return replace(data, notes=(*data.notes, note))


def extend(rows: Dataset, texts: Dataset) -> Dataset:
    """Return the rows and, after them, texts without a label of their own.

    Args:
        rows: Columns ``text``, ``text2`` (pairs only), ``label`` and others.
        texts: Texts in columns of the same names; their other columns are not read.

    Returns:
        All of them in the columns of ``rows``; the texts' labels, and what they lack, are None.
    """
    taken = {"text", "text2", "line"} & set(texts.column_names)
    columns = {
        name: list(texts[name]) if name in taken else [None] * len(texts)
        for name in rows.column_names
    }
    return concatenate_datasets([rows, Dataset.from_dict(columns, features=rows.features)])
