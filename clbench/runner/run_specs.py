"""Execution of all runs of a sweep: stored runs are kept, the other runs are trained, and each run gets its outcome."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from clbench.errors import StoreError
from clbench.run_spec import RunSpec
from clbench.runner import devices, worker_pool
from clbench.runner.device_memory import Limits, Needs, budgets, recorded_peak
from clbench.runner.devices import slots
from clbench.runner.execute import LOGS, RUN_FUNCTION, reason_and_remedy
from clbench.runner.failed_runs import Place, from_the_beginning, keep, not_repeated
from clbench.runner.lock import available, start_anew, tidy
from clbench.runner.outcome import Outcome, Status
from clbench.runner.own_process import run_here
from clbench.runner.stacks import assign_stacks, form_stacks
from clbench.runner.worker_messages import NOT_BEGUN, End, Message
from clbench.store.results_folder import examine, prepare

if TYPE_CHECKING:
    from clbench.runner.progress import Display

OF_A_STACK = ("alive", "apart")
"""Messages about a whole stack, under the name of its first run, which may have ended."""
POLL = 0.2
"""Seconds between two looks at runs that other processes execute."""
Follow = Callable[[Outcome], Sequence[RunSpec]]
"""Gets the outcome of a run, and returns the runs that it decides on; equal runs count once."""


@dataclass(frozen=True)
class Following:
    """Runs that follow from the outcomes of other runs, as in a search.

    Args:
        after: called once for each run that has ended (not `BUSY`), in the order of the ends.
        most: largest number of runs of the command; it bounds the number of workers.
        order: of the waiting runs, smallest first.
    """

    after: Follow
    most: int
    order: Callable[[RunSpec], int] = lambda _: 0


def _nothing(_: Outcome) -> Sequence[RunSpec]:
    return ()


def run_specs(
    specs: Sequence[RunSpec],
    display: Display,
    workers: int | str = "auto",
    function: str = RUN_FUNCTION,
    limits: Limits | None = None,
    wait: float | None = 0.0,
    logs: str = LOGS,
    largest_stack: int | str = 1,
    following: Following | None = None,
) -> list[Outcome]:
    """Train the runs that are not stored yet, and return the outcome of every run in order; equal runs count once.

    With `following`, runs are added while others are trained. They form no stacks.

    Args:
        specs: runs of any number of configurations and seeds.
        display: shows progress.
        workers: processes, or `auto`; 0: in this process.
        function: dotted name of the function that trains a run.
        limits: numbers of admission; None: as many simultaneous runs as workers.
        wait: seconds to wait for runs that other processes execute, when all other runs have ended. The time starts anew
            whenever one of them ends. None: until all have ended.
        logs: folder within the results folder for the output of workers.
        largest_stack: how many seeds of a configuration may share a process; `auto`: on GPUs all, else 1.
        following: names the runs that follow from outcomes; None: there are none.

    Raises:
        StoreError: a results folder cannot be written to.
        ConfigError: this machine does not have the device.
        KeyboardInterrupt: passed on. The workers are stopped; finished runs are stored, and checkpoints are kept.
    """
    sweep = _Sweep(display, _nothing if following is None else following.after)
    todo = sweep.take(specs)
    tidy([outcome.spec for outcome in sweep.outcomes.values() if outcome.status is Status.PRESENT])
    if not todo:
        return sweep.ordered()
    todo = sweep.prepared(todo)

    first = todo[0]
    most_runs = len(todo) if following is None else max(len(todo), following.most)
    gpus = {} if workers == 0 and largest_stack != "auto" else devices.visible_gpus(first.execution.device)
    places = [] if workers == 0 else slots(workers, first.execution.device, first.execution.threads, most_runs, gpus)
    needs = None if limits is None else Needs(limits, "cuda" if gpus else "cpu")
    budget = {} if limits is None else budgets(limits, places, gpus)
    for outcome in sweep.outcomes.values():
        if needs is not None and outcome.recorded_peak is not None and outcome.recorded_peak[0] == needs.kind:
            needs.learn(outcome.spec, outcome.recorded_peak[1])

    most = largest_stack if isinstance(largest_stack, int) else len(sweep.specs) if gpus else 1
    stacks = assign_stacks(list(sweep.specs.values()), 1 if following is not None else most)
    more = None if following is None else (sweep.more, following.order)
    with display.shown(most_runs, len(places) or 1):
        now, announced = todo, wait == 0
        while now:
            given = sweep.give(form_stacks(now, stacks))
            if workers == 0:
                here = deque(given)
                while here:
                    spec = here.popleft()
                    if sweep.stopped:
                        sweep.notify(spec.id, NOT_BEGUN)
                    else:
                        run_here(spec, function, sweep.notify, display)
                    here.extend(sweep.more())
            else:
                worker_pool.run(
                    given, places, Path(first.results_dir) / logs, function, sweep.notify, needs, budget, display.tick, more
                )
            busy = [outcome for outcome in sweep.ordered() if outcome.status is Status.BUSY]
            if busy and not announced:
                announced = True
                display.waiting(busy, wait)
            now = [] if sweep.stopped else _released([outcome.spec for outcome in busy], wait)
        for outcome in busy:
            display.finished(outcome)
    return sweep.ordered()


class _Sweep:
    """The outcomes of a sweep so far, kept up to date by messages."""

    def __init__(self, display: Display, follow: Follow = _nothing) -> None:
        self.specs: dict[str, RunSpec] = {}
        self.outcomes: dict[str, Outcome] = {}
        self._display, self._follow = display, follow
        self._new: list[RunSpec] = []
        self._marks: dict[str, str] = {}
        self._examined: set[str] = set()
        self._stacked: dict[str, Sequence[RunSpec]] = {}
        self._started: dict[str, float] = {}
        self._accuracy: dict[str, float] = {}
        self._places: dict[str, Place] = {}
        self.stopped = False
        """True after the end of a run that could not be stored: no other run is begun."""

    def ordered(self) -> list[Outcome]:
        """Return the outcomes in the order of the runs."""
        return [self.outcomes[run] for run in self.specs]

    def take(self, specs: Iterable[RunSpec]) -> list[RunSpec]:
        """Note runs, and the runs that follow from those with a stored outcome; return the runs to train."""
        todo, waiting = list[RunSpec](), deque(specs)
        while waiting:
            spec = waiting.popleft()
            if spec.id in self.specs:
                continue
            if spec.results_dir not in self._examined:
                examine(Path(spec.results_dir))
                self._examined.add(spec.results_dir)
            self.specs[spec.id] = replacing(spec)
            outcome = already(self.specs[spec.id])
            if outcome is None:
                todo.append(self.specs[spec.id])
            else:
                self.outcomes[spec.id] = outcome
                waiting.extend(self._follow(outcome))
        return todo

    def prepared(self, todo: Sequence[RunSpec]) -> list[RunSpec]:
        """Prepare the results folders of `todo`, and return these runs with the marks of their folders."""
        for folder in dict.fromkeys(spec.results_dir for spec in todo):
            if folder not in self._marks:
                self._marks[folder] = prepare(Path(folder))
        marked = [replace(spec, mark=self._marks[spec.results_dir]) for spec in todo]
        self.specs.update((spec.id, spec) for spec in marked)
        start_anew([spec for spec in marked if from_the_beginning(spec)])
        return marked

    def more(self) -> list[RunSpec]:
        """Return the runs that follow from the outcomes since the last call, each once."""
        new, self._new = self._new, []
        return self.prepared(new)

    def give(self, specs: Sequence[RunSpec]) -> Sequence[RunSpec]:
        """Note which runs are stacked, and return `specs`."""
        self._stacked = {spec.id: spec.stacked for spec in specs}
        return specs

    def notify(self, run: str, message: Message) -> None:
        """Note a message, and pass it on to the display."""
        spec = self.specs[run]
        ended = run in self.outcomes and self.outcomes[run].status is not Status.BUSY
        if ended and (isinstance(message, End) or message["event"] not in OF_A_STACK):
            return  # its stack is tried again, but this run had ended
        self._started.setdefault(run, monotonic())
        place = self._places.setdefault(run, Place())
        if not isinstance(message, End):
            if message["event"] == "apart":
                self._apart(run, message["runs"])
                return
            if message["event"] == "alive":
                for each in (run, *(other.id for other in self._stacked.get(run, ()))):
                    if each not in self.outcomes:
                        self._display.event(self.specs[each], message)
                return
            place.note(message)
            if message["event"] == "stopped":
                return
            accuracy = message.get("acc")
            if accuracy is not None:
                self._accuracy[run] = accuracy
            self._display.event(spec, message)
            return
        seconds, reason = monotonic() - self._started[run], message.reason
        if message.status is Status.FAILED:
            unstored = keep(spec, message, place)
            reason += f" ({unstored})" if unstored else ""
        self.stopped |= message.stops
        accuracy, begun = self._accuracy.get(run), message is not NOT_BEGUN
        outcome = Outcome(spec, message.status, reason, message.remedy, seconds, accuracy, begun=begun)
        self.outcomes[run] = outcome
        if outcome.status is Status.BUSY:  # it will be tried again
            del self._started[run]
            self._display.postponed(outcome)
        elif begun:  # the others are counted at the end
            self._display.finished(outcome)
            if not self.stopped:
                self._new += self.take(self._follow(outcome))
        for other in self._stacked.get(run, ()):
            if other.id not in self.outcomes:  # their process has died
                self.notify(other.id, message)

    def _apart(self, first: str, runs: Sequence[str]) -> None:
        """Note that `runs` of the stack whose first run is `first` form a stack of their own."""
        self._stacked = {run: specs for run, specs in self._stacked.items() if run != first}
        if runs:
            self._stacked[runs[0]] = [self.specs[run] for run in runs[1:]]


def _released(busy: Sequence[RunSpec], wait: float | None) -> list[RunSpec]:
    """Wait until another process has ended some of the runs in `busy`, and return these; none if the time is up.

    A worker of a killed sweep ends within moments, and its run can be taken over. Another sweep stores its records.
    """
    deadline = monotonic() + (inf if wait is None else wait)
    while busy and monotonic() < deadline:
        found = [spec for spec in busy if available(spec)]
        if found:
            return found
        sleep(POLL)
    return []


def already(spec: RunSpec) -> Outcome | None:
    """Return the outcome of a run with a stored record, or with a failure that the same code would repeat.

    A damaged record is a failure, and stays as it is. A run whose failure cannot be read is trained again.
    """
    try:
        record = spec.stored()
    except StoreError as error:
        return Outcome(spec, Status.FAILED, *reason_and_remedy(error))
    if record is not None:
        return Outcome(spec, Status.PRESENT, recorded_peak=recorded_peak(record))
    failure = None if spec.replaces else not_repeated(spec)
    return None if failure is None else Outcome(spec, Status.FAILED, failure.reason, failure.remedy, earlier=True)


def replacing(spec: RunSpec) -> RunSpec:
    """Return the run with the record that it replaces: the stored one, if `rerun` is given."""
    if not spec.execution.rerun:
        return spec
    with suppress(StoreError):  # a damaged record is not replaced: `already` reports it
        record = replace(spec, replaces="").stored()
        return spec if record is None else replace(spec, replaces=record.digest)
    return spec
