"""Runs that go side by side: which cells are given out together, and how one process sees them through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from time import monotonic, sleep
from typing import Any

from clbench.cells import Cell
from clbench.records import Record
from clbench.runner.claim import available, claim
from clbench.runner.execute import TRIAL, Report, before, execute, failed, locate, store, thread_limit
from clbench.runner.memory import out_of_memory

STACKED = {TRIAL: "clbench.stacked.run_stacked"}
"""By the function that trains one cell, the one that trains several of a configuration; else it is taken to do both."""
LEAVING = 3.0
"""Seconds that a killed process may need to leave."""
Several = Callable[[Sequence[Cell], Callable[[Cell, dict[str, Any]], None]], Sequence[Record | Exception]]


def stack_up(cells: Sequence[Cell], most: int) -> dict[str, int]:
    """Return which stack each cell belongs to, by its id: at most `most` of one configuration to a stack, in their order.

    It depends on all cells of a sweep, those that are done among them, so that a sweep that is started again has the same
    stacks, and the same rounding.
    """
    members: dict[tuple[str, str], int] = {}
    stacks: dict[tuple[str, str, int], int] = {}
    found = {}
    for cell in cells:
        key = (cell.config_id, cell.results_dir)
        place = members[key] = members.get(key, -1) + 1
        found[cell.id] = stacks.setdefault((*key, place // most), len(stacks))
    return found


def together(cells: Sequence[Cell], stacks: Mapping[str, int]) -> list[Cell]:
    """Return the cells with those of the same stack in one: each that is returned carries the others in `beside`."""
    groups: dict[int, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(stacks[cell.id], []).append(cell)
    return [replace(group[0], beside=group[1:]) for group in groups.values()]


def unstack(cell: Cell) -> list[Cell]:
    """Return the cells of a stack, each by itself."""
    return [replace(cell, beside=[]), *cell.beside]


def execute_stack(cell: Cell, trial: str, report: Report) -> dict[str, Any]:
    """Run a cell and those it carries; see `clbench.runner.execute.execute`.

    Returns:
        The last message about the cell itself. Messages about the others are reported as `{"event": "beside", "cell": its id,
        "message": ...}`, the last one of each among them.
    """
    if not cell.beside:
        return execute(cell, trial, report)
    cells = unstack(cell)
    last: dict[str, dict[str, Any]] = {}

    def tell(about: Cell, message: dict[str, Any]) -> None:
        report(message if about.id == cell.id else {"event": "beside", "cell": about.id, "message": message})

    with ExitStack() as claims:
        ours = []
        _let_leave(cells)
        for each in cells:
            tell(each, {"event": "begin"})
            try:
                message = before(each, claims.enter_context(claim(each)))
            except Exception as error:
                message = failed(each, error)
            if message is None:
                ours.append(each)
            else:
                last[each.id] = message
        for each, outcome in zip(ours, _train(ours, trial, tell), strict=True):
            last[each.id] = failed(each, outcome) if isinstance(outcome, BaseException) else store(each, outcome)
    own = last[cell.id]
    for other in cell.beside:
        if not (_exhausted(own) and _exhausted(last[other.id])):  # the stack will be tried again, for all of them
            tell(other, last[other.id])
    return own


def _let_leave(cells: Sequence[Cell]) -> None:
    """Give a process that is at some of the cells, and was killed a moment ago, the time to end.

    It frees all of its cells then. A stack that went on with those that happened to be free would round differently.
    """
    deadline = monotonic() + LEAVING
    while monotonic() < deadline and not all(available(cell) for cell in cells):
        sleep(LEAVING / 50)


def _exhausted(message: dict[str, Any]) -> bool:
    return message["event"] == "failed" and out_of_memory(message["reason"])


def _train(cells: Sequence[Cell], trial: str, tell: Callable[[Cell, dict[str, Any]], None]) -> Sequence[Any]:
    """Return a record or an error for each cell."""
    if not cells:
        return []
    try:
        function: Several = locate(STACKED.get(trial, trial))  # type: ignore[assignment]
        with thread_limit(cells[0].threads):
            return function(cells, tell)
    except (Exception, SystemExit) as error:
        return [error] * len(cells)
