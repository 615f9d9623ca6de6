"""Trials of one configuration that differ in their seed, run side by side on one device, sharing every step."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from clbench.engine.replicas.stack import StackingError
from clbench.engine.replicas.stacked_loop import StackedTraining
from clbench.engine.training.loop import Training
from clbench.records import Record
from clbench.run_spec import RunSpec
from clbench.runs import checkpoint
from clbench.runs.run import Trial, prepare, run_trial

Told = Callable[[RunSpec, dict[str, Any]], None]


def run_stacked(specs: Sequence[RunSpec], report: Told) -> list[Record | Exception]:
    """Train the runs side by side, each from a checkpoint they have in common, and return what became of each.

    What cannot go side by side is run one by one, and the reason is reported. A trial that diverges leaves the others.

    Args:
        specs: of the same configuration, with different seeds.
        report: is told (spec, message) of progress.
    """
    outcomes: dict[str, Record | Exception] = {}
    clusters = _level(specs)
    if len(clusters) > 1:
        for some in clusters:
            outcomes.update(zip((spec.id for spec in some), run_stacked(some, report), strict=True))
        return [outcomes[spec.id] for spec in specs]
    fewer = 0
    try:
        if len(specs) > 1:
            _together(specs, report, outcomes)
    except StackingError as error:
        report(specs[0], {"event": "print", "text": f"{specs[0].row_label}: seeds run one by one: {error.what}"})
    except torch.OutOfMemoryError:
        fewer = len(specs) // 2
    left = [spec for spec in specs if spec.id not in outcomes]
    if fewer and left:  # out of the handler, whose traceback holds what used the memory up
        gc.collect()
        torch.cuda.empty_cache()
        text = f"{specs[0].row_label}: out of memory with {len(specs)} seeds side by side, now {fewer}"
        report(specs[0], {"event": "print", "text": text})
        for some in (left[:fewer], left[fewer:]):
            outcomes.update(zip((spec.id for spec in some), run_stacked(some, report), strict=True))
        left = []
    for spec in left:
        try:
            outcomes[spec.id] = run_trial(spec, partial(report, spec))
        except Exception as error:
            outcomes[spec.id] = error
    return [outcomes[spec.id] for spec in specs]


def _together(specs: Sequence[RunSpec], report: Told, outcomes: dict[str, Record | Exception]) -> None:
    """Run all trials in lockstep; `outcomes` is filled in as they end.

    Raises:
        StackingError: they cannot; those without an outcome are where their checkpoints are.
    """
    configs = [spec.config for spec in specs]
    if any(config != configs[0] for config in configs):
        raise ValueError("only trials of one configuration can go side by side")
    trials = [prepare(spec, partial(report, spec)) for spec in specs]
    try:
        _run(trials, outcomes)
    except Exception as error:
        for trial in trials:
            if trial.spec.id not in outcomes:
                trial.loggers.fail(str(error))
        raise


def _run(trials: list[Trial], outcomes: dict[str, Record | Exception]) -> None:
    if not trials[0].sequential:
        raise StackingError("the method learns all tasks in one event")
    if trials[0].stream.requests:
        raise StackingError("requests to forget are met one by one")
    if trials[0].drift is not None:
        raise StackingError("drift is measured one by one (eval.drift=true)")
    trainings = [trial.training for trial in trials if isinstance(trial.training, Training)]
    if len(trainings) < len(trials):
        raise StackingError("their clients learn one after the other")
    training = StackedTraining(trainings)
    training.accelerate(trials[0].spec.compile, trials[0].spec.graph, trials[0].say)
    at = max(set.intersection(*(_points(trial.folder) for trial in trials)))
    for trial in trials:
        done = trial.begin(at)
    if at < 0:
        _measure(trials, training, "untrained", -1, None)
    for index in range(done, len(trials[0].tasks)):
        _learn(trials, training, index)
        lost = {position: training.failed[position] for position in training.failed}
        for position, error in lost.items():
            trials[position].loggers.fail(str(error))
            outcomes[trials[position].spec.id] = error
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
        outcomes[trial.spec.id] = trial.finish(stacked=len(trials))


def _level(specs: Sequence[RunSpec]) -> list[list[RunSpec]]:
    """Return the runs that have a checkpoint in common together; those that are further than others lose no work for them."""
    clusters: list[tuple[set[int], list[RunSpec]]] = []
    for spec in specs:
        points = _points(spec.checkpoints)
        for shared, some in clusters:
            if shared & points:
                shared &= points
                some.append(spec)
                break
        else:
            clusters.append((points, [spec]))
    return [some for _, some in clusters]


def _points(folder: Path) -> set[int]:
    """Return after which tasks a trial can go on; -1: from its beginning, if it has got no further than a task.

    Checkpoints of a round are written one after the other: killed in between, trials that go side by side are a task apart, and
    those ahead learn it again.
    """
    tasks = checkpoint.stored(folder)
    return {*tasks, -1} if max(tasks, default=-1) < 1 else set(tasks)


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
