"""Times contestants that take turns, so that what else the machine does meets all of them."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Any

__all__ = ["leads", "turns"]


def turns(
    answers: Mapping[str, Callable[[Any], Any]], inputs: Sequence[Any]
) -> dict[str, list[float]]:
    """Return the seconds that each took for each input; the first input is also a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in answers}
    for number, given in enumerate([inputs[0], *inputs]):
        for name, answer in answers.items():
            started = perf_counter()
            answer(given)
            if number:
                times[name].append(perf_counter() - started)
    return times


def leads(times: Mapping[str, Sequence[float]], of: str) -> dict[str, float]:
    """Return how many times faster one is than each other: the median over the turns."""
    return {
        f"faster_than_{name}": round(
            median(b / a for a, b in zip(times[of], times[name], strict=True)), 1
        )
        for name in times
        if name != of
    }
