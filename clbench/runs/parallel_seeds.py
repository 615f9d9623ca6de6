"""Runs that differ in their seed only, side by side on one device, sharing every step."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from clbench.engine.replicas.stack import StackingError
from clbench.engine.replicas.stacked_loop import StackedTraining
from clbench.engine.training.loop import Training
from clbench.errors import UnwritableError
from clbench.records import Record
from clbench.run_spec import RunSpec
from clbench.runs import checkpoint
from clbench.runs.run import Run, prepare, train_run
from clbench.utils.detached import detached
from clbench.utils.time_limit import Alarm, TooLongError, call_within

Report = Callable[[RunSpec, dict[str, Any]], None]
Result = TypeVar("Result")
Outcome = Record | Exception | SystemExit


def run_stacked(specs: Sequence[RunSpec], report: Report) -> list[Outcome]:
    """Train the runs side by side, from a common checkpoint, and return the record or the error of each.

    Runs that cannot share steps are trained one by one, and the reason is reported. A run that diverges drops out. After
    any other error each run is tried by itself, from its checkpoint: only the runs that cause the error fail.
    `runner.time_limit` counts for each run that is trained by itself, and times their number for runs side by side.

    Args:
        specs: of the same configuration, with different seeds.
        report: gets (spec, message) of progress.

    Raises:
        ValueError: the runs are of several configurations.
    """
    if any(spec.config != specs[0].config for spec in specs):
        raise ValueError("only runs of one configuration can go side by side")
    outcomes: dict[str, Outcome] = {}
    clusters = _level(specs)
    if len(clusters) > 1:
        for some in clusters:
            outcomes.update(zip((spec.id for spec in some), run_stacked(some, report), strict=True))
        return [outcomes[spec.id] for spec in specs]
    fewer = 0
    try:
        if len(specs) > 1:
            _limited(specs, report, lambda: _in_lockstep(specs, report, outcomes))
    except (TooLongError, UnwritableError) as error:  # after a full disk, seeds one by one would train in vain
        outcomes.update({spec.id: error for spec in specs if spec.id not in outcomes})
    except StackingError as error:
        report(specs[0], {"event": "print", "text": f"{specs[0].row_label}: seeds run one by one: {error.what}"})
    except torch.OutOfMemoryError:
        fewer = len(specs) // 2
    except (Exception, SystemExit) as error:  # a hook may fail for one seed; the other seeds have a result
        text = f"{specs[0].row_label}: seeds run one by one, since one of them failed: {type(error).__name__}: {error}"
        report(specs[0], {"event": "print", "text": text})
    left = [spec for spec in specs if spec.id not in outcomes]
    if fewer and left:  # outside the handler, whose traceback references the memory
        gc.collect()
        torch.cuda.empty_cache()
        text = f"{specs[0].row_label}: out of memory with {len(specs)} seeds side by side, now {fewer}"
        report(specs[0], {"event": "print", "text": text})
        for some in (left[:fewer], left[fewer:]):
            outcomes.update(zip((spec.id for spec in some), run_stacked(some, report), strict=True))
        left = []
    for spec in left:
        try:
            outcomes[spec.id] = _limited([spec], report, partial(train_run, spec, partial(report, spec)))
        except (Exception, SystemExit) as error:
            outcomes[spec.id] = error
    return [outcomes[spec.id] for spec in specs]


def _limited(specs: Sequence[RunSpec], report: Report, body: Callable[[], Result]) -> Result:
    """Call `body`, which trains the runs, with their time limit."""
    limit = specs[0].execution.time_limit
    if limit is not None:
        report(specs[0], {"event": "clock", "seconds": limit * len(specs), "runs": [spec.id for spec in specs]})
    return call_within(limit, body, len(specs))


def _in_lockstep(specs: Sequence[RunSpec], report: Report, outcomes: dict[str, Outcome]) -> None:
    """Train all runs in lockstep; each run that ends adds an entry to `outcomes`.

    Raises:
        StackingError: they cannot share steps; runs without an outcome resume from their checkpoints.
    """
    runs = [prepare(spec, partial(report, spec)) for spec in specs]
    try:
        _train(runs, outcomes)
    except (Exception, SystemExit, Alarm) as error:
        for run in runs:
            if run.spec.id not in outcomes:
                run.fail(error)
        raise


def _train(runs: list[Run], outcomes: dict[str, Outcome]) -> None:
    if not runs[0].sequential:
        raise StackingError("the method learns all tasks in one event")
    if runs[0].stream.requests:
        raise StackingError("requests to forget are handled one run at a time")
    if runs[0].drift is not None:
        raise StackingError("drift is measured one run at a time (eval.drift=true)")
    trainings = [run.training for run in runs if isinstance(run.training, Training)]
    if len(trainings) < len(runs):
        raise StackingError("federated runs train one at a time")
    training = StackedTraining(trainings)
    with detached(runs[0].say) as tell:
        training.accelerate(runs[0].spec.execution.compile, runs[0].spec.execution.graph, tell)
        _train_all(runs, training, outcomes)


def _train_all(runs: list[Run], training: StackedTraining, outcomes: dict[str, Outcome]) -> None:
    at = max(set.intersection(*(_points(run.folder) for run in runs)))
    for run in runs:
        done = run.begin(at)
    if at < 0:
        _measure(runs, training, "untrained", -1, None)
    for index in range(done, len(runs[0].tasks)):
        _learn(runs, training, index)
        lost = {position: training.failed[position] for position in training.failed}
        for position, error in lost.items():
            runs[position].fail(error)
            outcomes[runs[position].spec.id] = error
        staying = [position for position in range(len(runs)) if position not in lost]
        runs = [runs[position] for position in staying]
        if not runs:
            return
        training.keep(staying)
        for run in runs:
            run.learned()
        _measure(runs, training, "task", runs[0].tasks[index].index, None)
        for run in runs:
            run.save(run.tasks[index], alone=False)
        for run in runs:
            checkpoint.prune(run.folder, run.tasks[index].index)
    for run in runs:
        outcomes[run.spec.id] = run.finish(stacked=len(runs))


def _level(specs: Sequence[RunSpec]) -> list[list[RunSpec]]:
    """Return the runs in groups with a common checkpoint, so that no run repeats tasks for others."""
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
    """Return the tasks after which a run can resume; -1: from its beginning, if it has finished one task at most.

    Checkpoints after a task are written one by one. If the process is killed in between, runs side by side are one task apart,
    and those ahead repeat it.
    """
    tasks = checkpoint.stored(folder)
    return {*tasks, -1} if max(tasks, default=-1) < 1 else set(tasks)


def _learn(runs: Sequence[Run], training: StackedTraining, index: int) -> None:
    task = runs[0].tasks[index].index
    every = runs[0].eval_every

    def on_step(step: int) -> None:
        if every is not None and step % every == 0:
            _measure(runs, training, "within", task, step)

    def on_epoch(epoch: int, epochs: int) -> None:
        for run in runs:
            run.passed(run.tasks[index], epoch, epochs)

    with ExitStack() as clocks:
        for run in runs:
            clocks.enter_context(run.cost.training(len(runs)))
        step, epoch = clocks.enter_context(detached(on_step)), clocks.enter_context(detached(on_epoch))
        training.learn(task, step if every else None, epoch)


def _measure(runs: Sequence[Run], training: StackedTraining, kind: str, task: int, step: int | None) -> None:
    with ExitStack() as clocks:
        for run in runs:
            clocks.enter_context(run.cost.evaluation(len(runs)))
        rows = training.measure([run.stream.evaluation for run in runs], runs[0].eval_batch)
    for run, row in zip(runs, rows, strict=True):
        run.measured(row, kind, task, step)
