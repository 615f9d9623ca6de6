"""Validation splits as evaluation sets (`eval.split`)."""

from __future__ import annotations

from dataclasses import replace

from clbench.errors import ConfigError
from clbench.stream import EvaluationSet, Measured, Stream, fingerprint


def measure_validation(stream: Stream, split: Measured, data_sha256: str, keep: bool) -> Stream:
    """Return the stream whose evaluation sets are those of `split`.

    Validation samples are then hidden from methods as test samples are, unless `keep`.

    Args:
        stream: from its scenario; for `valid` its own evaluation sets may be empty.
        split: `test` changes nothing; `both` adds the validation splits after all other sets.
        data_sha256: digest of the data.
        keep: whether the tasks keep their validation splits, for a schedule that needs them.

    Raises:
        ConfigError: a task has no validation split.
    """
    if split == "test":
        return stream
    columns = []
    for task, column in zip(stream.learned, stream.evaluation):
        if task.valid is None:
            raise ConfigError(
                f"eval.split={split}: task {task.index} ({task.name}) has no validation split", "give scenario.valid_fraction=0.1"
            )
        columns.append(EvaluationSet(f"valid {task.index}: {task.name}", task.valid, "valid", column.metric))
    tasks = stream.tasks if keep else tuple(replace(task, valid=None) for task in stream.tasks)
    if split == "both":
        return replace(stream, tasks=tasks, evaluation=(*stream.evaluation, *columns))
    name = fingerprint(data_sha256, stream.setting, stream.tasks, tuple(columns))
    return replace(stream, tasks=tasks, evaluation=tuple(columns), fingerprint=name)
