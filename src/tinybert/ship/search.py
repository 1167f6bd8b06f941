"""Trains the candidates of a plan in turn, the hopeful ones for longer, while there is time."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tinybert.errors import ArtifactError
from tinybert.ship.candidates import Candidate
from tinybert.ship.costs import Costs
from tinybert.ship.limits import FULL, SHARES, Limits
from tinybert.ship.runs import Runs
from tinybert.ship.study import Study

__all__ = ["Search"]


@dataclass
class Search:
    """A plan's search; every step is written down before the next.

    Args:
        runs: The trainings.
        costs: Measures a candidate whose turn comes.
        limits: What must hold.
        found: All candidates.
        study: Remembers the trials.
        deadline: By ``time.monotonic``; None never ends.
        save: Writes the plan down.
        say: Told of each step.
        next_s: What the training that was looked at last will likely take, shipping included, s.
    """

    runs: Runs
    costs: Costs
    limits: Limits
    found: Sequence[Candidate]
    study: Study
    deadline: float | None
    save: Callable[[], Any]
    say: Callable[[str], None]
    next_s: float = 0.0

    @property
    def top(self) -> float:
        """The teacher's dev metric."""
        return self.runs.top[self.runs.data.metric]

    def run(self) -> float:
        """Train what is worth it.

        Returns:
            What the next training would take, s, where time ended before all had their turn; else
            0.
        """
        ended = self.study.ended()
        for each in self.found:
            if each.state == "waiting" and each.name in ended:
                each.state, each.why = ended[each.name]
        while (one := self._next()) is not None:
            if not self._time_for(one, self._begun(one)):
                break
            if not self._fits(one):
                continue
            if not self._train(one):
                break
        if not any(one.shipped == FULL and not self.limits.over(one) for one in self.found):
            self._ship_what_there_is()
        return max(1.0, self.next_s) if any(one.state == "waiting" for one in self.found) else 0.0

    def _next(self) -> Candidate | None:
        """Return whose turn it is: the most capable, or with ``keep`` the middle in size.

        Sizes above one that keeps what is wanted are of no use any more; those up to the largest
        that does not keep it come last.
        """
        waiting = [one for one in self.found if one.state == "waiting"]
        begun = self.study.open_names()
        if unfinished := [one for one in waiting if one.name in begun]:
            return unfinished[0]
        if self.limits.keep is None:
            return max(waiting, key=lambda one: (one.work, one.mb), default=None)
        shipped = [one for one in self.found if one.shipped == FULL]
        best = self.limits.best(shipped, self.top)
        ceiling = best.mb if best is not None else math.inf
        for one in waiting:
            if one.mb >= ceiling and best is not None:
                one.state, one.why = "larger", f"{best.name} is smaller and keeps enough"
        left = sorted((one for one in waiting if one.state == "waiting"), key=lambda one: one.mb)
        tried = [one.mb for one in self.found if one.state in _FAILED and one.mb < ceiling]
        above = [one for one in left if one.mb > max(tried, default=0.0)]
        if above:
            return above[len(above) // 2]
        return left[-1] if left else None

    def _fits(self, one: Candidate) -> bool:
        """Measure a candidate; whether it holds the limits."""
        if not one.measured:
            self.costs.measure(one, self.found)
            self.say(f"{one.name}: {one.mb:.2f} MB, {one.ms or 0:.3g} ms")
            self.costs.strike(self.found, self.limits)
        self.save()
        return one.state == "waiting"

    def _train(self, one: Candidate) -> bool:
        """Train a candidate for longer and longer; False where time ended that."""
        trial = self.study.open(one)
        for share in SHARES:
            if not self._time_for(one, share):
                return False
            self.runs.train(one, share, self.found)
            self._tell(one, share)
            self.save()
            self.runs.tidy(one, share, earlier=SHARES[: SHARES.index(share)])
            score = self.limits.score(one, share, self.found, self.top)
            if share == FULL:
                self._ship(one, share)
                self.study.close(trial, one, score)
            elif self.limits.hopeless(one, share, self.found, self.top):
                one.state, one.why = "short", f"keeps too little after {_part(share)} of the epochs"
                self.study.close(trial, one, None)
            elif not self.study.goes_on(trial, share, score):
                one.state, one.why = (
                    "stopped",
                    f"others do better after {_part(share)} of the epochs",
                )
                self.study.close(trial, one, None)
            self.save()
            if one.state != "waiting":
                return True
        return True

    def _ship(self, one: Candidate, share: str) -> None:
        """Ship a candidate, or note why that is refused."""
        try:
            self.runs.ship(one, share)
        except ArtifactError as error:
            one.state, one.why = "refused", str(error)
            self.say(f"{one.name}: refused: {error}")
            return
        kept = self.limits.keep is None or (one.artifact or 0) >= self.limits.keep * self.top - 1e-9
        one.state, one.why = ("trained", "") if kept else ("short", "keeps too little")

    def _ship_what_there_is(self) -> None:
        """Ship the best of those whose training time cut short."""
        for share in reversed(SHARES):
            there = [
                one
                for one in self.found
                if share in one.quality and not self.limits.over(one) and one.state != "refused"
            ]
            ranked = sorted(
                there, key=lambda one: self.limits.score(one, share, self.found, self.top)
            )
            for one in reversed(ranked):
                state, why = one.state, one.why
                if one.shipped != share:
                    self._ship(one, share)
                if one.state != "refused":
                    one.state, one.why = state, why
                    return

    def _begun(self, one: Candidate) -> str:
        """Return the share of the epochs that comes next."""
        return next((share for share in SHARES if share not in one.quality), FULL)

    def _time_for(self, one: Candidate, share: str) -> bool:
        """Whether a training would likely end in time; the very first one always begins."""
        if self.deadline is None or not any(each.quality for each in self.found):
            return True
        needed = 0.0 if share in one.quality else self._seconds(one, share)
        shipping = [each.seconds.get("ship") for each in self.found]
        needed += self._mean(shipping) or self.costs.seconds
        needed += 0.0 if one.measured else self.costs.seconds
        self.next_s = needed
        return time.monotonic() + needed <= self.deadline

    def _seconds(self, one: Candidate, share: str) -> float:
        """Predict what a training takes from the candidate's own shorter one, or from others."""
        for nearest in reversed(SHARES[: SHARES.index(share)]):
            if nearest in one.seconds:
                return one.seconds[nearest] * float(share) / float(nearest)
        same = [each.seconds.get(share) for each in self.found]
        if any(same):
            return self._mean(same)
        return self._mean(
            [
                each.seconds[s] * float(share) / float(s)
                for each in self.found
                for s in SHARES
                if s in each.seconds
            ]
        )

    def _mean(self, values: Sequence[float | None]) -> float:
        """Return the mean of the values there are; 0 of none."""
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else 0.0

    def _tell(self, one: Candidate, share: str) -> None:
        """Say how a candidate does."""
        value = one.quality[share]
        kept = f", {100 * value / self.top:.1f} % of the teacher's" if self.top > 0 else ""
        self.say(
            f"{one.name}, {_part(share)} of the epochs: {self.runs.data.metric} {value:.3f}{kept} "
            f"({one.seconds[share]:.0f} s)"
        )


_FAILED = ("short", "stopped", "refused")


def _part(share: str) -> str:
    """Return a share of the epochs in words."""
    return {"0.25": "a quarter", "0.5": "half", "1": "all"}[share]
