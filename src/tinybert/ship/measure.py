"""Measures load time, latency, throughput and memory of models, each in processes of its own."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinybert.errors import ArtifactError, ConfigError

__all__ = ["TIMED", "Figures", "Subject", "measure", "undisturbed_ms"]

TIMED = (
    "Each figure comes from fresh processes, one after the other and the models in turn, so that a "
    "disturbance hits all of them; the median over the rounds is shown.",
    "Load: from the start of the process to its first answer: interpreter, imports, reading the "
    "model, one text. Files are in the system's cache; a first read from disk comes on top.",
    "Latency: one text at a time, from the text to the label with its probability, tokenization "
    "included; three answers before are not counted. p50 and p95 over the texts.",
    "Texts per second: batches of 32 in the order they stand in the data, tokenization included.",
    "A context that is longer than one window: the artifact reads all its windows, PyTorch one.",
    "Memory: the most the process ever held (peak resident set), the libraries included.",
    "Not timed: network, web server, reading of the texts from disk.",
)

_PROBE = Path(__file__).with_name("_probe.py")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Subject:
    """One model to measure.

    Args:
        name: What to call it.
        kind: ``artifact`` (``tinybert.load``) or ``torch`` (transformers on PyTorch).
        folder: Its folder.
    """

    name: str
    kind: str
    folder: Path


@dataclass(frozen=True)
class Figures:
    """What a model takes; medians over the rounds.

    Args:
        load_s: Process start to first answer, seconds.
        first_mb: Peak memory by the first answer, MB (10⁶ bytes); None where unknown.
        p50_ms, p95_ms: Latency of one text; None where none was timed.
        texts_per_s: Throughput in batches; None where none was timed.
        peak_mb: Peak memory of the whole process, MB; None where unknown.
        rounds: Processes started.
        load_range_s: Quickest and slowest load.
    """

    load_s: float
    first_mb: float | None
    p50_ms: float | None
    p95_ms: float | None
    texts_per_s: float | None
    peak_mb: float | None
    rounds: int
    load_range_s: tuple[float, float]


def measure(
    subjects: Sequence[Subject],
    texts: Sequence[str],
    texts2: Sequence[str] | None = None,
    *,
    max_length: int,
    singles: int = 100,
    batched: int = 128,
    batch_size: int = 32,
    rounds: int = 3,
    threads: int = 1,
) -> dict[str, Figures]:
    """Measure models side by side in interleaved rounds.

    Args:
        subjects: The models.
        texts: Texts to answer; taken evenly from the whole list.
        texts2: Second texts for pair tasks.
        max_length: Longest input in tokens, for models that do not know it themselves.
        singles: Texts answered one at a time, each round.
        batched: Texts answered in batches, each round.
        batch_size: Texts a batch.
        rounds: Processes a model.
        threads: Threads a model may use.

    Returns:
        Figures by the subject's name.

    Raises:
        ConfigError: No text to measure on.
        ArtifactError: A process failed; its last lines are in the message.
    """
    rows: list[Any] = list(texts) if texts2 is None else list(zip(texts, texts2, strict=True))
    if not rows or rounds < 1:
        raise ConfigError(f"{len(rows)} texts, {rounds} rounds; wanted at least one of each")
    job = {
        "pair": texts2 is not None,
        "max_length": max_length,
        "threads": threads,
        "first": rows[0],
        "singles": _spread(rows, singles),
        "batch": _spread(rows, batched),
        "batch_size": batch_size,
    }
    found: dict[str, list[dict[str, Any]]] = {subject.name: [] for subject in subjects}
    for _ in range(rounds):
        for subject in subjects:
            found[subject.name].append(_probe(subject, job))
    return {name: _median(results) for name, results in found.items()}


def undisturbed_ms(
    artifact: Path,
    texts: Sequence[str],
    texts2: Sequence[str] | None = None,
    *,
    singles: int = 40,
    rounds: int = 3,
    repeats: int = 3,
) -> float:
    """Return the p50 of one text at a time on one thread, ms, as far as other work allows.

    Of each text the quickest answer counts, and of an answer the processor's time where that is
    less than the clock's: whatever else the machine does only adds to either.

    Args:
        artifact: A shipped folder.
        texts: Texts to answer; taken evenly from the whole list.
        texts2: Second texts for pair tasks.
        singles: Texts answered.
        rounds: Processes started.
        repeats: How often each of them answers each text.
    """
    rows: list[Any] = list(texts) if texts2 is None else list(zip(texts, texts2, strict=True))
    picked = _spread(rows, singles)
    job = {"pair": texts2 is not None, "threads": 1, "first": rows[0], "batch": [], "batch_size": 1}
    subject = Subject("artifact", "artifact", artifact)
    tries = [_probe(subject, job | {"singles": picked * repeats}) for _ in range(rounds)]
    answers: list[float] = [
        min(times)
        for figures in tries
        for times in zip(figures["latencies_ms"], figures["cpu_ms"], strict=True)
    ]
    return statistics.median(min(answers[i :: len(picked)]) for i in range(len(picked)))


def _probe(subject: Subject, job: dict[str, Any]) -> dict[str, Any]:
    """Start one process and read its figures."""
    threads = str(job["threads"])
    environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, threads)
    environment |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    about: dict[str, Any] = {"kind": subject.kind, "folder": str(subject.folder.resolve())}
    about["started"] = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", str(_PROBE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment | {"PYTHONUTF8": "1"},
    )
    out, error = process.communicate(json.dumps(job | about))
    if process.returncode != 0:
        last = " | ".join(error.strip().splitlines()[-3:])
        raise ArtifactError(f"{subject.folder} cannot be measured: {last or process.returncode}")
    figures: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return figures


def _spread(rows: Sequence[Any], count: int) -> list[Any]:
    """Take at most ``count`` rows, evenly from the whole list."""
    if count >= len(rows):
        return list(rows)
    return [rows[i * len(rows) // count] for i in range(count)]


def _median(results: Sequence[dict[str, Any]]) -> Figures:
    """Turn the rounds of one model into its figures."""
    loads = [result["load_s"] for result in results]
    ordered = [sorted(result["latencies_ms"]) for result in results]
    return Figures(
        load_s=statistics.median(loads),
        first_mb=_middle([result["first_mb"] for result in results]),
        p50_ms=_middle([_percentile(row, 0.5) for row in ordered]),
        p95_ms=_middle([_percentile(row, 0.95) for row in ordered]),
        texts_per_s=_middle([result["texts_per_s"] for result in results]),
        peak_mb=_middle([result["peak_mb"] for result in results]),
        rounds=len(results),
        load_range_s=(min(loads), max(loads)),
    )


def _percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the value below which a share of the sorted values lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def _middle(values: Sequence[float | None]) -> float | None:
    """Return the median of the values there are."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
