"""Successive halving by Optuna: which candidates are worth more epochs; kept in a file."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from tinybert.ship.candidates import Candidate
from tinybert.ship.limits import SHARES

__all__ = ["Study"]


class Study:
    """The trials of a plan, one for each candidate that is trained.

    The pruner lets the better half of all that came as far go on to twice the epochs.

    Args:
        path: A SQLite file; trials that an interrupted call left open go on.
        name: Trials are compared only with those of the same name.
        found: All candidates.

    Source: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2.
    """

    def __init__(self, path: Path, name: str, found: Sequence[Candidate]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", module="optuna")
        self._study = optuna.create_study(
            storage=f"sqlite:///{path}",
            study_name=name,
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
            load_if_exists=True,
        )
        self._names = CategoricalDistribution(sorted(one.name for one in found))

    def open(self, candidate: Candidate) -> Trial:
        """Return the trial of a candidate, the one that was begun if there is one."""
        for old in self._trials():
            if old.state == TrialState.RUNNING and _name(old) == candidate.name:
                return Trial(self._study, old._trial_id)
        self._study.enqueue_trial({"candidate": candidate.name})
        trial = self._study.ask({"candidate": self._names})
        while trial.params["candidate"] != candidate.name:
            self._study.tell(trial, state=TrialState.FAIL)
            trial = self._study.ask({"candidate": self._names})
        for name, value in candidate.settings.items():
            trial.set_user_attr(name, value)
        return trial

    def open_names(self) -> set[str]:
        """Return the candidates whose trials were begun and did not end."""
        return {_name(t) for t in self._trials() if t.state == TrialState.RUNNING}

    def ended(self) -> dict[str, tuple[str, str]]:
        """Return state and reason of the candidates whose trials ended, by name."""
        over = (TrialState.PRUNED, TrialState.COMPLETE)
        return {
            _name(t): (t.user_attrs["state"], t.user_attrs["why"])
            for t in self._trials()
            if t.state in over
        }

    def goes_on(self, trial: Trial, share: str, score: float) -> bool:
        """Tell the study a score after a share of the epochs; whether more are worth it."""
        step = 2 ** SHARES.index(share)
        if step not in self._trials()[trial.number].intermediate_values:
            trial.report(score, step)
        return not trial.should_prune()

    def close(self, trial: Trial, one: Candidate, score: float | None) -> None:
        """End a candidate's trial; without a score where it is not worth more epochs."""
        trial.set_user_attr("state", one.state)
        trial.set_user_attr("why", one.why)
        state = TrialState.PRUNED if score is None else TrialState.COMPLETE
        self._study.tell(trial, score, state=state)

    def _trials(self) -> list[FrozenTrial]:
        """Return all trials there are."""
        found: list[FrozenTrial] = self._study.get_trials(deepcopy=False)
        return found


def _name(trial: FrozenTrial) -> str:
    """Return the name of a trial's candidate."""
    return str(trial.params.get("candidate", ""))
