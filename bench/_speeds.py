"""The tables and the chart of ``speed.json``, ``peak.json`` and ``ratio-RUN.json``."""

import io
import re
from collections.abc import Sequence
from typing import Any

from _results import read, read_all

__all__ = ["chart", "fastest", "peers", "speed_tables"]

NAMES = {
    "native": "Own engine",
    "onnx": "ONNX Runtime int8",
    "onnx_fp32": "ONNX Runtime fp32",
    "ctranslate2": "CTranslate2 int8",
    "openvino": "OpenVINO int8",
    "torch": "PyTorch",
    "torch_compiled": "torch.compile",
    "model2vec": "model2vec",
}
STARTS = {"ids": "From token ids", "text": "From text, tokenization included"}
# Not an encoder: shown, never compared with.
OTHERS = ("model2vec",)
COLORS = {
    "native": "#c2439b",
    "onnx": "#4c7ff0",
    "onnx_fp32": "#9db9f7",
    "ctranslate2": "#12a594",
    "openvino": "#8f6be8",
    "torch": "#d9730d",
    "torch_compiled": "#f0b07a",
    "model2vec": "#8a8f98",
}


def peers(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return who stands in rows beside the engine, in the order of the tables."""
    return [key for key in NAMES if key != "native" and any(f"{key}_ms" in row for row in rows)]


def fastest(row: dict[str, Any]) -> float:
    """Return how many times the engine is faster than the fastest other encoder of a row."""
    return float(
        min(
            row[f"faster_than_{key}"]
            for key in NAMES
            if key not in OTHERS and f"faster_than_{key}" in row
        )
    )


def speed_tables(table: Any) -> str:
    """Return the section on speed.

    Args:
        table: Function of a header and lines that gives a Markdown table.
    """
    content = read("speed")
    if content is None:
        return _ratios(table)
    parts = []
    for start, title in STARTS.items():
        rows = [row for row in content["rows"] if row["from"] == start]
        if rows:
            parts.append(f"{title}, milliseconds a text:\n\n{_table(rows, table)}")
    parts += [t for t in (_systems(content, table), _peak(table), _ratios(table)) if t]
    return "\n\n".join(parts)


def _table(rows: Sequence[dict[str, Any]], table: Any) -> str:
    """Return the milliseconds of each load; how many times slower stands in brackets."""
    others = peers(rows)
    shares = any("tokenize_share" in row for row in rows)
    header = ["Texts", "Threads", *(NAMES[key] for key in ("native", *others)), "× fastest encoder"]
    lines = []
    for row in rows:
        cells = [row["load"], str(row["threads"]), f"**{row['native_ms']:.2f}**"]
        cells += [_cell(row, key) for key in others] + [f"**{fastest(row):.1f}**"]
        if shares:
            share = row.get("tokenize_share")
            cells.append("–" if share is None else f"{100 * share:.0f} %")
        lines.append(cells)
    return str(table([*header, *(["Tokenization"] if shares else [])], lines))


def _cell(row: dict[str, Any], key: str) -> str:
    if f"{key}_ms" not in row:
        return "–"
    return f"{row[f'{key}_ms']:.2f} ({row[f'faster_than_{key}']:.1f})"


def _systems(content: dict[str, Any], table: Any) -> str:
    """Return what each contestant was, its model's size, and how often it answers otherwise."""
    lines = []
    for key, about in content.get("contestants", {}).items():
        if "skipped" in about:
            lines.append([NAMES[key], about["what"], "–", f"skipped: {about['skipped']}"])
            continue
        flips = about.get("flips")
        share = "–" if flips is None else f"{100 * flips:.2f} %"
        lines.append([NAMES[key], about["what"], f"{about['mb']:.1f} MB", share])
    header = ("Contestant", "What", "Model", "Labels unlike PyTorch's")
    return str(table(header, lines)) if lines else ""


def _peak(table: Any) -> str:
    """Return the peak of one core and the engine's share of it."""
    lines = [
        [
            *(row["isa"], row["shape"]),
            *(f"{row[f'{part}_gops']:.0f}" for part in ("peak", "products")),
            *(f"{100 * row['bare_share']:.0f} %", f"**{100 * row['products_share']:.0f} %**"),
        ]
        for row in (read("peak") or {"rows": []})["rows"]
    ]
    header = ("Instructions", "Shape", "Peak, GOP/s", "Products, GOP/s", "Bare share", "Share")
    return str(table(header, lines)) if lines else ""


def _ratios(table: Any) -> str:
    """Return artifacts beside their teachers and a BERT-base in PyTorch, from text to label."""
    lines = []
    for name, content in read_all("ratio").items():
        for row in content["rows"]:
            cells = [name, f"{content['artifact_mb']:.1f} MB"]
            cells += [str(row["batch"]), f"{row['artifact_per_s']:,.0f}"]
            cells += [
                f"{row[f'{other}_per_s']:,.1f} (**{row[f'faster_than_{other}']:.0f}**)"
                for other in ("teacher", "bert_base")
            ]
            lines.append(cells)
    header = ("Artifact", "Folder", "Batch", "Texts/s", "Teacher, PyTorch", "BERT-base, PyTorch")
    return str(table(header, lines)) if lines else ""


def chart() -> bytes | None:
    """Draw texts a second of the batches of mixed lengths, one thread; None without figures.

    Returns:
        An SVG that is the same for the same figures.
    """
    content = read("speed")
    rows = [] if content is None else content["rows"]
    for start in ("ids", "text"):
        loads = {"mix at 1", "mix at 8", "mix at 32", "sorted at 32", "8x128"}
        some = [r for r in rows if (r["from"], r["threads"]) == (start, 1) and r["load"] in loads]
        if some:
            return _drawn(some, STARTS[start].lower())
    return None


def _drawn(rows: Sequence[dict[str, Any]], title: str) -> bytes:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    keys = ["native", *(key for key in peers(rows) if key not in OTHERS)]
    settings = {"svg.hashsalt": "speed", "svg.fonttype": "none", "font.size": 9}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(8, 1 + 0.19 * len(keys) * len(rows)), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        high = 0.84 / len(keys)
        for n, key in enumerate(keys):
            at = [i + (n - (len(keys) - 1) / 2) * high for i in range(len(rows))]
            speeds = [1e3 / row[f"{key}_ms"] for row in rows]
            bars = axes.barh(at, speeds, height=high, color=COLORS[key], label=NAMES[key])
            axes.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=7)
        axes.set_yticks(range(len(rows)), [row["load"] for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel(f"texts a second on one thread, {title}")
        axes.legend(frameon=False, loc="lower right")
        found = io.StringIO()
        figure.savefig(found, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"[ \t]+\n", "\n", found.getvalue()).encode()
