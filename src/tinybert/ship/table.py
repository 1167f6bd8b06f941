"""A report in one sentence and one table, for the page and for the terminal."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinybert.ship.systems import NAMES

__all__ = [
    "METRIC_NAMES",
    "headline",
    "print_table",
    "table",
    "written_headline",
    "written_table",
]

METRIC_NAMES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro-F1",
    "micro_f1": "Micro-F1",
    "exact": "Exact match",
    "f1": "F1",
    "matthews": "Matthews",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "ndcg@10": "NDCG@10",
    "mrr@10": "MRR@10",
    "answer_f1": "Answer F1",
    "has_answer_f1": "F1, answered",
    "has_answer_exact": "Exact, answered",
    "no_answer_exact": "No answer",
    "entity_f1": "Entity F1",
    "precision": "Precision",
    "recall": "Recall",
    "token_accuracy": "Token accuracy",
}
_WIDE = 140


def print_table(report: Mapping[str, Any] | str | Path) -> None:
    """Print a report's table in the terminal.

    Args:
        report: What ``report.json`` holds, or the path of ``report.json`` or ``report.html``.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    found: Mapping[str, Any] = (
        report
        if isinstance(report, Mapping)
        else json.loads(Path(report).with_suffix(".json").read_text(encoding="utf-8"))
    )
    written = "signatures" in found
    header, lines = written_table(found) if written else table(found)
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    parts = [range(1, len(header))]
    if console.width < _WIDE and not written:
        cost = header.index("p50 ms")
        parts = [range(1, cost), range(cost, len(header))]
    told = written_headline(found) if written else headline(found)
    console.print(told, highlight=False, markup=False, soft_wrap=True)
    for columns in parts:
        drawn = Table(box=box.SIMPLE_HEAD)
        drawn.add_column(header[0], no_wrap=True)
        for i in columns:
            drawn.add_column(header[i], justify="right", no_wrap=True)
        for key, cells in lines:
            style = "bold" if key == "artifact" else ""
            drawn.add_row(cells[0], *(cells[i] for i in columns), style=style)
        console.print(drawn)


def headline(report: Mapping[str, Any]) -> str:
    """Say in one sentence what the report found."""
    data, split = report["data"], report["split"]
    rows = {row["system"]: row for row in report["systems"]}
    last = rows.get("artifact", rows["student"])
    name = NAMES[last["system"]].lower()
    kept = last["kept"]
    count = data["rows"][split]
    share = "" if kept is None else f"the {name} keeps {100 * kept:.1f} % of the teacher's "
    where = f"{report['metric']} on {data['name']}, {split} split, {count:,} texts"
    if split == "dev":
        where += " (there is no test split; dev also chose the epochs)"
    return f"{share}{where}"


def table(report: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return the header and, by system, the cells of the main table as texts."""
    main = report["metric"]
    quality = report["systems"][0]["quality"]
    usual = (name for name in METRIC_NAMES if name not in ("f1", "matthews"))
    names = [main, *(n for n in usual if n in quality and n != main)]
    header = ["System", *(METRIC_NAMES[n] for n in names), "Kept", "Weights", "File MB"]
    header += ["p50 ms", "p95 ms", "Texts/s", "Load s", "Memory MB"]
    lines = []
    for row in report["systems"]:
        cells = [row["name"], *(f"{100 * row['quality'][n]:.1f}" for n in names)]
        cells += [
            _text(row["kept"], "{:.1%}"),
            _count(row["parameters"]),
            _text(row["file_mb"], "{:.1f}"),
        ]
        cells += [_text(row["p50_ms"], "{:.2f}"), _text(row["p95_ms"], "{:.2f}")]
        cells += [_text(row["texts_per_s"], "{:,.0f}"), _text(row["load_s"], "{:.2f}")]
        cells += [_text(row["peak_mb"], "{:.0f}")]
        lines.append((row["system"], cells))
    return header, lines


def written_headline(report: Mapping[str, Any]) -> str:
    """Say in one sentence what the report of a model that writes texts found."""
    data, metric = report["data"], report["metric"]
    rows = {row["system"]: row for row in report["systems"]}
    last = rows.pop("artifact")
    kept = last["kept"]
    share = "" if kept is None else f"the int8 student keeps {100 * kept:.1f} % of the teacher's "
    where = f"{metric} on {data['name']}, {data['split']} split, {data['rows']:,} texts"
    if data["split"] == "dev":
        where += " (dev also chose the epochs)"
    plain = [rows[name] for name in rows if name not in ("teacher", "student")]
    best = max(plain, key=lambda row: float(row["quality"][metric]))
    if best["quality"][metric] < last["quality"][metric]:
        return f"{share}{where}"
    value = f"{best['quality'][metric]:.2f}"
    return f"{share}{where}; but `{best['name']}`, without any model, reaches {value}"


def written_table(report: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return the header and, by system, the cells of a report on written texts."""
    names = list(report["systems"][0]["quality"])
    header = ["System", *names, "Kept", "File MB", "Texts/s"]
    lines = []
    for row in report["systems"]:
        cells = [row["name"], *(f"{row['quality'][name]:.2f}" for name in names)]
        cells += [_text(row["kept"], "{:.1%}"), _text(row["file_mb"], "{:.1f}")]
        lines.append((row["system"], [*cells, _text(row["texts_per_second"], "{:.0f}")]))
    return header, lines


def _text(value: float | None, form: str) -> str:
    """Return a number as text, a dash where there is none."""
    return "–" if value is None else form.format(value)


def _count(value: int | None) -> str:
    """Return a number of weights in millions."""
    return "–" if value is None else "0" if value == 0 else f"{value / 1e6:.2f} M"
