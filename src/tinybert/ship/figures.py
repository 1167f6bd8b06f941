"""Gathers the figures of a report: quality, cost, and what was lost on the way."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy.typing as npt

from tinybert import metrics
from tinybert._version import __version__
from tinybert.artifact import CARD, VALUED
from tinybert.data import TaskData
from tinybert.ship import lost
from tinybert.ship.lost_answers import place_differences
from tinybert.ship.lost_words import word_differences
from tinybert.ship.measure import TIMED, Subject, measure
from tinybert.ship.systems import NAMES, Run, System, answer, stage_logs
from tinybert.tags import scheme_of

__all__ = ["figures"]

Array = npt.NDArray[Any]

_MOST_TEXTS = 40
_MOST_FLIPS = 20
_STAGES = ("teach", "layer", "healing", "prediction", "label_only")


def figures(
    run: Run, data: TaskData, split: str, *, rounds: int = 3, singles: int = 34, batched: int = 64
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Gather every figure of a report.

    Args:
        run: The run.
        data: Its data.
        split: Split to measure on.
        rounds: Fresh processes for each model that is timed.
        singles: Texts timed one at a time in each process.
        batched: Texts timed in batches in each process.

    Returns:
        What ``report.json`` holds, and what the plots need besides (logits by system, targets,
        logs of the stages).
    """
    started = time.monotonic()
    systems = list(answer(run, data, split))
    timed = _time(run, data, split, rounds=rounds, singles=singles, batched=batched)
    main = data.metric
    rows = [_row(system, timed) for system in systems]
    best = next(row["quality"][main] for row in rows if row["system"] == "teacher")
    for row in rows:
        row["kept"] = row["quality"][main] / best if best > 0 else None
    logits = {s.key: s.logits for s in systems if s.logits is not None}
    targets = data.targets(split)
    found = {
        "format": 1,
        "tinybert": __version__,
        "data": {
            "name": data.name,
            "task": data.task,
            "labels": list(data.labels),
            "scheme": scheme_of(data.labels) if data.task == "tagging" else None,
            "pair": data.pair,
            "rows": {name: len(part) for name, part in data.splits().items()},
            "notes": list(data.notes),
        },
        "split": split,
        "metric": main,
        "systems": rows,
        "timed": [
            *TIMED,
            f"{rounds} rounds, {singles} single texts and {batched} in batches each.",
        ],
        **_compare(data, split, logits, targets),
        "parity": _parity(run),
        "run": run.about | {"teacher": Path(run.about["teacher"]).name},
        "report_s": round(time.monotonic() - started, 1),
    }
    return found, {"logits": logits, "targets": targets, "logs": stage_logs(run.folder, _STAGES)}


def _time(
    run: Run, data: TaskData, split: str, *, rounds: int, singles: int, batched: int
) -> dict[str, dict[str, Any]]:
    """Measure the models that differ in cost."""
    kinds = {"teacher": "torch", "student": "torch", "artifact": "artifact"}
    models = run.models()
    subjects = [Subject(name, kind, models[name]) for name, kind in kinds.items() if name in models]
    rows = data.splits()[split]
    found = measure(
        subjects,
        list(rows["text"]),
        list(rows["text2"]) if data.pair else None,
        max_length=run.max_length,
        singles=singles,
        batched=batched,
        rounds=rounds,
    )
    return {name: asdict(value) for name, value in found.items()}


def _row(system: System, timed: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Join what is known of a system; the label-only student costs what the student costs."""
    cost = timed.get("student" if system.key == "label_only" else system.key, {})
    name = NAMES[system.key]
    if system.key == "artifact":
        name = f"{name} ({system.precision})"
    wanted = ("load_s", "first_mb", "p50_ms", "p95_ms", "texts_per_s", "peak_mb", "rounds")
    return {
        "system": system.key,
        "name": name,
        "quality": system.quality,
        "parameters": system.parameters,
        "file_mb": system.file_mb,
        "precision": system.precision,
        **{key: cost.get(key) for key in wanted},
    }


def _compare(
    data: TaskData, split: str, logits: Mapping[str, Array], targets: Array
) -> dict[str, Any]:
    """Say what was lost on the way from teacher to student to artifact."""
    texts: list[Any] = data.joined(split)
    shown = {key: logits[key] for key in ("teacher", "student", "artifact") if key in logits}
    pair = ("student", "artifact")
    found: dict[str, Any] = {}
    if data.task in VALUED:
        flat = {key: metrics.values(data.task, found) for key, found in shown.items()}
        lists = {"differences": lost.value_differences(texts, flat, targets, most=_MOST_TEXTS)}
        if "artifact" in shown:
            lists["flips"] = lost.value_differences(
                texts, flat, targets, between=pair, most=_MOST_FLIPS
            )
        return lists
    if data.task == "answering":
        found = {"differences": place_differences(data, split, shown, most=_MOST_TEXTS)}
        if "artifact" in shown:
            found["flips"] = place_differences(data, split, shown, between=pair, most=_MOST_FLIPS)
        return found
    labels = data.labels
    found = {
        "recalls": lost.recalls(shown, targets, labels),
        "calibration": {k: asdict(metrics.calibration(v, targets)) for k, v in shown.items()},
    }
    if data.task in ("classification", "tagging"):
        found["confusion"] = {k: lost.confusion(v, targets, len(labels)) for k, v in shown.items()}
    compare: Callable[..., dict[str, Any]] = lost.answer_differences
    if data.task == "tagging":
        texts, compare = data.texts(split)[0], word_differences
    found["differences"] = compare(texts, shown, targets, labels, most=_MOST_TEXTS)
    if "artifact" in shown:
        found["flips"] = compare(texts, shown, targets, labels, between=pair, most=_MOST_FLIPS)
    return found


def _parity(run: Run) -> dict[str, Any]:
    """Return what the artifact's card says of its comparison with PyTorch."""
    path = run.folder / "artifact" / CARD
    if not path.is_file():
        return {}
    parity: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")).get("parity") or {}
    return parity
