"""What a plan must hold, how its candidates compare under it, and which limit is in the way."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tinybert.errors import ConfigError
from tinybert.ship.candidates import Candidate

__all__ = ["FULL", "SHARES", "Limits", "check_limits", "nothing_fits"]

# Shares of the epochs after which candidates are compared, doubled from one to the next.
SHARES = ("0.25", "0.5", "1")
FULL = SHARES[-1]
_NEAR = 0.99


@dataclass(frozen=True)
class Limits:
    """What an artifact must hold.

    Args:
        max_mb: Largest size of its folder, MB (10⁶ bytes); None sets no limit.
        max_ms: Longest p50 of one text on one thread, ms; None sets no limit.
        keep: Least share of the teacher's dev metric, 0..1; None wants the best there is.
    """

    max_mb: float | None = None
    max_ms: float | None = None
    keep: float | None = None

    def times(self, mb: float, ms: float) -> "Limits":
        """Return the limits with those of cost multiplied."""
        return replace(
            self,
            max_mb=None if self.max_mb is None else self.max_mb * mb,
            max_ms=None if self.max_ms is None else self.max_ms * ms,
        )

    def over(self, candidate: Candidate) -> list[str]:
        """Return which limits a candidate exceeds, by name."""
        found = []
        if self.max_mb is not None and candidate.mb > self.max_mb:
            found.append("max_mb")
        if self.max_ms is not None and (candidate.ms or 0.0) > self.max_ms:
            found.append("max_ms")
        return found

    def score(
        self, candidate: Candidate, share: str, found: Sequence[Candidate], top: float
    ) -> float:
        """Say how good a candidate looks after a share of the epochs, greater being better.

        Args:
            candidate: It has a quality at that share.
            share: One of ``SHARES``.
            found: All candidates; those trained in full tell what the rest of the epochs bring.
            top: The teacher's dev metric.

        Returns:
            Its dev metric; with ``keep`` the part reached of what is wanted, and from 1 to 2 the
            smaller the better where all is reached.
        """
        quality = candidate.quality[share]
        if self.keep is None:
            return quality
        reached = self.expected(candidate, share, found) / max(self.keep * top, 1e-9)
        largest = max(one.mb for one in found)
        return reached if reached < 1 else 2 - candidate.mb / largest

    def hopeless(
        self, candidate: Candidate, share: str, found: Sequence[Candidate], top: float
    ) -> bool:
        """Whether a candidate will not keep what is wanted, going by what others gained."""
        if self.keep is None or not any(FULL in one.quality for one in found):
            return False
        return self.expected(candidate, share, found) < _NEAR * self.keep * top

    def expected(self, candidate: Candidate, share: str, found: Sequence[Candidate]) -> float:
        """Return the dev metric to expect after all epochs: now, plus what others gained."""
        gains = sorted(
            one.quality[FULL] - one.quality[share]
            for one in found
            if FULL in one.quality and share in one.quality
        )
        return candidate.quality[share] + (max(0.0, gains[len(gains) // 2]) if gains else 0.0)

    def best(self, shipped: Sequence[Candidate], top: float) -> Candidate | None:
        """Return the one to choose: the best, or the smallest, then fastest, that keeps enough."""
        held = [one for one in shipped if not self.over(one)]
        if self.keep is None:
            return max(held, key=lambda one: (one.artifact or 0.0, -one.mb), default=None)
        kept = [one for one in held if (one.artifact or 0.0) >= self.keep * top - 1e-9]
        return min(kept, key=lambda one: (round(one.mb, 2), one.ms or 0.0), default=None)

    def words(self) -> str:
        """Return the limits as a phrase."""
        parts = [
            f"{self.max_mb:g} MB" if self.max_mb is not None else "",
            f"{self.max_ms:g} ms" if self.max_ms is not None else "",
            f"{100 * self.keep:g} % of the teacher's dev metric" if self.keep is not None else "",
        ]
        return ", ".join(part for part in parts if part)


def check_limits(
    max_mb: float | None, max_ms: float | None, keep: float | None, minutes: float | None = None
) -> Limits:
    """Return the limits.

    Args:
        max_mb: Largest size, MB.
        max_ms: Longest latency, ms.
        keep: Least share of the teacher's dev metric, 0..1.
        minutes: Time to search; None for no end.

    Raises:
        ConfigError: There is none, or one out of range; all at once.
    """
    problems = []
    if max_mb is max_ms is keep is None:
        problems.append("a plan wants a limit: --max-mb, --max-ms or --keep")
    for flag, value in (("--max-mb", max_mb), ("--max-ms", max_ms), ("--minutes", minutes)):
        if value is not None and not (math.isfinite(value) and value > 0):
            problems.append(f"{flag} is {value:g}; wanted a number above 0")
    if keep is not None and not 0 < keep <= 1:
        problems.append(f"--keep is {keep:g}; wanted a share above 0 and at most 1, such as 98%")
    if problems:
        raise ConfigError("; ".join(problems))
    return Limits(max_mb, max_ms, keep)


def nothing_fits(found: Sequence[Candidate], limits: Limits) -> str:
    """Say which limit is in the way of all candidates, and what to do.

    Args:
        found: All of them, each over a limit.
        limits: The limits.
    """
    over = {one.name: limits.over(one) for one in found}
    counts, ways = [], []
    for name, unit in (("mb", "MB"), ("ms", "ms")):
        bound = getattr(limits, f"max_{name}")
        count = sum(f"max_{name}" in over[one.name] for one in found)
        alone = [one for one in found if over[one.name] == [f"max_{name}"]]
        if count:
            counts.append(f"{count} are over {bound:g} {unit}")
        if alone:
            needed = _above(min(getattr(one, name) for one in alone))
            ways.append(f"raise --max-{name} to {needed}")
    least = min(found, key=lambda one: (one.mb, one.ms or 0.0))
    if not ways:
        ms = "" if least.ms is None else f" and --max-ms to {_above(least.ms)}"
        ways.append(f"raise --max-mb to {_above(least.mb)}{ms}")
    ways.append("try smaller values, such as --try student.hidden=[96]")
    takes = "" if least.ms is None else f" and takes {least.ms:.2g} ms"
    return (
        f"of {len(found)} candidates {' and '.join(counts)}; the smallest, {least.name}, has "
        f"{least.mb:.3g} MB{takes}: {', or '.join(ways)}"
    )


def _above(value: float) -> str:
    """Return a number of two digits that is not below a value."""
    digits = max(0, 1 - math.floor(math.log10(value)))
    return f"{math.ceil(value * 10**digits) / 10**digits:g}"
