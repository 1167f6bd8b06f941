"""The tables of docs/results.md: every set, int8 beside float32, other tools, parts left out."""

import itertools
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from _results import read, read_all
from _sets import SETS
from _speeds import speed_tables
from _written import written_tables
from tinybert.ship.table import METRIC_NAMES

__all__ = ["details", "gains", "judge", "mean", "table"]

PEERS = ("textbrewer", "textbrewer-random", "model2vec")


LIMITS = (4, 2)
STEPS = {
    "no-layer-stage": "the layer stage | left out",
    "no-prediction-stage": "the prediction stage | left out",
    "no-augmentation": "texts with replaced words, labelled by the teacher | left out",
    "random-start": "the start from the teacher's layers | random weights",
    "last-layers": "student layers that learn from evenly spread ones | from the last ones",
    "paper-losses": "a layer stage of hidden states alone | scores and embeddings too",
    "first-layers": "student layers that learn from evenly spread ones | from the first ones",
}


def details() -> str:
    """Return the sections of which there are results."""
    sections = {
        "Quality": _lines(
            "Set|Metric, split|Layers|Seeds|Teacher|Student|Kept|int8|No teacher|TF-IDF|Majority",
            "quality",
            _quality,
        ),
        "int8": _lines(
            "Set|Layers|Seeds|Flips on dev|Most flips|int8 − float32, dev|Size of float32",
            "quality",
            _int8,
            names=[shown for name in SETS for shown in (name, f"{name}-int8")],
        ),
        "Small artifacts": _small(),
        "Plans": _plans(),
        "Other tools": _lines("Set|Metric, split|System|Seeds|Value|Steps|Size", "peers", _peers),
        "Parts left out": _lines(
            "Set|Metric|Layers|Student|Seeds|Dev|Test", "ablation", _ablation, by="variant"
        ),
        "General distillation": _general(),
        "Sentence vectors": _vectors(),
        "Written texts": written_tables(table),
        "Speed": speed_tables(table),
    }
    return "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items() if text)


def _small() -> str:
    """Return the students whose words, tables and neurons are fewer, by the limit of their file."""
    lines = []
    for name, limit in itertools.product(SETS, LIMITS):
        rows = (read(f"quality-{name}-{limit}mb") or {"rows": []})["rows"]
        if rows:
            shown = ", ".join(f"{key} {value}" for key, value in rows[0]["settings"].items())
            size = f"{statistics.mean(row['int8_mb'] for row in rows):.1f} MB"
            cells = [name, str(rows[0]["layers"]), shown, _seeds(rows)]
            cells += [mean(rows, f"{judge(rows)}_{key}") for key in ("teacher", "student")]
            lines.append(
                [*cells, f"**{mean(rows, 'kept')}**", mean(rows, f"{judge(rows)}_int8"), size]
            )
    header = "Set|Layers|Settings over the recipe|Seeds|Teacher|Student|Kept|int8|int8 file"
    return table(header.split("|"), lines) if lines else ""


def _plans() -> str:
    """Return what each plan tried, the chosen one first, and what it says."""
    texts = []
    for name, content in read_all("plan").items():
        metric, test = METRIC_NAMES[content["metric"]], content["test"]
        rows = sorted(content["rows"], key=lambda row: (row["state"] != "chosen", row["mb"]))
        lines = [
            [row["name"], f"{row['mb']:.2f}", f"{row['ms']:.2f}"]
            + [_share(row["quality"].get(part)) for part in ("0.25", "0.5", "1")]
            + [_share(row["artifact"]), row["state"]]
            for row in rows
        ]
        header = f"{name}|MB|ms|{metric}, dev ¼|½|full|Artifact|State".split("|")
        states = ", ".join(f"{count} {state}" for state, count in content["states"].items())
        texts.append(
            f"`{content['command']}`: {content['verdict']}; {_share(test[content['metric']])} on "
            f"{test['split']}. Of all candidates: {states}.\n\n{table(header, lines)}"
        )
    return "\n\n".join(texts)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _general() -> str:
    """Return what students gain that were distilled on plain text before the task."""
    lines = []
    names = [shown for name in SETS for shown in (name, f"{name}-relations")]
    for name in names:
        groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in (read(f"general-{name}") or {"rows": []})["rows"]:
            key = (row["shape"], row["start"], row.get("general_tokens", 0))
            groups.setdefault(key, []).append(row)
        for (shape, start, tokens), rows in groups.items():
            split = judge(rows)
            cells = [name, f"{_metric(rows)}, {split}", shape, start, _seeds(rows)]
            cells += [f"{tokens / 1e6:.1f} M" if tokens else "–", mean(rows, "dev_student")]
            lines.append([*cells, f"**{mean(rows, f'{split}_student')}**", mean(rows, "kept")])
    header = "Set|Metric, split|Shape|Start|Seeds|Tokens before|Dev|Student|Kept"
    return table(header.split("|"), lines) if lines else ""


def _vectors() -> str:
    """Return how near the cosines of sentence vectors are to what people said."""
    groups: dict[tuple[str, int | None], list[dict[str, Any]]] = {}
    for row in (read("embeddings-stsb") or {"rows": []})["rows"]:
        groups.setdefault((row["system"], row["layers"]), []).append(row)
    if not groups:
        return ""
    teacher = groups["teacher", None][0]
    lines = []
    for (system, layers), rows in groups.items():
        kept = [{"kept": row["test"] / teacher["test"]} for row in rows]
        cells = [rows[0]["set"], system, str(layers or "–"), _seeds(rows), mean(rows, "dev")]
        cells += [f"**{mean(rows, 'test')}**", mean(kept, "kept")]
        lines.append([*cells, f"{rows[0]['mb']:.1f} MB"])
    header = "Set|System|Layers|Seeds|Spearman, dev|Test|Kept|Size"
    return table(header.split("|"), lines)


