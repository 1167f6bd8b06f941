"""The pages' templates."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

__all__ = ["open_template"]


def open_template(name: str, **filters: Callable[..., Any]) -> Template:
    """Open a template that escapes what it shows and stops at a name that it does not know.

    Args:
        name: Of the page, as in ``report`` for ``report.html.j2``.
        filters: What it may call, by name.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(filters)
    text = Path(__file__).with_name(f"{name}.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text)
