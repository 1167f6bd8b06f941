"""The plan: which student is the best that holds the limits, found before most of them train."""

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tinybert.artifact import new_folder, write_atomic
from tinybert.distill import recipe as recipes
from tinybert.distill.folder import versions
from tinybert.distill.recipe import Recipe
from tinybert.errors import (
    MissingExtraError,
    NoStudentError,
    UnsupportedModelError,
)
from tinybert.quiet import no_bars
from tinybert.ship.candidates import Candidate, candidates, check_wanted, space_of
from tinybert.ship.costs import Costs
from tinybert.ship.limits import FULL, SHARES, Limits, check_limits, nothing_fits
from tinybert.ship.plan_page import write_page
from tinybert.ship.runs import Runs, prepare

__all__ = ["plan"]

Say = Callable[[str], None]
_PLAN = "plan.json"


def plan(
    recipe: Recipe,
    *,
    max_mb: float | None = None,
    max_ms: float | None = None,
    keep: float | None = None,
    minutes: float | None = None,
    space: Mapping[str, Sequence[Any]] | None = None,
    say: Say = print,
) -> Path:
    """Find the best student that fits, and ship it; called again, it goes on where it stopped.

    Sizes and latencies are measured on students that nobody trained. Those within the limits are
    trained by successive halving: for a quarter of the epochs, the better ones for a half, the best
    of them to the end. They share one teacher and its outputs.

    Args:
        recipe: What holds for every student; its ``out`` is the plan's folder.
        max_mb: Largest artifact folder, MB (10⁶ bytes).
        max_ms: Longest p50 of one text on one thread, ms.
        keep: Least share of the teacher's dev metric, 0..1: the smallest student that keeps it is
            chosen. Without it the best one is.
        minutes: No training begins that would likely end later; None tries every candidate.
        space: Values by setting (``{"student.layers": [2, 3]}``) instead of the usual ones.
        say: Told of each step.

    Returns:
        The folder: ``artifact``, ``recipe.toml`` that makes it again, ``plan.json`` with every
        candidate, ``plan.html`` with the table and the charts.

    Raises:
        NoStudentError: No candidate holds the limits: which of them is in the way is said, and
            ``plan.json`` written.
        ConfigError: No limit, or wrong settings.
        MissingExtraError: Optuna is not installed.
        TinyBertError: Data or teacher cannot be used.

    Source: successive halving: Jamieson and Talwalkar 2016, section 2.
    """
    _want_optuna()
    limits = check_limits(max_mb, max_ms, keep, minutes)
    check_wanted(recipe, space or {})
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    with no_bars():
        kept = _begin(recipe, limits, space or {}, say)
        _screen(kept, say)
        return kept.finish(_search(kept, deadline, say), say)


def _begin(
    recipe: Recipe, limits: Limits, wanted: Mapping[str, Sequence[Any]], say: Say
) -> "_Plan":
    """Make the teacher and list the candidates, with what an earlier call found out."""
    out = Path(recipe.out)
    runs = prepare(recipe, out, say)
    space = space_of(recipe, runs.teacher.config, wanted)
    found, sizes = candidates(recipe, runs.teacher, space)
    costs = Costs(recipe, runs.shared, runs.source, runs.teacher, runs.data, sizes)
    costs.dropped, others = _remember(out, found, recipe.ship.model_dump(mode="json"))
    say(f"{len(found)} candidates; limits: {limits.words()}")
    return _Plan(runs, costs, limits, space, found, others)


def _search(kept: "_Plan", deadline: float | None, say: Say) -> float:
    """Train what is worth it; return the seconds that time did not suffice for, or 0."""
    from tinybert.ship.search import Search
    from tinybert.ship.study import Study

    found, limits = kept.found, kept.limits
    shipped = kept.runs.recipe.ship.model_dump_json()
    study = Study(kept.runs.folder / "search.db", _study_name(limits, found, shipped), found)
    return Search(kept.runs, kept.costs, limits, found, study, deadline, kept.save, say).run()


def _want_optuna() -> None:
    """Refuse to begin without Optuna."""
    try:
        import_module("tinybert.ship.study")
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise MissingExtraError(
            "a plan needs the package optuna, which is not installed; run: "
            "pip install 'tinybert[plan]'"
        ) from error


