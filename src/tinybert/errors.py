"""The errors that tell a user what is wrong, what was wanted and what to do."""

import difflib
from collections.abc import Iterable

__all__ = [
    "ArtifactError",
    "ConfigError",
    "DataError",
    "MissingExtraError",
    "NoStudentError",
    "ShapeError",
    "TinyBertError",
    "UnsupportedModelError",
    "near_miss",
]


class TinyBertError(Exception):
    """Any problem that the user can mend; the command line prints it as one line, exit code 2."""


class ConfigError(TinyBertError, ValueError):
    """A setting is unknown, out of range or contradicts another one."""


class NoStudentError(ConfigError):
    """No student of a plan holds its limits; ``plan.json`` tells how near each came."""


class DataError(TinyBertError, ValueError):
    """The user's data cannot be used as it is; the message names file, line and value."""


class ShapeError(TinyBertError, ValueError):
    """Two tensors or two models do not fit each other."""


class UnsupportedModelError(TinyBertError):
    """The model is of a kind that this library cannot read, observe or export."""


class ArtifactError(TinyBertError):
    """A shipped folder is damaged, incomplete, of an unknown format or failed its parity check."""


class MissingExtraError(TinyBertError, ImportError):
    """A feature needs packages that are not installed; the message names the extra."""


def near_miss(name: str, options: Iterable[str]) -> str:
    """Return ``"; did you mean `x`?"`` for the closest option, or an empty string.

    Args:
        name: What the user wrote.
        options: What would have been accepted.

    Returns:
        A clause to append to an error message.

    >>> near_miss("hiden", ["hidden", "heads"])
    '; did you mean `hidden`?'
    """
    close = difflib.get_close_matches(name, list(options), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""
