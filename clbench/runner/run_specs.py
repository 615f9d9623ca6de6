"""From a sweep to runs: what is already done, who does the rest, and what became of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from clbench.errors import StoreError
from clbench.records import read, record_path
from clbench.run_spec import RunSpec
from clbench.runner import devices, worker_pool
from clbench.runner.device_memory import Limits, Needs, budgets, told
from clbench.runner.devices import slots
from clbench.runner.execute import LOGS, TRIAL, one_line
from clbench.runner.lock import available, tidy
from clbench.runner.outcome import Outcome
from clbench.runner.stacks import execute_stack, stack_up, together

if TYPE_CHECKING:
    from clbench.runner.progress import Display

POLL = 0.2
"""Seconds between two looks at runs that other processes are at."""


def run_specs(
    specs: Sequence[RunSpec],
    display: Display,
    workers: int | str = "auto",
    trial: str = TRIAL,
    limits: Limits | None = None,
    wait: float | None = 0.0,
    logs: str = LOGS,
    stack: int | str = 1,
) -> list[Outcome]:
    """Run what is not done yet, and return what became of every run, in order; runs of the same id count once.

    Args:
        specs: of any number of configurations and seeds.
        display: shows progress.
        workers: processes, or `auto`; 0: in this process.
        trial: dotted name of the function that trains.
        limits: numbers behind how many run side by side; None: as many as there are workers.
        wait: seconds to wait, when the rest is done, for runs that another process is at, counted anew whenever one of
            them ends; None: until all have ended.
        logs: folder within the results folder for what workers print.
        stack: how many seeds of a configuration go side by side in one process at most; `auto`: on GPUs all, else 1.

    Raises:
        StoreError: a results folder cannot be written to.
        ConfigError: the device is not there.
        KeyboardInterrupt: passed on; the workers are stopped, what was finished is stored, checkpoints are kept.
    """
    first_of: dict[str, RunSpec] = {}
    for spec in specs:
        first_of.setdefault(spec.id, spec)
    unique = list(first_of.values())
    outcomes = {spec.id: found for spec in unique if (found := already(spec)) is not None}
    tidy([outcome.spec for outcome in outcomes.values() if outcome.status == "present"])
    todo = [spec for spec in unique if spec.id not in outcomes]
    if not todo:
        return [outcomes[spec.id] for spec in unique]
    for folder in {spec.results_dir for spec in todo}:
        writable(Path(folder))
    started: dict[str, float] = {}
    accuracy: dict[str, float] = {}

    def notify(spec: RunSpec, message: dict[str, Any]) -> None:
        if message["event"] == "beside":
            notify(first_of[message["spec"]], message["message"])
            return
        if spec.id in outcomes and outcomes[spec.id].status != "busy":
            return  # of a stack that was tried again: this one had ended before
        started.setdefault(spec.id, monotonic())
        if message.get("acc") is not None:
            accuracy[spec.id] = message["acc"]
        if message["event"] not in worker_pool.LAST:
            display.event(spec, message)
            return
        seconds = monotonic() - started[spec.id]
        outcome = Outcome(spec, message["event"], message.get("reason", ""), seconds, accuracy.get(spec.id))
        outcomes[spec.id] = outcome
        if outcome.status == "busy":  # it may yet be done, by us or by others
            del started[spec.id]
            display.postponed(outcome)
        else:
            display.finished(outcome)
        for other in spec.beside:
            if other.id not in outcomes:  # their process is no more
                notify(other, message)

    first = todo[0]
    gpus = {} if workers == 0 and stack != "auto" else devices.visible_gpus(first.device)
    places = [] if workers == 0 else slots(workers, first.device, first.threads, len(todo), gpus)
    needs = None if limits is None else Needs(limits, "cuda" if gpus else "cpu")
    budget = {} if limits is None else budgets(limits, places, gpus)
    for outcome in outcomes.values():
        if needs is not None and outcome.memory is not None and outcome.memory[0] == needs.kind:
            needs.learn(outcome.spec, outcome.memory[1])

    most = stack if isinstance(stack, int) else len(unique) if gpus else 1
    stacks = stack_up(unique, most)

    def attempt(specs: Sequence[RunSpec]) -> None:
        specs = together(specs, stacks)
        if workers == 0:
            for spec in specs:
                notify(spec, {"event": "begin"})
                notify(spec, execute_stack(spec, trial, lambda message, spec=spec: notify(spec, message)))  # type: ignore[misc]
        else:
            worker_pool.run(specs, places, Path(first.results_dir) / logs, trial, notify, needs, budget)

    with display.shown(len(todo), len(places) or 1):
        attempt(todo)
        elsewhere = [outcomes[spec.id] for spec in todo if outcomes[spec.id].status == "busy"]
        if elsewhere:
            for outcome in _await(elsewhere, wait, attempt, outcomes, display):
                display.finished(outcome)
    return [outcomes[spec.id] for spec in unique]


def _await(
    elsewhere: list[Outcome],
    wait: float | None,
    attempt: Callable[[Sequence[RunSpec]], None],
    outcomes: Mapping[str, Outcome],
    display: Display,
) -> list[Outcome]:
    """Try the runs again that other processes were at, as these end; return what they are still at when patience ends.

    A worker of a sweep that was killed leaves within moments, and its run is ours; another sweep's stores its records.
    """
    if wait != 0:
        display.waiting(elsewhere, wait)
    deadline = monotonic() + (inf if wait is None else wait)
    while elsewhere and monotonic() < deadline:
        again = [outcome.spec for outcome in elsewhere if available(outcome.spec)]
        if again:
            attempt(again)
            elsewhere = [now for was in elsewhere if (now := outcomes[was.spec.id]).status == "busy"]
            deadline = monotonic() + (inf if wait is None else wait)
        else:
            sleep(POLL)
    return elsewhere


def already(spec: RunSpec) -> Outcome | None:
    """Return the outcome of a run whose record is there; a damaged one is a failure, and is left as it is."""
    path = record_path(Path(spec.results_dir), spec.id)
    if not path.exists():
        return None
    try:
        record = read(path)
    except StoreError as error:
        return Outcome(spec, "failed", one_line(error))
    return Outcome(spec, "present", memory=told(record))


def writable(folder: Path) -> None:
    """Make the results folder, if need be.

    Raises:
        StoreError: it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            raise NotADirectoryError(20, "Not a directory")
    except OSError as error:
        raise StoreError(
            f"the results folder results_dir={folder} cannot be written: {error.strerror or error}",
            "choose another results_dir, or check its permissions",
        ) from error
