"""The report's plots as inline SVG whose lines and letters take the page's color."""

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from tinybert.metrics import Calibration

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "COLORS",
    "confusion_matrix",
    "losses",
    "pareto",
    "quality_against",
    "reliability",
    "values",
]

Array = npt.NDArray[Any]

COLORS = {
    "majority": "#8a8f98",
    "mean": "#8a8f98",
    "unordered": "#8a8f98",
    "tfidf": "#b07d48",
    "tfidf_ridge": "#b07d48",
    "tfidf_cosine": "#b07d48",
    "majority_tag": "#8a8f98",
    "lexicon": "#8f6be8",
    "features": "#b07d48",
    "unread": "#8a8f98",
    "overlap": "#b07d48",
    "source": "#8a8f98",
    "first sentence": "#8a8f98",
    "first 8 words": "#8a8f98",
    "label_only": "#d9730d",
    "teacher": "#4c7ff0",
    "student": "#12a594",
    "artifact": "#c2439b",
}
_SERIES = ("#4c7ff0", "#12a594", "#d9730d", "#c2439b", "#8f6be8", "#b07d48", "#5a9c2f", "#e0555f")
_INK = "#010203"
_MOST_CELLS = 30
_DRAWN = (
    "accuracy",
    "answer_f1",
    "chrf",
    "entity_f1",
    "pearson",
    "rougeL",
    "token_accuracy",
)
_SINGLE = ("embedding", "prediction", "labels", "target", "next_token", "cross_attention")
_SUM = "weighted sum"


