"""What is answered in ``bench/speed.py``, and how it is timed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from tinybert.text import Tokenizer

__all__ = ["Load", "flips", "loads", "timed"]

RECTANGLES = ((1, 25), (1, 128), (8, 25), (32, 25), (8, 128), (8, 256))
BATCHES = (1, 8, 32)
MIXED, SINGLES = 96, 32
FILE, SLICE = 10_000, 1_000
# Reads texts, so that it has no time from token ids.
FROM_TEXT = ("model2vec",)


@dataclass(frozen=True)
class Load:
    """Batches of texts. Of a load with several parts, each round takes the next one."""

    name: str
    parts: Sequence[Sequence[Sequence[str]]]


def loads(texts: Sequence[str], longest: int, *, file: bool) -> list[Load]:
    """Return what is answered.

    Args:
        texts: Texts as they come.
        longest: Longest sequence in tokens; longer rectangles are left out.
        file: Whether the 10,000 texts belong to it.
    """
    found = []
    for size in BATCHES:
        some = texts[: SINGLES if size == 1 else MIXED]
        found.append(Load(f"mix at {size}", [_cut(some, size)]))
        if size > 1:
            found.append(Load(f"sorted at {size}", [_cut(sorted(some, key=len), size)]))
    for size, tokens in RECTANGLES:
        if tokens <= longest:
            text = " ".join(["the"] * (tokens - 2))
            found.append(Load(f"{size}x{tokens}", [[[text] * size]]))
    if file:
        many = [texts[i % len(texts)] for i in range(FILE)]
        slices = [sorted(many[i : i + SLICE], key=len) for i in range(0, FILE, SLICE)]
        found.append(Load(f"file of {FILE:,}", [_cut(part, 32) for part in slices]))
    return found


def _cut(texts: Sequence[str], size: int) -> list[list[str]]:
    return [list(texts[i : i + size]) for i in range(0, len(texts), size)]


def flips(
    contestants: Mapping[str, Any], tokenizer: Tokenizer, texts: Sequence[str]
) -> dict[str, float]:
    """Return the share of texts that each labels otherwise than PyTorch; none without it."""
    names = [name for name in contestants if name not in FROM_TEXT]
    if "torch" not in contestants:
        return {}
    batches = [tokenizer.encode(batch) for batch in _cut(texts, 32)]
    labels = {
        name: np.concatenate([contestants[name](*batch).argmax(axis=1) for batch in batches])
        for name in names
    }
    return {name: round(float((labels[name] != labels["torch"]).mean()), 4) for name in names}


def timed(
    contestants: Mapping[str, Any],
    tokenizer: Tokenizer,
    load: Load,
    rounds: int,
    seconds: float,
) -> list[dict[str, Any]]:
    """Return milliseconds a text, and how many times the engine is faster than each other.

    Args:
        contestants: Functions of token ids (of texts: model2vec); ``native`` is among them.
        tokenizer: Makes the ids.
        load: What is answered. One part: a first round warms up and is not counted.
        rounds: Rounds at most; a load of several parts takes as many as it has parts.
        seconds: After these no new round begins, except the first three.

    Returns:
        A row from token ids, and one from texts with the tokenizer's share of the engine's time.
    """
    several = len(load.parts) > 1
    rounds = len(load.parts) if several else rounds
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    if not several:
        for name, answer in contestants.items():
            _once(name, answer, tokenizer, load.parts[0])
    began = perf_counter()
    for number in range(rounds):
        if not several and number >= 3 and perf_counter() - began > seconds:
            break
        for name, answer in contestants.items():
            spent[name].append(_once(name, answer, tokenizer, load.parts[number % len(load.parts)]))
    count = sum(map(len, load.parts[0]))
    wholes = {name: [a + b for a, b in times] for name, times in spent.items()}
    answers = {
        name: [b for _, b in times] for name, times in spent.items() if name not in FROM_TEXT
    }
    rows = [_row("ids", answers, count), _row("text", wholes, count)]
    cut = [a for a, _ in spent["native"]]
    rows[1]["tokenize_ms"] = round(1e3 * median(cut) / count, 4)
    shares = [a / whole for a, whole in zip(cut, wholes["native"], strict=True)]
    rows[1]["tokenize_share"] = round(median(shares), 3)
    return rows


def _once(
    name: str, answer: Any, tokenizer: Tokenizer, batches: Sequence[Sequence[str]]
) -> tuple[float, float]:
    """Return seconds of tokenizing and of answering."""
    cut = answered = 0.0
    for batch in batches:
        start = perf_counter()
        if name in FROM_TEXT:
            answer(batch)
            answered += perf_counter() - start
            continue
        rows = tokenizer.encode(batch)
        middle = perf_counter()
        answer(*rows)
        cut += middle - start
        answered += perf_counter() - middle
    return cut, answered


def _row(start: str, seconds: Mapping[str, Sequence[float]], count: int) -> dict[str, Any]:
    """Return medians of the rounds."""
    own = seconds["native"]
    row: dict[str, Any] = {"from": start, "rounds": len(own)}
    row |= {f"{name}_ms": round(1e3 * median(s) / count, 4) for name, s in seconds.items()}
    for name in [name for name in seconds if name != "native"]:
        ratios = [b / a for a, b in zip(own, seconds[name], strict=True)]
        row[f"faster_than_{name}"] = round(median(ratios), 2)
    return row
