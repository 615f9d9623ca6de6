"""From a sweep to runs: what is already done, who does the rest, and what became of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from clbench.cells import Cell
from clbench.errors import StoreError
from clbench.records import read, record_path
from clbench.runner import devices, pool
from clbench.runner.claim import available, tidy
from clbench.runner.devices import slots
from clbench.runner.execute import LOGS, TRIAL, one_line
from clbench.runner.memory import Limits, Needs, budgets, told
from clbench.runner.stacks import execute_stack, stack_up, together

if TYPE_CHECKING:
    from clbench.runner.progress import Display

POLL = 0.2
"""Seconds between two looks at cells that other processes are at."""


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Args:
        cell: it.
        status: `done` (trained now), `present` (was there already), `busy` (another process is at it), `failed`.
        reason: of a failure, in one line; of `busy`, who is at it.
        seconds: from being given out to its end.
        accuracy: last accuracy that was reported, in percent.
        memory: kind of device and bytes at the peak, as the record of one that was there already tells it.
    """

    cell: Cell
    status: str
    reason: str = ""
    seconds: float = 0.0
    accuracy: float | None = None
    memory: tuple[str, int] | None = None


def run_cells(
    cells: Sequence[Cell],
    display: Display,
    workers: int | str = "auto",
    trial: str = TRIAL,
    limits: Limits | None = None,
    wait: float | None = 0.0,
    logs: str = LOGS,
    stack: int | str = 1,
) -> list[Outcome]:
    """Run what is not done yet, and return what became of every cell, in order; cells of the same id count once.

    Args:
        cells: of any number of configurations and seeds.
        display: shows progress.
        workers: processes, or `auto`; 0: in this process.
        trial: dotted name of the function that trains.
        limits: numbers behind how many run side by side; None: as many as there are workers.
        wait: seconds to wait, when the rest is done, for cells that another process is at, counted anew whenever one of
            them ends; None: until all have ended.
        logs: folder within the results folder for what workers print.
        stack: how many seeds of a configuration go side by side in one process at most; `auto`: on GPUs all, else 1.

    Raises:
        StoreError: a results folder cannot be written to.
        ConfigError: the device is not there.
        KeyboardInterrupt: passed on; the workers are stopped, what was finished is stored, checkpoints are kept.
    """
    first_of: dict[str, Cell] = {}
    for cell in cells:
        first_of.setdefault(cell.id, cell)
    unique = list(first_of.values())
    outcomes = {cell.id: found for cell in unique if (found := already(cell)) is not None}
    tidy([outcome.cell for outcome in outcomes.values() if outcome.status == "present"])
    todo = [cell for cell in unique if cell.id not in outcomes]
    if not todo:
        return [outcomes[cell.id] for cell in unique]
    for folder in {cell.results_dir for cell in todo}:
        writable(Path(folder))
    started: dict[str, float] = {}
    accuracy: dict[str, float] = {}

    def notify(cell: Cell, message: dict[str, Any]) -> None:
        if message["event"] == "beside":
            notify(first_of[message["cell"]], message["message"])
            return
        if cell.id in outcomes and outcomes[cell.id].status != "busy":
            return  # of a stack that was tried again: this one had ended before
        started.setdefault(cell.id, monotonic())
        if message.get("acc") is not None:
            accuracy[cell.id] = message["acc"]
        if message["event"] not in pool.LAST:
            display.event(cell, message)
            return
        seconds = monotonic() - started[cell.id]
        outcome = Outcome(cell, message["event"], message.get("reason", ""), seconds, accuracy.get(cell.id))
        outcomes[cell.id] = outcome
        if outcome.status == "busy":  # it may yet be done, by us or by others
            del started[cell.id]
            display.postponed(outcome)
        else:
            display.finished(outcome)
        for other in cell.beside:
            if other.id not in outcomes:  # their process is no more
                notify(other, message)

    first = todo[0]
    gpus = {} if workers == 0 and stack != "auto" else devices.visible_gpus(first.device)
    places = [] if workers == 0 else slots(workers, first.device, first.threads, len(todo), gpus)
    needs = None if limits is None else Needs(limits, "cuda" if gpus else "cpu")
    budget = {} if limits is None else budgets(limits, places, gpus)
    for outcome in outcomes.values():
        if needs is not None and outcome.memory is not None and outcome.memory[0] == needs.kind:
            needs.learn(outcome.cell, outcome.memory[1])

    most = stack if isinstance(stack, int) else len(unique) if gpus else 1
    stacks = stack_up(unique, most)

    def attempt(cells: Sequence[Cell]) -> None:
        cells = together(cells, stacks)
        if workers == 0:
            for cell in cells:
                notify(cell, {"event": "begin"})
                notify(cell, execute_stack(cell, trial, lambda message, cell=cell: notify(cell, message)))  # type: ignore[misc]
        else:
            pool.run(cells, places, Path(first.results_dir) / logs, trial, notify, needs, budget)

    with display.shown(len(todo), len(places) or 1):
        attempt(todo)
        elsewhere = [outcomes[cell.id] for cell in todo if outcomes[cell.id].status == "busy"]
        if elsewhere:
            for outcome in _await(elsewhere, wait, attempt, outcomes, display):
                display.finished(outcome)
    return [outcomes[cell.id] for cell in unique]


def _await(
    elsewhere: list[Outcome],
    wait: float | None,
    attempt: Callable[[Sequence[Cell]], None],
    outcomes: Mapping[str, Outcome],
    display: Display,
) -> list[Outcome]:
    """Try the cells again that other processes were at, as these end; return what they are still at when patience ends.

    A worker of a sweep that was killed leaves within moments, and its cell is ours; another sweep's stores its records.
    """
    if wait != 0:
        display.waiting(elsewhere, wait)
    deadline = monotonic() + (inf if wait is None else wait)
    while elsewhere and monotonic() < deadline:
        again = [outcome.cell for outcome in elsewhere if available(outcome.cell)]
        if again:
            attempt(again)
            elsewhere = [now for was in elsewhere if (now := outcomes[was.cell.id]).status == "busy"]
            deadline = monotonic() + (inf if wait is None else wait)
        else:
            sleep(POLL)
    return elsewhere


def already(cell: Cell) -> Outcome | None:
    """Return the outcome of a cell whose record is there; a damaged one is a failure, and is left as it is."""
    path = record_path(Path(cell.results_dir), cell.id)
    if not path.exists():
        return None
    try:
        record = read(path)
    except StoreError as error:
        return Outcome(cell, "failed", one_line(error))
    return Outcome(cell, "present", memory=told(record))


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
