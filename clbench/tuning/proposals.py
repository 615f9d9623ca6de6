"""What a search tries next, and what it ends early: pure functions of the trials so far, by Optuna's samplers and pruners.

Trial n sees trials 0 to n - `parallel`, and draws from a seed of its own. The order in which runs end, the number of workers and
kills thus change nothing.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from clbench.tuning.objectives import OBJECTIVES
from clbench.tuning.options import Tuning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial


class State(StrEnum):
    """Where a trial stands."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    """Ended early: worse than the best trial."""
    DIVERGED = "diverged"
    """A run ended with a loss that is not finite: the trial has the objective's worst value."""


@dataclass
class Trial:
    """One draw of a search.

    Args:
        number: of the trial, from 0.
        params: as Optuna draws them (`clbench.tuning.space.Space.decode` gives the values of the configuration).
        curves: by seed, in the order of the seeds: what `clbench.tuning.objectives.curve` gives.
        scores: by seed: the objective in percent.
        state: where it stands.
    """

    number: int
    params: dict[str, Any]
    curves: dict[int, list[float]] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    state: State = State.RUNNING

    def value(self, worst: float) -> float:
        """Return the mean objective over the seeds so far, in percent; `worst` if the trial diverged."""
        if self.state is State.DIVERGED or not self.scores:
            return worst
        return sum(self.scores.values()) / len(self.scores)

    def steps(self) -> dict[int, float]:
        """Return the values that a pruner pairs with those of another trial, by number: seed after seed, task after task."""
        flat = [each for curve in self.curves.values() for each in curve]
        return dict(enumerate(flat))


def visible(trials: Sequence[Trial], number: int, parallel: int) -> list[Trial]:
    """Return the trials that trial `number` may know of: those before number - parallel + 1."""
    return [trial for trial in trials if trial.number <= number - parallel]


def propose(tuning: Tuning, distributions: Mapping[str, BaseDistribution], known: Sequence[Trial], number: int) -> dict[str, Any]:
    """Return the parameters of a new trial.

    Args:
        tuning: names the sampler and its seed.
        distributions: of the parameters.
        known: the trials that this one may know of (`visible`).
        number: of the new trial.
    """
    with _quiet():
        study = _study(tuning, distributions, known, _sampler(tuning, number))
        return dict(study.ask(dict(distributions)).params)


def prunes(tuning: Tuning, distributions: Mapping[str, BaseDistribution], known: Sequence[Trial], trial: Trial) -> bool:
    """Return whether a trial is worse than the best known one, on the seeds and tasks that it has so far.

    Args:
        tuning: names the pruner and its level.
        distributions: of the parameters.
        known: as for `propose`.
        trial: in progress.
    """
    if tuning.pruner == "none" or not any(each.state is State.COMPLETE for each in known):
        return False
    from optuna.pruners import WilcoxonPruner

    with _quiet():
        study = _study(tuning, distributions, known, _sampler(tuning, trial.number))
        pruner = WilcoxonPruner(p_threshold=tuning.p_threshold)
        return bool(pruner.prune(study, frozen(tuning, distributions, trial)))


def frozen(tuning: Tuning, distributions: Mapping[str, BaseDistribution], trial: Trial) -> FrozenTrial:
    """Return a trial in Optuna's form."""
    from optuna.trial import TrialState, create_trial

    running = trial.state is State.RUNNING
    pruned = trial.state is State.PRUNED
    state = TrialState.RUNNING if running else TrialState.PRUNED if pruned else TrialState.COMPLETE
    return create_trial(
        state=state,
        value=None if running else trial.value(OBJECTIVES[tuning.objective].worst),
        params=trial.params,
        distributions={key: each for key, each in distributions.items() if key in trial.params},
        intermediate_values=trial.steps(),
    )


def best(tuning: Tuning, trials: Iterable[Trial]) -> Trial | None:
    """Return the best complete trial, of equal ones the first; None if there is none."""
    objective = OBJECTIVES[tuning.objective]
    complete = [trial for trial in trials if trial.state is State.COMPLETE]
    sign = 1 if objective.larger else -1
    return max(complete, key=lambda trial: (sign * trial.value(objective.worst), -trial.number), default=None)


def _sampler(tuning: Tuning, number: int) -> BaseSampler:
    """Return the sampler of one trial. Every argument that Optuna has changed between versions is given."""
    from optuna.samplers import RandomSampler, TPESampler

    text = f"{tuning.sampler_seed}|{number}"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    if tuning.sampler == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=tuning.startup, n_ei_candidates=24, multivariate=True, constant_liar=False)


def _study(tuning: Tuning, distributions: Mapping[str, BaseDistribution], known: Sequence[Trial], sampler: BaseSampler) -> Study:
    """Return a study in memory that holds the known trials."""
    import optuna

    direction = OBJECTIVES[tuning.objective].direction
    study = optuna.create_study(direction=direction, sampler=sampler, pruner=optuna.pruners.NopPruner())
    study.add_trials([frozen(tuning, distributions, trial) for trial in known])
    return study


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from printing: the command has a display of its own."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
