"""Runs that go side by side: which runs are given out together, and how one process sees them through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from time import monotonic, sleep
from typing import Any

from clbench.records import Record
from clbench.run_spec import RunSpec
from clbench.runner.device_memory import out_of_memory
from clbench.runner.execute import TRIAL, Report, before, execute, failed, locate, store, thread_limit
from clbench.runner.lock import available, claim

STACKED = {TRIAL: "clbench.runs.parallel_seeds.run_stacked"}
"""By the function that trains one run, the one that trains several of a configuration; else it is taken to do both."""
LEAVING = 3.0
"""Seconds that a killed process may need to leave."""
Several = Callable[[Sequence[RunSpec], Callable[[RunSpec, dict[str, Any]], None]], Sequence[Record | Exception]]


def stack_up(specs: Sequence[RunSpec], most: int) -> dict[str, int]:
    """Return which stack each run belongs to, by its id: at most `most` of one configuration to a stack, in their order.

    It depends on all runs of a sweep, those that are done among them, so that a sweep that is started again has the same
    stacks, and the same rounding.
    """
    members: dict[tuple[str, str], int] = {}
    stacks: dict[tuple[str, str, int], int] = {}
    found = {}
    for spec in specs:
        key = (spec.config_id, spec.results_dir)
        place = members[key] = members.get(key, -1) + 1
        found[spec.id] = stacks.setdefault((*key, place if spec.over_flower else place // most), len(stacks))
    return found


def together(specs: Sequence[RunSpec], stacks: Mapping[str, int]) -> list[RunSpec]:
    """Return the runs with those of the same stack in one: each that is returned carries the others in `beside`."""
    groups: dict[int, list[RunSpec]] = {}
    for spec in specs:
        groups.setdefault(stacks[spec.id], []).append(spec)
    return [replace(group[0], beside=group[1:]) for group in groups.values()]


def unstack(spec: RunSpec) -> list[RunSpec]:
    """Return the runs of a stack, each by itself."""
    return [replace(spec, beside=[]), *spec.beside]


def execute_stack(spec: RunSpec, trial: str, report: Report) -> dict[str, Any]:
    """Run a run and those it carries; see `clbench.runner.execute.execute`.

    Returns:
        The last message about the run itself. Messages about the others are reported as `{"event": "beside", "run": its id,
        "message": ...}`, the last one of each among them.
    """
    if not spec.beside:
        return execute(spec, trial, report)
    specs = unstack(spec)
    last: dict[str, dict[str, Any]] = {}

    def tell(about: RunSpec, message: dict[str, Any]) -> None:
        report(message if about.id == spec.id else {"event": "beside", "spec": about.id, "message": message})

    with ExitStack() as claims:
        ours = []
        _let_leave(specs)
        for each in specs:
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
    own = last[spec.id]
    for other in spec.beside:
        if not (_exhausted(own) and _exhausted(last[other.id])):  # the stack will be tried again, for all of them
            tell(other, last[other.id])
    return own


def _let_leave(specs: Sequence[RunSpec]) -> None:
    """Give a process that is at some of the runs, and was killed a moment ago, the time to end.

    It frees all of its runs then. A stack that went on with those that happened to be free would round differently.
    """
    deadline = monotonic() + LEAVING
    while monotonic() < deadline and not all(available(spec) for spec in specs):
        sleep(LEAVING / 50)


def _exhausted(message: dict[str, Any]) -> bool:
    return message["event"] == "failed" and out_of_memory(message["reason"])


def _train(specs: Sequence[RunSpec], trial: str, tell: Callable[[RunSpec, dict[str, Any]], None]) -> Sequence[Any]:
    """Return a record or an error for each run."""
    if not specs:
        return []
    try:
        function: Several = locate(STACKED.get(trial, trial))  # type: ignore[assignment]
        with thread_limit(specs[0].threads):
            return function(specs, tell)
    except (Exception, SystemExit) as error:
        return [error] * len(specs)
