"""One search: which runs come next, given the outcomes so far. It starts nothing itself, and it is the same after any kill."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from clbench.errors import ClbenchError, ConfigError, StoreError
from clbench.records import Record, read
from clbench.run_spec import RunSpec
from clbench.runner.outcome import Outcome, Status
from clbench.store.failures import failure_path, read_failure
from clbench.tuning.choice import Choice
from clbench.tuning.journal import Journal
from clbench.tuning.objectives import curve, value
from clbench.tuning.plan import Plan, digest
from clbench.tuning.proposals import State, Trial, best, propose, prunes, visible


@dataclass
class _Check:
    """Keys of the best trial that may not matter, tried one after another.

    Args:
        values: so far: the best trial's, with the default of the keys that do not matter.
        left: keys to try.
        seed: place of the seed that is tried.
        idle: keys that do not matter.
    """

    values: dict[str, Any]
    left: list[str]
    seed: int = 0
    idle: list[str] = field(default_factory=list)


class Search:
    """The state of one search.

    Args:
        plan: what is searched.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.tuning = plan, plan.tuning
        self.distributions = plan.space.distributions()
        self.journal = Journal(plan.results_dir, plan.name, plan.tuning, self.distributions)
        self.trials: list[Trial] = []
        self.broken: ClbenchError | None = None
        """Why the search cannot go on."""
        self.over_budget = False
        self._specs: dict[int, list[RunSpec]] = {}
        self._owners: dict[str, list[int]] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._seconds: dict[str, float] = {}
        self._results: dict[str, str] = {}
        self._check: _Check | None = None
        self._checked: dict[str, str] = {}
        """Run of a check -> the run of the best trial with the same seed."""

    @property
    def _undecided(self) -> int:
        """Number of seeds before which no trial can be ended early: they are trained side by side.

        The signed-rank test of n pairs has no level below 2^-n, which it reaches when all pairs agree.
        """
        seeds = len(self.tuning.search_seeds)
        if self.tuning.pruner == "none":
            return seeds
        steps = self.plan.steps
        return next((n for n in range(1, seeds) if 0.5 ** (n * steps) < self.tuning.p_threshold and n * steps > 1), seeds)

    def order(self, spec: RunSpec) -> int:
        """Return the first trial that waits for a run: later trials wait for the ends of earlier ones. Other runs come last."""
        return min(self._owners.get(spec.id, ()), default=self.tuning.trials)

    @property
    def done(self) -> bool:
        """Whether all trials have ended, and what follows them."""
        return self._ended == self._wanted and (self._check is None or not self._check.left)

    @property
    def _ended(self) -> int:
        return sum(trial.state is not State.RUNNING for trial in self.trials)

    @property
    def _wanted(self) -> int:
        return len(self.trials) if self.over_budget else self.tuning.trials

    @property
    def seconds(self) -> float:
        """The runs' own time so far."""
        return sum(self._seconds.values())

    def begin(self) -> list[RunSpec]:
        """Return the first runs.

        Raises:
            ConfigError: a study of this name has another definition.
            StoreError: the journal cannot be written or read.
        """
        self.journal.begin(self.plan.definition())
        return self._advance()

    def after(self, outcome: Outcome) -> list[RunSpec]:
        """Return the runs that follow from the end of a run; none if the run is another search's."""
        run = outcome.spec.id
        if outcome.spec.results_dir != str(self.plan.folder) or run in self._outcomes or self.broken is not None:
            return []
        self._outcomes[run] = outcome
        try:
            if run in self._checked:
                return self._after_check(run)
            for number in self._owners.get(run, ()):
                self._note(self.trials[number], outcome)
            return self._advance()
        except ClbenchError as error:
            self.broken = error
            return []

    def choice(self) -> Choice:
        """Return what the search chose.

        Raises:
            ClbenchError: the search cannot go on, or every trial diverged.
        """
        if self.broken is not None:
            raise self.broken
        found = best(self.tuning, self.trials)
        if found is None:
            raise ConfigError(
                f"{self.plan.label}: every trial diverged or failed", "give a space with smaller learning rates in conf/search"
            )
        check = self._check
        values = self.plan.space.decode(found.params) if check is None else check.values
        idle = () if check is None else tuple(check.idle)
        content = [self._content(trial) for trial in self.trials]
        return Choice(values, found, idle, tuple(self.trials), len(self._seconds), self.seconds, digest(content))

    def _content(self, trial: Trial) -> dict[str, Any]:
        values = self.plan.space.decode(trial.params)
        return {"number": trial.number, "values": values, "scores": list(trial.scores.values()), "state": str(trial.state)}

    def _advance(self) -> list[RunSpec]:
        """Return the next runs of all trials, opening those whose predecessors have ended."""
        new: list[RunSpec] = []
        while True:
            waiting = [trial for trial in self.trials if trial.state is State.RUNNING]
            for trial in waiting:
                new += self._continue(trial)
            opened = self._open()
            if opened is None:
                if not any(trial.state is State.RUNNING for trial in waiting):
                    new += self._start_check()
                return new

    def _open(self) -> Trial | None:
        """Open the next trial, if there is one and it may start."""
        number = len(self.trials)
        known = visible(self.trials, number, self.tuning.parallel)
        if number >= self.tuning.trials or any(trial.state is State.RUNNING for trial in known):
            return None
        if self.over_budget or self._spent(known):
            self.over_budget = True
            return None
        params = self.journal.params(number)
        if params is None:
            if number == 0:
                params = self.plan.space.params(self.plan.space.usual_inside())
            else:
                drawn = propose(self.tuning, self.distributions, known, number)
                params = self.plan.space.rounded(drawn)
            params = self.journal.add(number, params)
        trial = Trial(number, params)
        self._specs[number] = self.plan.specs(self.plan.space.decode(params))
        self.trials.append(trial)
        return trial

    def _spent(self, known: Sequence[Trial]) -> bool:
        """Return whether the budget in seconds is spent: by the runs of the trials that a new one may know of."""
        if self.tuning.seconds is None or not known:
            return False
        runs = {spec.id for trial in known for spec in self._specs[trial.number]}
        return sum(self._seconds.get(run, 0.0) for run in runs) >= self.tuning.seconds

    def _continue(self, trial: Trial) -> list[RunSpec]:
        """Return the runs that a trial needs now, each once; end the trial if it needs none."""
        specs = self._specs[trial.number]
        for spec in specs:
            if spec.seed not in trial.scores and spec.id in self._outcomes:  # an equal run of another trial
                self._note(trial, self._outcomes[spec.id])
        if trial.state is not State.RUNNING:
            return []
        missing = [spec for spec in specs if spec.seed not in trial.scores]
        if not missing:
            self._end(trial, State.COMPLETE)
            return []
        known = visible(self.trials, trial.number, self.tuning.parallel)
        if len(trial.scores) >= self._undecided and prunes(self.tuning, self.distributions, known, trial):
            self._end(trial, State.PRUNED)
            return []
        wanted = missing[: max(1, self._undecided - len(trial.scores))]
        new = [spec for spec in wanted if trial.number not in self._owners.get(spec.id, ())]
        for spec in new:
            self._owners.setdefault(spec.id, []).append(trial.number)
        return new

    def _note(self, trial: Trial, outcome: Outcome) -> None:
        """Add the end of a run to its trial."""
        if trial.state is not State.RUNNING:
            return
        record = self._record(outcome)
        if record is None:
            self._end(trial, State.DIVERGED)
            return
        score = value(record.result, self.tuning.objective)
        if score is None:
            raise ConfigError(
                f"tuning.objective={self.tuning.objective} is undefined for {self.plan.label}",
                "forgetting and bwt need two tasks, and stability_gap needs eval.every; or choose another objective",
            )
        trial.scores[outcome.spec.seed] = score
        trial.curves[outcome.spec.seed] = curve(record.result, self.tuning.objective)
        order = [spec.seed for spec in self._specs[trial.number]]
        trial.scores = {seed: trial.scores[seed] for seed in order if seed in trial.scores}
        trial.curves = {seed: trial.curves[seed] for seed in order if seed in trial.curves}

    def _end(self, trial: Trial, state: State) -> None:
        trial.state = state
        self.journal.end(trial)

    def _record(self, outcome: Outcome) -> Record | None:
        """Return the record of a run; None if its values are at fault that there is none.

        Raises:
            ClbenchError: the run failed for another reason, which a later command may not meet.
        """
        spec = outcome.spec
        if outcome.status is Status.FAILED:
            kind = ""
            with suppress(StoreError):
                failure = read_failure(failure_path(self.plan.folder, spec.id))
                kind = failure.kind if failure.of_the_code else ""
            if kind:
                return None
            raise ClbenchError(f"a run of the search failed: {spec.label}: {outcome.reason}", outcome.remedy)
        record = read(spec.record_file)
        seconds = record.cost.get("seconds")
        self._seconds[spec.id] = float(seconds) if isinstance(seconds, (int, float)) else 0.0
        self._results[spec.id] = digest([record.result["events"], record.result["matrix"]])
        return record

    def _start_check(self) -> list[RunSpec]:
        """Begin to look for keys of the best trial that change nothing."""
        found = best(self.tuning, self.trials)
        if not self.tuning.keep or self._check is not None or found is None or self._ended < self._wanted:
            return []
        values, usual = self.plan.space.decode(found.params), self.plan.space.usual_inside()
        keys = [key for key in values if key.startswith("method.") and key in usual and usual[key] != values[key]]
        self._check = _Check(values, keys)
        return self._next_check()

    def _next_check(self) -> list[RunSpec]:
        """Return the next run that shows whether a key matters."""
        check, found = self._check, best(self.tuning, self.trials)
        assert check is not None
        assert found is not None
        usual = self.plan.space.usual_inside()
        while check.left:
            key = check.left[0]
            specs = self.plan.specs({**check.values, key: usual[key]})
            spec, with_key = specs[check.seed], self.plan.specs(self.plan.space.decode(found.params))[check.seed]
            self._checked[spec.id] = with_key.id
            if spec.id not in self._outcomes:
                return [spec]
            self._judge(spec.id)
        return []

    def _after_check(self, run: str) -> list[RunSpec]:
        self._judge(run)
        return self._next_check()

    def _judge(self, run: str) -> None:
        """Keep the default of the key that is checked, or go on to the next seed, or give it up."""
        check = self._check
        assert check is not None
        key, outcome = check.left[0], self._outcomes[run]
        same = self._record(outcome) is not None and self._results[run] == self._results[self._checked[run]]
        if same and check.seed + 1 < len(self.tuning.search_seeds):
            check.seed += 1
            return
        if same:
            check.idle.append(key)
            check.values = {**check.values, key: self.plan.space.usual_inside()[key]}
        check.left, check.seed = check.left[1:], 0
