"""The tables of ``seq2seq-SET.json`` and ``writing-RUN.json``."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from _results import read_all

__all__ = ["written_tables"]

NAMES = {
    "teacher": "Teacher",
    "student": "Student",
    "int8": "Student, int8",
    "alone": "Same student, references alone",
    "scratch": "Same student, references alone, random start",
    "first sentence": "First sentence",
    "first 8 words": "First 8 words, 16 characters",
    "source": "Source unchanged",
}
FIGURES = {"translation": ("bleu", "chrf"), "summarization": ("rougeL", "rouge1")}
TITLES = {"bleu": "BLEU", "chrf": "chrF", "rougeL": "ROUGE-L", "rouge1": "ROUGE-1"}

Table = Callable[[Sequence[str], Sequence[Sequence[str]]], str]


def written_tables(table: Table) -> str:
    """Return the section on models that write.

    Args:
        table: Function of a header and lines that gives a Markdown table.
    """
    quality = read_all("seq2seq")
    parts = [_quality(contents, kind, table) for kind, contents in _by_task(quality).items()]
    timed = read_all("writing")
    return "\n\n".join([*parts, *([_time(timed, table), _same(timed, table)] if timed else [])])


def _by_task(contents: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the results of each task that has some."""
    found: dict[str, dict[str, Any]] = {}
    for name, content in contents.items():
        task = "translation" if content["rows"][0]["metric"] == "chrf" else "summarization"
        found.setdefault(task, {})[name] = content
    return found


def _quality(contents: dict[str, dict[str, Any]], task: str, table: Table) -> str:
    """Return a line for each set and system; the share of the teacher's figure is that of means."""
    first, second = FIGURES[task]
    header = ["Set", "System", "Seeds", TITLES[first], "Kept", TITLES[second]]
    header += (["Lost numbers"] if task == "translation" else []) + ["File"]
    lines = []
    for name, content in contents.items():
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in content["rows"]:
            groups.setdefault(row["system"], []).append(row)
        best = statistics.mean(row[first] for row in groups["teacher"])
        for system, rows in groups.items():
            value = statistics.mean(row[first] for row in rows)
            cells = [name, NAMES[system], str(len(rows)), f"**{_mean(rows, first)}**"]
            cells += [f"{100 * value / best:.1f}", _mean(rows, second)]
            if task == "translation":
                cells.append(f"{100 * statistics.mean(row['lost_numbers'] for row in rows):.1f} %")
            size = statistics.mean(row["mb"] for row in rows)
            lines.append([*cells, f"{size:.1f} MB" if size else "–"])
    return table(header, lines)


def _mean(rows: Sequence[dict[str, Any]], key: str) -> str:
    values = [row[key] for row in rows]
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def _time(contents: dict[str, dict[str, Any]], table: Table) -> str:
    """Return milliseconds a sentence; how many times slower than int8 stands in brackets."""
    lines = []
    for name, content in contents.items():
        for row in content["rows"]:
            cells = [name, str(row["beams"]), f"{row['artifact_ms']:.1f}"]
            cells += [
                f"{row[f'{system}_torch_ms']:.1f} ({row[f'faster_than_{system}_torch']:.1f})"
                for system in ("student", "teacher")
            ]
            lines.append(cells)
    header = ("Run", "Beams", "int8, ms", "Student, PyTorch", "Teacher, PyTorch")
    return table(header, lines)


def _same(contents: dict[str, dict[str, Any]], table: Table) -> str:
    """Return how int8 differs from float32, and a text alone from one among others."""
    lines = []
    for name, content in contents.items():
        same = content["sameness"]
        figures = [f"{same['fp32']:.2f}", f"{same['int8']:.2f}"]
        counts = [str(same["unlike_fp32"]), str(same["alone_differs"])]
        lines.append([name, f"{same['texts']:,}", same["metric"], *figures, *counts])
    header = ("Run", "Texts", "Metric", "float32", "int8", "int8 unlike", "Alone unlike a batch")
    return table(header, lines)
