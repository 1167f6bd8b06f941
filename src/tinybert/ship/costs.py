"""What a student costs before anyone trains it: neither size nor latency depends on its weights."""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from tinybert.data import TaskData
from tinybert.distill.recipe import Recipe
from tinybert.distill.teach import save_model
from tinybert.distill.trim import trim
from tinybert.ship.candidates import Candidate, Sizes, changed, name_of, untrained
from tinybert.ship.limits import Limits
from tinybert.ship.measure import undisturbed_ms
from tinybert.ship.pipeline import write_artifact

__all__ = ["Costs", "folder_mb"]

# What `verify` adds to card and model card.
_LATER_MB = 0.006
# Beyond these multiples of a limit nobody measures what is estimated to be over it.
_DOUBT_MB, _DOUBT_MS = 1.02, 1.5


@dataclass
class Costs:
    """Makes students with random weights and measures their artifacts.

    Args:
        recipe: What holds for all of them.
        folder: A run's folder with the saved data, and the augmented texts if there are any.
        source: The teacher's folder.
        teacher: The teacher.
        data: The task; dev texts are timed.
        sizes: Of each student, by the name of its training.
        dropped: Word pieces that trimming leaves out; None where nothing was trimmed yet.
        seconds: What the last measurement took.
    """

    recipe: Recipe
    folder: Path
    source: str
    teacher: PreTrainedModel
    data: TaskData
    sizes: dict[str, Sizes]
    dropped: int | None = None
    seconds: float = 0.0

    def measure(self, candidate: Candidate, others: Sequence[Candidate]) -> None:
        """Write a candidate's size and latency into it.

        Candidates of one student share its latency: a vocabulary's size costs no time.
        """
        begun = time.monotonic()
        model, artifact = self.folder / "untrained", self.folder / "untrained-artifact"
        student = untrained(self.recipe, candidate, self.teacher)
        save_model(student, self.source, model)
        if _trims(candidate):
            model = self._trimmed(model)
        write_artifact(model, artifact, changed(self.recipe, candidate.settings), self.data)
        known = [c.ms for c in others if c.measured and c.trained == candidate.trained]
        candidate.mb = folder_mb(artifact) + _LATER_MB
        candidate.ms = known[0] if known else undisturbed_ms(artifact, *self.data.texts("dev"))
        candidate.measured = True
        for place in self.folder.glob("untrained*"):
            shutil.rmtree(place)
        self.seconds = time.monotonic() - begun

    def estimate(self, found: Sequence[Candidate]) -> None:
        """Estimate what is not measured: size by the weights, latency on a line through the rest.

        Args:
            found: All candidates; one of each way to trim is measured.
        """
        known = [one for one in found if one.measured]
        slope, start = _line([(one.work, one.ms) for one in known if one.ms is not None])
        for one in found:
            if one.measured:
                continue
            near = next(k for k in known if _trims(k) == _trims(one))
            own, theirs = (self.sizes[name_of(each.trained)] for each in (one, near))
            added = own.int8_bytes - theirs.int8_bytes
            if _trims(one):
                added -= (self.dropped or 0) * (own.piece_bytes - theirs.piece_bytes)
            one.mb = near.mb + added / 1e6
            one.ms = None if slope is None else max(0.0, start + slope * one.work)

    def strike(self, found: Sequence[Candidate], limits: Limits) -> None:
        """Mark the candidates that are over a limit, by their estimate where that leaves no doubt.

        Args:
            found: All candidates; one of each way to trim is measured.
            limits: The limits.
        """
        self.estimate(found)
        sure = limits.times(_DOUBT_MB, _DOUBT_MS)
        for one in found:
            if one.state in ("waiting", "over"):
                over = (limits if one.measured else sure).over(one)
                one.state, one.why = ("over", ", ".join(over)) if over else ("waiting", "")

    def _trimmed(self, student: Path) -> Path:
        """Return a copy of a student without the word embeddings that the texts do not need."""
        target = student.with_name("untrained-trimmed")
        trim(student, target, say=lambda _: None)
        before, after = (
            json.loads((place / "config.json").read_text(encoding="utf-8"))["vocab_size"]
            for place in (student, target)
        )
        self.dropped = int(before - after)
        return target


def folder_mb(folder: Path) -> float:
    """Return the size of all files of a folder, MB (10⁶ bytes)."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _line(points: Sequence[tuple[float, float]]) -> tuple[float | None, float]:
    """Return slope and start of the straight line through the least and the greatest work."""
    (x0, y0), (x1, y1) = min(points), max(points)
    if x0 == x1:
        return None, y0
    slope = max(0.0, (y1 - y0) / (x1 - x0))
    return slope, y0 - slope * x0


def _trims(candidate: Candidate) -> bool:
    """Whether its vocabulary is cut."""
    return bool(candidate.settings.get("ship.trim"))
