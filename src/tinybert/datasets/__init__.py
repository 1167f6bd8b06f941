"""The data set that ships with the library: customer messages by intent, in English and Chinese."""

from pathlib import Path

from datasets import Dataset, DatasetDict

from tinybert.errors import DataError, near_miss
from tinybert.tables import read_table

__all__ = ["LANGUAGES", "NAMES", "load"]

NAMES = ("helpdesk",)
LANGUAGES = ("en", "zh")


def load(name: str = "helpdesk", *, language: str = "en") -> DatasetDict:
    """Load an embedded data set.

    Args:
        name: ``helpdesk``: 1,677 messages with 12 intents, split by author.
        language: ``en`` or ``zh``.

    Returns:
        Splits ``train``, ``dev``, ``test`` with the columns ``text``, ``subject`` (the ticket's
        one-line subject), ``label`` (a name), ``id``, ``author``, ``line``.

    Raises:
        DataError: No such data set or language.

    >>> load("helpdesk", language="en")["test"].num_rows
    478
    """
    if name not in NAMES:
        raise DataError(f"no embedded data set `{name}`; wanted {', '.join(NAMES)}")
    if language not in LANGUAGES:
        raise DataError(
            f"helpdesk has no language `{language}`; wanted {' or '.join(LANGUAGES)}"
            f"{near_miss(language, LANGUAGES)}"
        )
    folder = Path(__file__).parent / name
    splits = {}
    for split in ("train", "dev", "test"):
        rows: Dataset = read_table(folder / f"{split}.jsonl")
        rows = rows.rename_columns({f"text_{language}": "text", f"subject_{language}": "subject"})
        splits[split] = rows.select_columns(["text", "subject", "label", "id", "author", "line"])
    return DatasetDict(splits)
