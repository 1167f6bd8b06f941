"""The command that plans a student under limits."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tinybert.errors import ConfigError, NoStudentError
from tinybert.flags import read_setting, recipe_flags

__all__ = ["PLANNING", "plan"]

_OUT = "runs/plan"
_LEFT_OUT = "none"


@recipe_flags("plan")
def plan(
    recipe: Any,
    max_mb: Annotated[float | None, typer.Option(help="Largest artifact folder, MB.")] = None,
    max_ms: Annotated[
        float | None, typer.Option(help="Longest p50 of a text on one thread, ms.")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(help="Of the teacher's dev metric, such as 98%: then the smallest wins."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="No training begins that would end later.")
    ] = None,
    try_: Annotated[
        list[str] | None,
        typer.Option("--try", help="Values to choose from: 'pruning.heads=\\[none, 6]'."),
    ] = None,
) -> None:
    """Find the best student within limits of size, latency or quality, and ship it.

    Sizes and latencies are measured before anything trains; what is over a limit never does.
    The same command goes on where it stopped.
    """
    from tinybert.ship.plan_page import print_plan
    from tinybert.ship.planner import plan as run_plan

    if "out" not in recipe.model_fields_set:
        recipe = recipe.model_copy(update={"out": _OUT})
    try:
        folder = run_plan(
            recipe,
            max_mb=max_mb,
            max_ms=max_ms,
            keep=None if keep is None else _share(keep),
            minutes=minutes,
            space=_space(try_ or ()),
        )
    except NoStudentError:
        print_plan(recipe.out)
        raise
    print_plan(folder)
    print(f"artifact: {folder / 'artifact'}")
    print(f"plan: {folder / 'plan.html'}")
    print(f"again: tinybert distill --recipe {folder / 'recipe.toml'}")


def _share(text: str) -> float:
    """Read ``98%`` or ``0.98``."""
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError as error:
        raise ConfigError(f"--keep is `{text}`; wanted a share such as 98% or 0.98") from error
    return value / 100 if text.strip().endswith("%") else value


def _space(given: Sequence[str]) -> dict[str, list[Any]]:
    """Read ``section.key=[values]``; a single value is a list of one, ``none`` is no value."""
    found = {}
    for text in given:
        name, value = read_setting(text, flag="--try")
        if isinstance(value, str):  # a list with a bare `none` is no TOML
            value = read_setting(re.sub(rf"\b{_LEFT_OUT}\b", f'"{_LEFT_OUT}"', text))[1]
        values = value if isinstance(value, list) else [value]
        found[name] = [None if each == _LEFT_OUT else each for each in values]
    return found


PLANNING = {
    plan: (
        "tinybert plan --data messages.csv --teacher runs/messages/teacher --max-mb 4 --max-ms 0.5",
        "tinybert plan --data messages.csv --max-mb 4 --keep 98% --minutes 60",
        "tinybert plan --recipe recipes/helpdesk.toml --max-ms 0.3 --try 'student.layers=[1, 2]'",
    )
}
