"""What readers of tables, for training and for answers, have in common."""

import csv
from collections import Counter
from collections.abc import Sequence

from tinybert.errors import DataError

__all__ = ["check_header"]

# The library's own limit of a cell is 131,072 characters.
csv.field_size_limit(1 << 20)


def check_header(names: Sequence[str], where: str) -> None:
    """Refuse a table two of whose columns have the same name.

    Args:
        names: The columns.
        where: File and line, for the error.

    Raises:
        DataError: A name comes twice.
    """
    doubled = [name for name, count in Counter(names).items() if count > 1 and name]
    if doubled:
        raise DataError(f"{where}: two columns are called `{doubled[0]}`; wanted different names")