def quality_against(
    points: Sequence[tuple[str, str, float, float]],
    *,
    unit: str,
    metric: str,
    reference: tuple[str, str, float] | None = None,
) -> str:
    """Draw quality (up) against a cost (right, logarithmic).

    Args:
        points: Key, name, cost and quality (0..1) of each system.
        unit: What the cost is.
        metric: What the quality is.
        reference: Key, name and quality of a system whose cost is not known; drawn as a line.
    """
    with _style():
        figure = Figure(figsize=(5.4, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.margins(x=0.22, y=0.22)
        for key, name, cost, quality in points:
            at = (0, -16) if key == "label_only" else (0, 8)
            axes.scatter([cost], [100 * quality], s=70, color=COLORS[key], zorder=3)
            axes.annotate(name, (cost, 100 * quality), at, textcoords="offset points", ha="center")
        if reference is not None:
            key, name, quality = reference
            axes.axhline(100 * quality, color=COLORS[key], linestyle="--", linewidth=1.2)
            where = (0.99, 100 * quality)
            axes.annotate(
                name,
                where,
                (0, -12),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                ha="right",
                fontsize=8.5,
                color=COLORS[key],
            )
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel(unit)
        axes.set_ylabel(f"{metric}, %")
        return _svg(figure, f"{metric} against {unit}")


def pareto(
    points: Sequence[tuple[float, float, str]],
    *,
    unit: str,
    metric: str,
    limit: float | None = None,
    wanted: float | None = None,
    teacher: float,
) -> str:
    """Draw candidates' quality (up) against a cost (right), and the front that none is better than.

    Args:
        points: Cost, quality (0..1) and kind (``tried``, ``shipped`` or ``chosen``) of each.
        unit: What the cost is.
        metric: What the quality is.
        limit: Largest cost that is allowed.
        wanted: Least quality that is wanted.
        teacher: The teacher's quality.
    """
    looks = {"tried": ("#8a8f98", 30), "shipped": (COLORS["student"], 50)}
    looks["chosen"] = (COLORS["artifact"], 130)
    front, best = [], -math.inf
    for cost, quality, _ in sorted(points, key=lambda point: (point[0], -point[1])):
        if quality > best:
            best = quality
            front.append((cost, 100 * quality))
    with _style():
        figure = Figure(figsize=(5.4, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.margins(x=0.12, y=0.15)
        if front:
            axes.step(*zip(*front, strict=True), where="post", color=_INK, alpha=0.35, linewidth=1)
        for kind, (color, size) in looks.items():
            of_kind = [(cost, 100 * quality) for cost, quality, k in points if k == kind]
            if of_kind:
                marker = "*" if kind == "chosen" else "o"
                at = np.asarray(of_kind).T
                axes.scatter(at[0], at[1], s=size, color=color, marker=marker, label=kind, zorder=3)
        axes.axhline(100 * teacher, color=COLORS["teacher"], linewidth=1.2, label="teacher")
        line: dict[str, Any] = {"color": COLORS["label_only"], "linestyle": "--", "linewidth": 1.2}
        if wanted is not None:
            axes.axhline(100 * wanted, **line)
        if limit is not None:
            axes.axvline(limit, **line, label="limit")
        axes.set_xlabel(unit)
        axes.set_ylabel(f"{metric}, %")
        axes.legend(loc="lower right", frameon=False)
        return _svg(figure, f"Candidates: {metric} against {unit}")


def confusion_matrix(table: Sequence[Sequence[int]], labels: Sequence[str], *, name: str) -> str:
    """Draw gold classes (down) against answers (right), shaded by share of the gold class."""
    counts = np.asarray(table)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(9.0, max(3.2, 1.9 + 0.36 * len(labels)))
    with _style():
        figure = Figure(figsize=(size, size), layout="constrained")
        axes = figure.subplots()
        right = np.eye(len(labels), dtype=bool)[..., None]
        color = np.where(right, mpl.colors.to_rgb("#12a594"), mpl.colors.to_rgb("#e0555f"))
        shade = np.sqrt(share)[..., None] * 0.85
        axes.imshow(np.concatenate([color, shade], axis=2), aspect="equal")
        shown = [label if len(label) <= 24 else f"{label[:23]}…" for label in labels]
        if len(labels) <= _MOST_CELLS:
            for (i, j), count in np.ndenumerate(counts):
                if count:
                    axes.text(j, i, str(count), ha="center", va="center", fontsize=8)
            axes.set_xticks(range(len(labels)), shown, rotation=90)
            axes.set_yticks(range(len(labels)), shown)
        axes.grid(visible=False)
        axes.set_xlabel(f"answered by {name.lower()}")
        axes.set_ylabel("gold")
        return _svg(figure, f"Confusion matrix of {name.lower()}")


def reliability(found: Mapping[str, Calibration], names: Mapping[str, str]) -> str:
    """Draw accuracy against confidence; the diagonal is perfect calibration."""
    with _style():
        figure = Figure(figsize=(5.4, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=_INK, alpha=0.35, linestyle="--", linewidth=1)
        for key, result in found.items():
            label = f"{names[key]}: ECE {100 * result.error:.1f} %"
            axes.plot(result.confidence, result.accuracy, color=COLORS[key], label=label)
            area = 12 + 160 * np.asarray(result.count) / sum(result.count)
            axes.scatter(result.confidence, result.accuracy, s=area, color=COLORS[key], zorder=3)
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.04)
        axes.set_xlabel("probability of the answer")
        axes.set_ylabel("share of right answers")
        axes.legend(loc="upper left", frameon=False)
        return _svg(figure, "Reliability diagram")


def values(predicted: Mapping[str, Array], targets: Array, names: Mapping[str, str]) -> str:
    """Draw predicted against wanted values; the diagonal is a perfect answer."""
    low, high = float(np.min(targets)), float(np.max(targets))
    with _style():
        figure = Figure(figsize=(3.6 * len(predicted), 3.7), layout="constrained")
        plots = figure.subplots(1, len(predicted), sharey=True, squeeze=False)[0]
        for axes, (key, found) in zip(plots, predicted.items(), strict=True):
            axes.plot([low, high], [low, high], color=_INK, alpha=0.35, linestyle="--", linewidth=1)
            axes.scatter(targets, found, s=9, color=COLORS[key], alpha=0.45, linewidths=0)
            axes.set_title(names[key])
            axes.set_xlabel("wanted")
        plots[0].set_ylabel("answered")
        return _svg(figure, "Answered against wanted values")


def losses(history: Sequence[Mapping[str, Any]], *, stage: str) -> str | None:
    """Draw each kind of loss over the steps, a line a layer; None where nothing was logged.

    Args:
        history: The stage's log: ``step`` and, by name, losses such as ``hidden/2``.
        stage: Name of the stage.
    """
    groups: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for entry in history:
        for name, value in entry.items():
            group, line = _loss_group(name)
            if group and isinstance(value, int | float):
                at = groups.setdefault(group, {}).setdefault(line, [])
                at.append((int(entry["step"]), float(value)))
    if not groups:
        return None
    parts = [name for name in groups if name != _SUM and not name.startswith("dev")]
    if len(parts) == 1 and len(groups[parts[0]]) == 1:
        groups.pop(_SUM, None)
    with _style():
        figure = Figure(figsize=(min(3.1 * len(groups), 12.4), 2.9), layout="constrained")
        for axes, (group, lines) in zip(
            figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True
        ):
            for i, (line, points) in enumerate(lines.items()):
                xs, ys = zip(*points, strict=True)
                axes.plot(xs, ys, color=_SERIES[i % len(_SERIES)], label=line or None)
            axes.set_title(group)
            axes.set_xlabel("step")
            if not group.startswith("dev") and all(y > 0 for p in lines.values() for _, y in p):
                axes.set_yscale("log")
                axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axes.yaxis.set_minor_locator(NullLocator())
                axes.yaxis.set_major_formatter("{x:g}")
            if any(lines):
                axes.legend(frameon=False, fontsize=8, ncols=2 if len(lines) > 4 else 1)
        return _svg(figure, f"Losses of the {stage} stage over its steps")


def _loss_group(name: str) -> tuple[str, str]:
    """Return the plot and the line that a logged name belongs to; an empty plot leaves it out."""
    kind, _, layer = name.partition("/")
    if kind in ("attention", "hidden"):
        return kind, f"layer {layer}" if layer else ""
    if kind in _SINGLE:
        return kind.replace("_", " "), ""
    if name == "loss":
        return _SUM, ""
    if name.removeprefix("eval_") in _DRAWN:
        return f"dev {name[5:]}", ""
    return "", ""


@contextmanager
def _style() -> "Iterator[None]":
    """Set letters and lines to the ink that ``_svg`` turns into the page's color."""
    ink = {
        f"{part}color": _INK
        for part in ("text.", "axes.edge", "axes.label", "xtick.", "ytick.", "grid.")
    }
    settings: Any = ink | {
        "svg.fonttype": "none",
        "text.parse_math": False,
        "font.family": "sans-serif",
        "font.size": 9.5,
        "axes.titlesize": 10.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.15,
        "lines.linewidth": 1.8,
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def _svg(figure: Figure, title: str) -> str:
    """Return a figure as SVG fit to stand inside a page, scaling to its width."""
    target = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": title}):
        figure.savefig(target, format="svg", transparent=True)
    svg = target.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*; ", "", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    svg = svg.replace(_INK, "currentColor")
    width = re.search(r'width="([\d.]+)pt"', svg)
    points = float(width.group(1)) if width else 400.0
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    shape = f'<svg role="img" style="width:{points * 4 / 3:.0f}px"'
    return svg.replace("<svg", shape, 1).replace(">", f"><title>{title}</title>", 1)