@dataclass(frozen=True)
class _Plan:
    """What a plan knows, as it is written down.

    ``others`` are candidates of an earlier call that this one does not choose from.
    """

    runs: Runs
    costs: Costs
    limits: Limits
    space: Mapping[str, Sequence[Any]]
    found: list[Candidate]
    others: list[dict[str, Any]]

    @property
    def top(self) -> float:
        """The teacher's dev metric."""
        return self.runs.top[self.runs.data.metric]

    def save(self, verdict: str = "not finished", chosen: str | None = None) -> dict[str, Any]:
        """Write ``plan.json``."""
        about = {
            "format": 1,
            "verdict": verdict,
            "chosen": chosen,
            "limits": asdict(self.limits),
            "ship": self.runs.recipe.ship.model_dump(mode="json"),
            "data": self.runs.data.name,
            "metric": self.runs.data.metric,
            "teacher": {"folder": self.runs.source, "dev": self.runs.top},
            "shares": list(SHARES),
            "space": {name: list(values) for name, values in self.space.items()},
            "dropped_pieces": self.costs.dropped,
            "versions": versions(),
            "candidates": [one.plain() for one in self.found],
            "others": self.others,
        }
        text = json.dumps(about, indent=2, ensure_ascii=False)
        write_atomic(self.runs.folder / _PLAN, (text + "\n").encode())
        return about

    def finish(self, ended: float, say: Say) -> Path:
        """Choose, write everything down and return the folder.

        Raises:
            NoStudentError: No candidate holds what is wanted.
        """
        shipped = [one for one in self.found if one.shipped]
        full = [one for one in shipped if one.shipped == FULL]
        best = self.limits.best(full, self.top) or self.limits.best(shipped, self.top)
        if best is None:
            verdict = self._short(shipped, ended)
            write_page(self.save(verdict), self.runs.folder)
            raise NoStudentError(f"{verdict}; all of them: {self.runs.folder / 'plan.html'}")
        best.state = "chosen"
        verdict = self._praise(best, ended)
        self._take(best)
        write_page(self.save(verdict, best.name), self.runs.folder)
        say(verdict)
        return self.runs.folder

    def _take(self, best: Candidate) -> None:
        """Copy the chosen artifact to its place, and write the recipe that makes it again."""
        folder = self.runs.folder
        with new_folder(folder / "artifact") as partial:
            shutil.copytree(self.runs.artifact(best), partial, dirs_exist_ok=True)
        recipe = self.runs.recipe_of(best, best.shipped or FULL)
        again = recipe.model_copy(update={"out": str(folder / "again")})
        recipes.save(again, folder / "recipe.toml")

    def _praise(self, best: Candidate, ended: float) -> str:
        """Say what was chosen."""
        value = best.artifact or 0.0
        text = (
            f"chosen: {best.name}: {best.mb:.2f} MB, {best.ms:.3g} ms, dev "
            f"{self.runs.data.metric} {value:.3f}{self._share(value)}"
        )
        return text + _after(best) + self._waiting(ended)

    def _short(self, shipped: Sequence[Candidate], ended: float) -> str:
        """Say how near the best one comes to what is wanted."""
        metric, refused = self.runs.data.metric, [c for c in self.found if c.state == "refused"]
        if not shipped:
            why = f"; {refused[0].name}: {refused[0].why}" if refused else ""
            return f"no candidate could be shipped{why}{self._waiting(ended)}"
        best = max(shipped, key=lambda one: one.artifact or 0.0)
        value, keep = best.artifact or 0.0, self.limits.keep or 0.0
        text = (
            f"no candidate that fits keeps {100 * keep:g} % of the teacher's dev {metric} "
            f"({self.top:.3f}, so {keep * self.top:.3f} is wanted); the best, {best.name} with "
            f"{best.mb:.2f} MB{_after(best)}, has {value:.3f}{self._share(value)}"
        )
        if ended:
            return f"{text}{self._waiting(ended)}"
        lower = math.floor(1000 * value / self.top) / 10
        return f"{text}: give --keep {lower:g}%, raise the other limits, or train longer (--epochs)"

    def _share(self, value: float) -> str:
        """Return a dev metric as a share of the teacher's."""
        return f" ({100 * value / self.top:.1f} % of the teacher's)" if self.top > 0 else ""

    def _waiting(self, ended: float) -> str:
        """Say how many candidates time left out."""
        count = sum(one.state == "waiting" for one in self.found)
        left = f"{count} candidates wait" if count > 1 else "one candidate waits"
        takes = f"the next training takes about {math.ceil(ended / 60)} minutes"
        return (
            f"; time ended, {left}: the same command goes on ({takes})" if ended and count else ""
        )


