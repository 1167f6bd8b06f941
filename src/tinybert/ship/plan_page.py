"""A plan as one table, in the terminal and on a page with its charts."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tinybert.artifact import write_atomic
from tinybert.ship import plots
from tinybert.ship.table import METRIC_NAMES
from tinybert.ship.templates import open_template

__all__ = ["plan_table", "print_plan", "write_page"]

_ORDER = ("chosen", "trained", "short", "stopped", "refused", "waiting", "larger", "over")
_PARTS = {"0.25": "¼", "0.5": "½", "1": "full"}
_WIDE = 140


def print_plan(plan: str | Path) -> None:
    """Print the table of ``plan.json``; candidates over a limit are only counted, unless all are.

    Args:
        plan: The plan's folder.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    about = json.loads((Path(plan) / "plan.json").read_text(encoding="utf-8"))
    header, lines = plan_table(about)
    shown = [(state, cells) for state, cells in lines if state not in ("over", "larger")] or lines
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    drawn = Table(box=box.SIMPLE_HEAD)
    drawn.add_column(header[0], overflow="fold")
    for name in header[1:-1]:
        drawn.add_column(name, justify="right", no_wrap=True)
    drawn.add_column(header[-1], overflow="fold")
    for state, cells in shown:
        drawn.add_row(*cells, style="bold" if state == "chosen" else "")
    console.print(drawn)
    if left := len(lines) - len(shown):
        console.print(f"{left} candidates more were over a limit, or larger than needed")


def plan_table(about: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return the header and, by state, the cells of each candidate as texts; the best first.

    Args:
        about: What ``plan.json`` holds.
    """
    metric = METRIC_NAMES.get(about["metric"], about["metric"])
    header = ["Candidate", "MB", "ms"]
    header += [f"{metric} {_PARTS[share]}" for share in about["shares"]]
    header += ["Artifact", "Kept", "State"]
    top = about["teacher"]["dev"][about["metric"]]
    lines = []
    for one in sorted(about["candidates"], key=lambda c: (_ORDER.index(c["state"]), c["mb"])):
        about_cost = "" if one["measured"] else "≈"
        cells = [one["name"], f"{about_cost}{one['mb']:.2f}"]
        cells += ["–" if one["ms"] is None else f"{about_cost}{one['ms']:.3g}"]
        cells += [_percent(one["quality"].get(share)) for share in about["shares"]]
        kept = None if one["artifact"] is None or top <= 0 else one["artifact"] / top
        cells += [_percent(one["artifact"]), _percent(kept)]
        cells += [f"{one['state']}: {one['why']}" if one["why"] else one["state"]]
        lines.append((one["state"], cells))
    return header, lines


def write_page(about: Mapping[str, Any], folder: Path) -> Path:
    """Write ``plan.html``: verdict, charts, table.

    Args:
        about: What ``plan.json`` holds.
        folder: The plan's folder.
    """
    header, lines = plan_table(about)
    template = open_template("plan")
    page = template.render(
        about=about,
        header=header,
        lines=lines,
        charts=[Markup(chart) for chart in _charts(about)],
    )
    path = folder / "plan.html"
    write_atomic(path, page.encode())
    return path


def _charts(about: Mapping[str, Any]) -> list[str]:
    """Draw quality over size and over latency, as far as candidates were trained."""
    name, limits = about["metric"], about["limits"]
    top = about["teacher"]["dev"][name]
    wanted = None if limits["keep"] is None else limits["keep"] * top
    found = []
    for cost, unit in (("mb", "artifact, MB"), ("ms", "p50, ms")):
        points = [
            (one[cost], quality, _kind(one))
            for one in about["candidates"]
            if one[cost] is not None and (quality := _quality(one, about["shares"])) is not None
        ]
        if points:
            found.append(
                plots.pareto(
                    points,
                    unit=unit,
                    metric=METRIC_NAMES.get(name, name),
                    limit=limits[f"max_{cost}"],
                    wanted=wanted,
                    teacher=top,
                )
            )
    return found


def _quality(one: Mapping[str, Any], shares: list[str]) -> float | None:
    """Return a candidate's dev metric after the longest training there is."""
    if one["artifact"] is not None:
        return float(one["artifact"])
    return next((one["quality"][s] for s in reversed(shares) if s in one["quality"]), None)


def _kind(one: Mapping[str, Any]) -> str:
    """Return how a candidate is drawn."""
    if one["state"] == "chosen":
        return "chosen"
    return "tried" if one["artifact"] is None else "shipped"


def _percent(value: float | None) -> str:
    """Return a share in percent, a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f}"
