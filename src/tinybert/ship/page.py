"""Turns a report's figures into one page that needs nothing but itself."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from tinybert.artifact import VALUED
from tinybert.metrics import Calibration
from tinybert.metrics import values as metric_values
from tinybert.ship import plots
from tinybert.ship.systems import NAMES
from tinybert.ship.table import METRIC_NAMES, headline, table
from tinybert.ship.templates import open_template

__all__ = ["render"]

_STAGES = {
    "teach": "Teaching the teacher",
    "layer": "Layer stage",
    "healing": "Healing after pruning",
    "prediction": "Prediction stage",
    "label_only": "Student without a teacher",
}
_LONGEST_TEXT = 600


def render(report: Mapping[str, Any], drawn: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        report: What ``report.json`` holds.
        drawn: ``logits`` by system, ``targets``, and ``logs`` of the stages.
    """
    header, lines = table(report)
    template = open_template("report", percent=_percent, shorten=_shorten, figure=_figure)
    return template.render(
        report=report,
        headline=headline(report),
        header=header,
        lines=lines,
        names=NAMES,
        metric=METRIC_NAMES[report["metric"]],
        plots={name: Markup(svg) for name, svg in _plots(report, drawn).items()},
        losses=[(_STAGES[s], Markup(svg)) for s, svg in _losses(drawn["logs"]).items()],
        compared=[key for key in ("teacher", "student", "artifact") if key in drawn["logits"]],
    )


def _plots(report: Mapping[str, Any], drawn: Mapping[str, Any]) -> dict[str, str]:
    """Draw everything but the losses."""
    main, metric = report["metric"], METRIC_NAMES[report["metric"]]
    found = {}
    row = next(
        row
        for row in report["systems"]
        if row["system"].startswith(("tfidf", "features", "overlap"))
    )
    reference = (row["system"], row["name"], row["quality"][main])
    for name, cost, unit in (("size", "file_mb", "file, MB"), ("latency", "p50_ms", "p50, ms")):
        points = [
            (row["system"], row["name"], row[cost], row["quality"][main])
            for row in report["systems"]
            if row[cost]
        ]
        found[name] = plots.quality_against(points, unit=unit, metric=metric, reference=reference)
    shown = [key for key in ("teacher", "student", "artifact") if key in drawn["logits"]]
    task = report["data"]["task"]
    if task in VALUED:
        predicted = {key: metric_values(task, drawn["logits"][key]) for key in shown}
        return found | {"values": plots.values(predicted, drawn["targets"], NAMES)}
    if "calibration" not in report:
        return found
    calibrations = {key: Calibration(**report["calibration"][key]) for key in shown}
    found["reliability"] = plots.reliability(calibrations, NAMES)
    for key in shown[1:] if "confusion" in report else ():
        found[f"confusion_{key}"] = plots.confusion_matrix(
            report["confusion"][key], report["data"]["labels"], name=NAMES[key]
        )
    return found


def _losses(logs: Mapping[str, Any]) -> dict[str, str]:
    """Draw the losses of each stage that logged any."""
    found = {stage: plots.losses(history, stage=stage) for stage, history in logs.items()}
    return {stage: svg for stage, svg in found.items() if svg is not None}


def _percent(value: float) -> str:
    """Return a share as text."""
    return f"{100 * value:.1f} %"


def _shorten(text: str) -> str:
    """Cut a text that would fill the page."""
    return (
        text
        if len(text) <= _LONGEST_TEXT
        else f"{text[:_LONGEST_TEXT]} … ({len(text):,} characters)"
    )


def _figure(value: Any) -> str:
    """Return a figure of the parity block as people read it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
