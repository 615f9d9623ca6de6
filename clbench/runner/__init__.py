"""From a sweep to runs: what is already done, who does the rest, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from clbench.cells import Cell
from clbench.errors import StoreError
from clbench.records import read, record_path
from clbench.runner import pool
from clbench.runner.devices import slots
from clbench.runner.execute import LOGS, TRIAL, execute, one_line

if TYPE_CHECKING:
    from clbench.runner.progress import Display


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Args:
        cell: it.
        status: `done` (trained now), `present` (was there already), `busy` (another process is at it), `failed`.
        reason: of a failure, in one line.
        seconds: from being given out to its end.
        accuracy: last accuracy that was reported, in percent.
    """

    cell: Cell
    status: str
    reason: str = ""
    seconds: float = 0.0
    accuracy: float | None = None


def run_cells(
    cells: Sequence[Cell], display: Display, workers: int | str = "auto", trial: str = TRIAL, logs: str = LOGS
) -> list[Outcome]:
    """Run what is not done yet, and return what became of every cell, in order; cells of the same id count once.

    Args:
        cells: of any number of configurations and seeds.
        display: shows progress.
        workers: processes, or `auto`; 0: in this process.
        trial: dotted name of the function that trains.
        logs: folder within the results folder for what workers print.

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
    todo = [cell for cell in unique if cell.id not in outcomes]
    if not todo:
        return [outcomes[cell.id] for cell in unique]
    for folder in {cell.results_dir for cell in todo}:
        writable(Path(folder))
    started: dict[str, float] = {}
    accuracy: dict[str, float] = {}

    def notify(cell: Cell, message: dict[str, Any]) -> None:
        started.setdefault(cell.id, monotonic())
        if message.get("acc") is not None:
            accuracy[cell.id] = message["acc"]
        if message["event"] not in pool.LAST:
            display.event(cell, message)
            return
        seconds = monotonic() - started[cell.id]
        outcomes[cell.id] = Outcome(cell, message["event"], message.get("reason", ""), seconds, accuracy.get(cell.id))
        display.finished(outcomes[cell.id])

    first = todo[0]
    places = [] if workers == 0 else slots(workers, first.device, first.threads, len(todo))
    with display.shown(len(todo), len(places) or 1):
        if workers == 0:
            for cell in todo:
                notify(cell, {"event": "begin"})
                notify(cell, execute(cell, trial, lambda message, cell=cell: notify(cell, message)))  # type: ignore[misc]
        else:
            pool.run(todo, places, Path(first.results_dir) / logs, trial, notify)
    return [outcomes[cell.id] for cell in unique]


def already(cell: Cell) -> Outcome | None:
    """Return the outcome of a cell whose record is there; a damaged one is a failure, and is left as it is."""
    path = record_path(Path(cell.results_dir), cell.id)
    if not path.exists():
        return None
    try:
        read(path)
    except StoreError as error:
        return Outcome(cell, "failed", one_line(error))
    return Outcome(cell, "present")


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
