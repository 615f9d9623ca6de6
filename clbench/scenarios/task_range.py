"""A part of a stream: some of its tasks, in their order, as a stream of their own (`scenario.task_range`)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from clbench.data.pool import Split
from clbench.errors import ConfigError, RefusedError
from clbench.stream import EvaluationSet, Stream


def part_of_stream(stream: Stream, task_range: Sequence[int | None] | None) -> Stream:
    """Return the stream of the tasks first <= t < end. The learner knows nothing of the others.

    Tasks count from 0 again, and so do labels in the class setting. The samples of a task, its validation split, its view and its
    name stay.

    Args:
        stream: from its scenario.
        task_range: (first, end); `end` None: all later tasks. None: the whole stream.

    Raises:
        ConfigError: a range that the stream does not have.
        RefusedError: a stream with requests to forget, or with written answers, that does not begin with its first task.
    """
    if task_range is None:
        return stream
    n_tasks = len(stream.tasks)
    first, end = task_range[0], task_range[1]
    first, end = first or 0, n_tasks if end is None else end
    if not 0 <= first < end <= n_tasks:
        raise ConfigError(
            f"scenario.task_range={list(task_range)} of a stream with {n_tasks} tasks",
            f"give two numbers from 0 to {n_tasks}, the first one smaller: scenario.task_range=[0,{n_tasks}]",
        )
    if (first, end) == (0, n_tasks):
        return stream
    if stream.requests:
        raise RefusedError(
            "scenario.task_range in a stream with requests to forget, which concern its other tasks", "leave it out"
        )
    if first and stream.vocabulary is not None:
        raise RefusedError(
            f"scenario.task_range={list(task_range)}: answers are generated, and their words belong to the whole stream",
            f"begin with the first task: scenario.task_range=[0,{end}]",
        )
    gone = stream.classes_met[first - 1] if first and stream.setting == "class" else 0

    def moved(split: Split) -> Split:
        assert isinstance(split.tasks, int)
        return replace(split, tasks=split.tasks - first, labels=split.labels - gone if gone else split.labels)

    def kept(column: EvaluationSet) -> bool:
        return isinstance(column.split.tasks, int) and first <= column.split.tasks < end

    tasks = [
        replace(task, index=task.index - first, train=moved(task.train), valid=None if task.valid is None else moved(task.valid))
        for task in stream.tasks[first:end]
    ]
    columns = [replace(column, split=moved(column.split)) for column in stream.evaluation if kept(column)]
    name = hashlib.sha256(f"{stream.fingerprint}|tasks {first} to {end}".encode()).hexdigest()
    claim_at = None if first else stream.claim_at
    return replace(stream, tasks=tuple(tasks), evaluation=tuple(columns), fingerprint=name, claim_at=claim_at)
