"""The texts of a run: read from the recipe's data, and joined with those that have no label."""

from collections.abc import Callable

from datasets import Dataset, concatenate_datasets

from tinybert import data as data_room
from tinybert.data import TaskData
from tinybert.distill.recipe import Recipe

__all__ = ["extend", "load_data"]


def load_data(recipe: Recipe, say: Callable[[str], None]) -> TaskData:
    """Read the recipe's data and say what was found.

    Raises:
        DataError: The data cannot be used.
    """
    settings = recipe.data.model_dump()
    data = data_room.load(settings.pop("source"), **settings, seed=recipe.seed)
    counts = ", ".join(f"{name} {len(rows):,}" for name, rows in data.splits().items())
    what = f"{len(data.labels)} labels" if data.labels else "real-valued targets"
    say(f"data {data.name}: {counts}; {'pairs, ' if data.pair else ''}{what}")
    for note in data.notes:
        say(f"  {note}")
    return data


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
