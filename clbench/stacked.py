"""Trials of one configuration that differ in their seed, run side by side on one device: many for little more than one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from clbench.cells import Cell
from clbench.engine import checkpoint
from clbench.engine.stack import StackingError
from clbench.engine.stacked import StackedTraining
from clbench.records import Record
from clbench.trial import Trial, checkpoint_folder, prepare, run_trial

Told = Callable[[Cell, dict[str, Any]], None]


def run_stacked(cells: Sequence[Cell], report: Told) -> list[Record | Exception]:
    """Train the cells side by side, each from a checkpoint they have in common, and return what became of each.

    What cannot go side by side is run one by one, and the reason is reported. A trial that diverges leaves the others.

    Args:
        cells: of the same configuration, with different seeds.
        report: is told (cell, message) of progress.
    """
    outcomes: dict[str, Record | Exception] = {}
    try:
        if len(cells) > 1:
            _together(cells, report, outcomes)
    except StackingError as error:
        report(cells[0], {"event": "print", "text": f"{cells[0].row_label}: seeds run one by one: {error.what}"})
    for cell in cells:
        if cell.id not in outcomes:
            try:
                outcomes[cell.id] = run_trial(cell, partial(report, cell))
            except Exception as error:
                outcomes[cell.id] = error
    return [outcomes[cell.id] for cell in cells]


def _together(cells: Sequence[Cell], report: Told, outcomes: dict[str, Record | Exception]) -> None:
    """Run all trials in lockstep; `outcomes` is filled in as they end.

    Raises:
        StackingError: they cannot; those without an outcome are where their checkpoints are.
    """
    configs = [cell.config for cell in cells]
    if any(config != configs[0] for config in configs):
        raise ValueError("only trials of one configuration can go side by side")
    trials = [prepare(cell, partial(report, cell)) for cell in cells]
    if not trials[0].sequential:
        raise StackingError("the method learns all tasks in one event")
    training = StackedTraining([trial.training for trial in trials])
    at = _common([checkpoint.stored(checkpoint_folder(cell)) for cell in cells])
    for trial in trials:
        done = trial.begin(at)
    if at < 0:
        _measure(trials, training, "untrained", -1, None)
    for index in range(done, len(trials[0].tasks)):
        _learn(trials, training, index)
        lost = {position: training.failed[position] for position in training.failed}
        for position, error in lost.items():
            trials[position].loggers.fail(str(error))
            outcomes[trials[position].cell.id] = error
        staying = [position for position in range(len(trials)) if position not in lost]
        trials = [trials[position] for position in staying]
        if not trials:
            return
        training.keep(staying)
        for trial in trials:
            trial.learned()
        _measure(trials, training, "task", trials[0].tasks[index].index, None)
        for trial in trials:
            trial.save(trial.tasks[index], alone=False)
        for trial in trials:
            checkpoint.prune(trial.folder, trial.tasks[index].index)
    for trial in trials:
        outcomes[trial.cell.id] = trial.finish(stacked=len(trials))


def _common(stored: Sequence[Sequence[int]]) -> int:
    """Return the newest task after which all have a checkpoint; -1: they start anew.

    Trials that went side by side are at most a task apart: the checkpoints of a round are written one after the other.

    Raises:
        StackingError: some are further ahead, so that work would be lost.
    """
    common = max(set.intersection(*(set(tasks) for tasks in stored)), default=-1)
    if max(max(tasks, default=-1) for tasks in stored) > common + 1:
        raise StackingError("some of them are further than the others, interrupted when they ran without them")
    return common


def _learn(trials: Sequence[Trial], training: StackedTraining, index: int) -> None:
    task = trials[0].tasks[index].index
    every = trials[0].eval_every

    def after_step(step: int) -> None:
        if every is not None and step % every == 0:
            _measure(trials, training, "within", task, step)

    def after_epoch(epoch: int, epochs: int) -> None:
        for trial in trials:
            trial.passed(trial.tasks[index], epoch, epochs)

    training.after_step, training.after_epoch = after_step if every else None, after_epoch
    with ExitStack() as clocks:
        for trial in trials:
            clocks.enter_context(trial.cost.training(len(trials)))
        training.learn(task)


def _measure(trials: Sequence[Trial], training: StackedTraining, kind: str, task: int, step: int | None) -> None:
    with ExitStack() as clocks:
        for trial in trials:
            clocks.enter_context(trial.cost.evaluation(len(trials)))
        rows = training.measure(trials[0].eval_batch)
    for trial, row in zip(trials, rows, strict=True):
        trial.measured(row, kind, task, step)
