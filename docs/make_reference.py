"""Writes docs/reference.md from the commands, the recipes' settings and the docstrings.

Examples:
    python docs/make_reference.py           refresh it
    python docs/make_reference.py --check   exit with 1 where it is stale
"""

import argparse
import ast
import inspect
import json
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import tinybert
from tinybert import runtime
from tinybert.artifact import write_atomic
from tinybert.cli import app
from tinybert.distill.general_recipe import GeneralRecipe
from tinybert.distill.recipe import Recipe
from tinybert.distill.sentence_recipe import SentenceRecipe
from tinybert.distill.seq2seq_recipe import Seq2SeqRecipe

__all__ = ["REFERENCE", "reference"]

REFERENCE = Path(__file__).parent / "reference.md"
RECIPES: dict[str, type[BaseModel]] = {
    "distill": Recipe,
    "seq2seq": Seq2SeqRecipe,
    "general": GeneralRecipe,
    "embed": SentenceRecipe,
}
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
HEAD = """# Reference

Made by `make docs` from the code; what to do with all this is in [how-to](how-to.md).

- [Commands](#commands)
- [Settings of recipes](#settings-of-recipes): what a TOML file holds, or `--set name=value`
- [Python](#python)
"""


def main() -> None:
    """Write the page, or say that it is stale."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing")
    found = reference()
    if parser.parse_args().check:
        there = REFERENCE.read_text(encoding="utf-8") if REFERENCE.is_file() else ""
        sys.exit(0 if there == found else f"{REFERENCE} is stale; run: make docs")
    write_atomic(REFERENCE, found.encode())


def reference() -> str:
    """Return the page."""
    parts = [HEAD, "## Commands", *_commands(), "## Settings of recipes", *_settings()]
    return "\n".join([*parts, "## Python", *_python()]).rstrip() + "\n"


def _commands() -> Iterator[str]:
    """Yield a part for each command."""
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        rows = [
            (f"`{_names(one)}`", str(getattr(one, "help", "") or ""), _default(one.default or None))
            for one in command.params
            if one.name != "help"
        ]
        help_text = command.help.strip().replace("\b", "")
        yield f"\n### tinybert {name}\n\n{help_text}\n\n{_table(('', '', 'if not given'), rows)}"


def _names(parameter: Any) -> str:
    """Return how a parameter is given."""
    if not parameter.opts[0].startswith("-"):
        return str(parameter.name).upper()
    return ", ".join((*parameter.opts, *parameter.secondary_opts))


def _settings() -> Iterator[str]:
    """Yield a part for each recipe, with a table for each of its sections."""
    for command, recipe in RECIPES.items():
        yield f"\n### Recipe of `tinybert {command}`\n\n{_about(recipe)}\n"
        sections = {n: f for n, f in recipe.model_fields.items() if _is_section(f)}
        own = [
            _row(name, field) for name, field in recipe.model_fields.items() if name not in sections
        ]
        yield _table(("setting", "values", "if not given"), own)
        for name, field in sections.items():
            kind: Any = field.annotation
            values = field.default if isinstance(field.default, BaseModel) else None
            rows = [
                _row(f"{name}.{key}", one, getattr(values, key, PydanticUndefined))
                for key, one in kind.model_fields.items()
            ]
            yield f"\n**{name}** {_about(kind)}\n\n" + _table(
                ("setting", "values", "if not given"), rows
            )


def _is_section(field: FieldInfo) -> bool:
    """Whether a field holds settings of its own."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _row(name: str, field: FieldInfo, value: Any = PydanticUndefined) -> tuple[str, str, str]:
    """Return name, values and default of a setting."""
    default = field.default if value is PydanticUndefined else value
    bounds = [
        f"{sign} {getattr(rule, key):g}"
        for rule in field.metadata
        for key, sign in BOUNDS.items()
        if getattr(rule, key, None) is not None
    ]
    return f"`{name}`", ", ".join([_kind(field.annotation), *bounds]), _default(default)


def _kind(annotation: Any) -> str:
    """Return what values a type has, in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is types.UnionType or str(origin) == "typing.Union":
        return " or ".join(_kind(one) for one in inner if one is not type(None))
    if origin is tuple:
        return f"list of {_kind(inner[0])}"
    if hasattr(annotation, "__metadata__"):
        return _kind(inner[0])
    names = {str: "text", int: "whole number", float: "number", bool: "true, false"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(value: Any) -> str:
    """Return a default as it would be written; nothing for none."""
    if value is None or value is PydanticUndefined or value in ((), [], ""):
        return ""
    if isinstance(value, tuple):
        value = list(value)
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _python() -> Iterator[str]:
    """Yield a part for each public name."""
    rooms = {"tinybert": (tinybert, ("load", "TinyBERT")), "tinybert.runtime": (runtime, None)}
    for room, (module, names) in rooms.items():
        for name in names or module.__all__:
            thing = getattr(module, name)
            if (name == "load" and room != "tinybert") or not (
                inspect.isclass(thing) or inspect.isfunction(thing)
            ):
                continue
            yield f"\n### {room}.{name}\n\n{_code(name, thing)}\n\n{_prose(thing)}"
            for key, method in vars(thing).items() if inspect.isclass(thing) else ():
                public = not key.startswith("_") or key == "__call__"
                method = getattr(method, "__func__", method)
                if public and inspect.isfunction(method) and method.__doc__:
                    yield f"\n{_code(f'{name}.{key}', method)}\n\n{_prose(method)}"


def _code(name: str, thing: Any) -> str:
    """Return a name with its parameters, as its source has them."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    if isinstance(node, ast.ClassDef):
        made = (one for one in node.body if getattr(one, "name", "") == "__init__")
        fields = [ast.unparse(one) for one in node.body if isinstance(one, ast.AnnAssign)]
        own = next(made, None)
        shown = _parameters(own) if own else fields
        whole = f"{name}({', '.join(shown)})" if shown else name
        return f"```text\n{whole}\n```"
    gives = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"```text\n{name}({', '.join(_parameters(node))}){gives}\n```"


def _parameters(node: Any) -> list[str]:
    """Return a function's parameters but for the object itself."""
    shown = ast.unparse(node.args)
    rest = shown.removeprefix("self").removeprefix("cls").removeprefix(", ")
    return [rest] if rest else []


def _prose(thing: Any) -> str:
    """Return a docstring; its lists of arguments as they are."""
    text = inspect.getdoc(thing) or ""
    first, _, rest = text.partition("\n\n")
    rest = rest.split(">>>")[0].rstrip()
    body = f"\n\n```text\n{rest}\n```" if rest else ""
    return _marked(first) + body + "\n"


def _about(kind: type) -> str:
    """Return the docstring of a section."""
    return _marked(inspect.getdoc(kind) or "")


def _marked(text: str) -> str:
    """Return reST's literals as Markdown's."""
    return text.replace("``", "`")


def _table(header: tuple[str, str, str], rows: list[tuple[str, str, str]]) -> str:
    """Return a table; nothing where there are no rows."""
    if not rows:
        return ""
    lines = [header, ("---", "---", "---"), *rows]
    cells = (tuple(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in lines)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells) + "\n"


if __name__ == "__main__":
    main()