def _after(one: Candidate) -> str:
    """Say after which part of its epochs a candidate was shipped, unless after all."""
    part = {"0.25": "a quarter", "0.5": "half"}.get(one.shipped or FULL)
    return "" if part is None else f", after {part} of the epochs"


def _screen(kept: _Plan, say: Say) -> None:
    """Measure what the estimates of all others stand on, and strike out what is over a limit.

    Raises:
        NoStudentError: Nothing is left.
    """
    found, costs, limits = kept.found, kept.costs, kept.limits
    if limits.max_ms is not None and (busy := _load()) > 0.5:
        say(f"this machine is busy (load {busy:.1f} a core): latencies may come out too long")

    def measure(one: Candidate) -> None:
        if not one.measured:
            costs.measure(one, found)
            say(f"{one.name}: {one.mb:.2f} MB, {one.ms or 0:.3g} ms")
            kept.save()

    for trims in sorted({bool(one.settings.get("ship.trim")) for one in found}, reverse=True):
        same = [one for one in found if bool(one.settings.get("ship.trim")) == trims]
        try:
            measure(min(same, key=lambda one: (one.work, one.weights)))
        except UnsupportedModelError as error:
            if not trims or len(same) == len(found):
                raise
            say(f"no candidate has a smaller vocabulary: {error}")
            found[:] = [one for one in found if one not in same]
            continue
        if limits.max_ms is not None and len({one.work for one in found if one.measured}) < 2:
            measure(max(same, key=lambda one: (one.work, -one.weights)))
    costs.strike(found, limits)
    if all(one.state == "over" for one in found):
        measure(min(found, key=lambda one: one.mb))
        costs.strike(found, limits)
    over = sum(one.state == "over" for one in found)
    say(f"{over} of {len(found)} candidates are over a limit and will not be trained")
    if over == len(found):
        message = nothing_fits(found, limits)
        write_page(kept.save(message), kept.runs.folder)
        raise NoStudentError(f"{message}; all of them: {kept.runs.folder / 'plan.html'}")


def _remember(
    folder: Path, found: Sequence[Candidate], ship: Mapping[str, Any]
) -> tuple[int | None, list[dict[str, Any]]]:
    """Take over what earlier calls found out.

    Where they shipped by other settings, only what they trained: artifacts are made again.

    Returns:
        The word pieces that trimming leaves out, and the candidates that are not among ``found``.
    """
    path = folder / _PLAN
    if not path.is_file():
        return None, []
    about = json.loads(path.read_text(encoding="utf-8"))
    old = {known["name"]: known for known in (*about.get("others", ()), *about["candidates"])}
    same = about.get("ship", ship) == ship
    kept = ("quality", "seconds", *(("artifact", "shipped", "measured") if same else ()))
    for one in found:
        known = old.pop(one.name, {})
        for name in kept:
            setattr(one, name, known.get(name, getattr(one, name)))
        if one.measured:
            one.mb, one.ms = known["mb"], known["ms"]
        if same and known.get("state") == "refused":
            one.state, one.why = "refused", known["why"]
    return about["dropped_pieces"], list(old.values())


def _load() -> float:
    """Return how many processes want each core; 0 where the system does not say."""
    return os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else 0.0


def _study_name(limits: Limits, found: Sequence[Candidate], shipped: str) -> str:
    """Return a name under which scores may be compared: of one aim, candidates and way to ship."""
    names = "\n".join([*sorted(one.name for one in found), shipped])
    return f"{limits.keep or 'best'}-{hashlib.sha256(names.encode()).hexdigest()[:8]}"