def gains() -> str:
    """Return what each step of the recipe gives, in points, the largest first."""
    sets, found = [], {}
    for name in SETS:
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in (read(f"ablation-{name}") or {"rows": []})["rows"]:
            groups.setdefault(row["variant"], []).append(row)
        if "whole" not in groups:
            continue
        sets.append(name)
        found[name] = {
            part: _lost(groups["whole"], groups[part]) for part in STEPS if part in groups
        }
    lines = []
    for part, title in STEPS.items():
        values = [found[name].get(part, []) for name in sets]
        if any(values):
            known = [statistics.mean(lost) for lost in values if lost]
            cells = [_points(lost) for lost in values]
            lines.append((statistics.mean(known), [*title.split(" | "), *cells]))
    if not lines:
        return ""
    ordered = [cells for _, cells in sorted(lines, key=lambda line: -line[0])]
    return table(["Step", "Instead", *sets], ordered)


def _lost(whole: list[dict[str, Any]], part: list[dict[str, Any]]) -> list[float]:
    """Return the points that students lose by a change, one for each seed that both have."""
    split = judge(whole)
    values = {row["seed"]: row[f"{split}_student"] for row in whole}
    return [
        100 * (values[row["seed"]] - row[f"{split}_student"])
        for row in part
        if row["seed"] in values
    ]


def _points(lost: Sequence[float]) -> str:
    """Return mean and standard deviation of points, with their sign; a dash for none."""
    if not lost:
        return "–"
    found = f"{statistics.mean(lost):+.1f}"
    return f"{found} ± {statistics.stdev(lost):.1f}" if len(lost) > 1 else found


def judge(rows: list[dict[str, Any]]) -> str:
    """Return the split that decides: test where there is one."""
    return "test" if any(key.startswith("test") for key in rows[0]) else "dev"


def mean(rows: Sequence[dict[str, Any]], key: str, *, spread: bool = True) -> str:
    """Return mean and standard deviation in percent; a dash where nothing was measured."""
    values = [100 * row[key] for row in rows if row.get(key) is not None]
    if not values:
        return "–"
    found = f"{statistics.mean(values):.1f}"
    return f"{found} ± {statistics.stdev(values):.1f}" if spread and len(values) > 1 else found


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, numbers to the right."""
    rule = ["---", *["--:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *lines])


def _lines(
    header: str,
    kind: str,
    line: Callable[[str, list[dict[str, Any]]], list[str]],
    *,
    by: str = "system",
    names: Iterable[str] = SETS,
) -> str:
    """Return a table with a line for each set, size and system; nothing where none was measured."""
    lines = []
    for name in names:
        groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in (read(f"{kind}-{name}") or {"rows": []})["rows"]:
            groups.setdefault((row["layers"], row.get(by)), []).append(row)
        lines += [line(name, rows) for rows in groups.values()]
    return table(header.split("|"), lines) if lines else ""


def _metric(rows: list[dict[str, Any]]) -> str:
    return str(rows[0].get("metric", "accuracy"))


def _seeds(rows: list[dict[str, Any]]) -> str:
    return str(len({row["seed"] for row in rows}))


def _quality(name: str, rows: list[dict[str, Any]]) -> list[str]:
    split = judge(rows)
    cells = [name, f"{_metric(rows)}, {split}", str(rows[0]["layers"]), _seeds(rows)]
    cells += [mean(rows, f"{split}_teacher"), f"**{mean(rows, f'{split}_student')}**"]
    cells += [f"**{mean(rows, 'kept')}**"]
    cells += [mean(rows, f"{split}_{key}") for key in ("int8", "label_only", "tfidf")]
    return [*cells, mean(rows, f"{split}_majority", spread=False)]


def _int8(name: str, rows: list[dict[str, Any]]) -> list[str]:
    lost = [{"lost": row["dev_int8"] - row["dev_student"]} for row in rows]
    flips = [row["int8_dev_flips"] for row in rows if row["int8_dev_flips"] is not None]
    average = f"{100 * statistics.mean(flips):.2f} %" if flips else "–"
    most = f"{100 * max(flips):.2f} %" if flips else "–"
    cells = [name, str(rows[0]["layers"]), _seeds(rows), average, most, mean(lost, "lost")]
    return [*cells, f"{mean(rows, 'int8_of_fp32', spread=False)} %"]


def _peers(name: str, rows: list[dict[str, Any]]) -> list[str]:
    split, first = judge(rows), rows[0]
    system = first["system"] + (f", {first['layers']} layers" if first["layers"] else "")
    cells = [name, f"{_metric(rows)}, {split}", system, _seeds(rows), mean(rows, split)]
    size = f"{statistics.mean(row['mb'] for row in rows):.1f} MB"
    return [*cells, str(first["steps"]) if first["steps"] else "–", size]


def _ablation(name: str, rows: list[dict[str, Any]]) -> list[str]:
    cells = [name, _metric(rows), str(rows[0]["layers"]), rows[0]["variant"], _seeds(rows)]
    return [*cells, mean(rows, "dev_student"), mean(rows, "test_student")]
