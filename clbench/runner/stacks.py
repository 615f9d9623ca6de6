"""Stacks: several seeds of one configuration that share every step in one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from time import monotonic, sleep
from typing import Any

from clbench.run_spec import RunSpec
from clbench.runner.execute import RUN_FUNCTION, Started, execute, failed, locate, not_needed, store, thread_limit
from clbench.runner.lock import available, lock_run
from clbench.runner.worker_messages import End, Progress, Report

STACK_FUNCTIONS = {RUN_FUNCTION: "clbench.runs.parallel_seeds.run_stacked"}
"""The function that trains several seeds, by the function that trains one. A function that is not listed does both.

It keeps `runner.time_limit` by itself: seeds that cannot share steps have a limit each."""
LEAVING = 3.0
"""Seconds that a killed process may need to end."""


def assign_stacks(specs: Sequence[RunSpec], largest: int) -> dict[str, int]:
    """Return the stack of each run by the run's id: at most `largest` runs of one configuration form a stack, in their order.

    Finished runs count as well. A sweep that is started again therefore has the same stacks, and the same rounding.
    """
    members: dict[tuple[str, str], int] = {}
    stacks: dict[tuple[str, str, int], int] = {}
    found = {}
    for spec in specs:
        key = (spec.config_id, spec.results_dir)
        position = members[key] = members.get(key, -1) + 1
        found[spec.id] = stacks.setdefault((*key, position if spec.over_flower else position // largest), len(stacks))
    return found


def form_stacks(specs: Sequence[RunSpec], stacks: Mapping[str, int]) -> list[RunSpec]:
    """Return one run for each stack, with the other runs of the stack in `stacked`."""
    groups: dict[int, list[RunSpec]] = {}
    for spec in specs:
        groups.setdefault(stacks[spec.id], []).append(spec)
    return [replace(group[0], stacked=group[1:]) for group in groups.values()]


def unstack(spec: RunSpec) -> list[RunSpec]:
    """Return the runs of a stack one by one."""
    return [replace(spec, stacked=[]), *spec.stacked]


def execute_stack(spec: RunSpec, function: str, report: Report) -> End:
    """Execute a run and the runs stacked with it; see `clbench.runner.execute.execute`.

    Returns:
        The end of the run itself. The ends of the stacked runs are reported, unless the whole stack will be tried again.
    """
    if not spec.stacked:
        return execute(spec, function, report)
    specs = unstack(spec)
    ends: dict[str, End] = {}
    with ExitStack() as locks:
        ours = []
        _wait_for_leaving(specs)
        for each in specs:
            report(each.id, {"event": "begin"})
            try:
                end = not_needed(each, locks.enter_context(lock_run(each)))
            except Exception as error:
                end = failed(each, error)
            if end is None:
                ours.append(each)
            else:
                ends[each.id] = end
        started = Started(report)
        for each, result in zip(ours, _train(ours, function, started), strict=True):
            wrong = isinstance(result, BaseException)
            ends[each.id] = failed(each, result, each.id in started.runs) if wrong else store(each, result)
    own = ends[spec.id]
    for other in spec.stacked:
        if not (own.out_of_memory and ends[other.id].out_of_memory):
            report(other.id, ends[other.id])
    return own


def _wait_for_leaving(specs: Sequence[RunSpec]) -> None:
    """Wait for a process that executes some of the runs and was killed a moment ago.

    It frees all of its runs when it ends. A smaller stack of the runs that are free now would round differently.
    """
    deadline = monotonic() + LEAVING
    while monotonic() < deadline and not all(available(spec) for spec in specs):
        sleep(LEAVING / 50)


def _train(specs: Sequence[RunSpec], function: str, report: Started) -> Sequence[Any]:
    """Return a record or an error for each run."""
    if not specs:
        return []

    def progress(spec: RunSpec, message: Progress) -> None:
        report(spec.id, message)

    try:
        train = locate(STACK_FUNCTIONS.get(function, function))
        with thread_limit(specs[0].execution.threads):
            results: Sequence[Any] = train(specs, progress)
            return results
    except (Exception, SystemExit) as error:
        return [error] * len(specs)
