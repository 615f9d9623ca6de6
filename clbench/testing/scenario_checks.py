"""Checks of the suite's promises about a scenario."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from clbench.stream import Stream
from clbench.testing.make_run import make_spec


def check_requested(stream: Stream) -> None:
    """Check a stream's requests: their data was learned before, is requested once, is measured, and is not all data."""
    assert (stream.goal is not None) == bool(stream.requests), "a stream has a goal if, and only if, it has requests to forget"
    gone: set[int] = set()
    for task in stream.requests:
        rows = set(task.train.rows.tolist())
        known = {row for other in stream.learned if other.index < task.index for row in other.train.rows.tolist()}
        assert rows, f"request {task.index} has no samples to forget"
        assert rows <= known, f"request {task.index} asks to forget samples that were not learned before"
        assert not rows & gone, f"request {task.index} asks to forget samples of an earlier request"
        gone |= rows
        assert gone < known, f"request {task.index} leaves no sample to be retained"
        roles = {column.role for column in stream.evaluation if column.request == task.index}
        assert "forget_train" in roles, f"request {task.index} has no evaluation set of the role forget_train"
    if stream.requests:
        assert any(column.role == "retain" for column in stream.evaluation), "no evaluation set measures retained samples"


def check_scenario(scenario: str, overrides: Sequence[str] = (), config_dirs: Sequence[str | Path] = ()) -> None:
    """Check all promises of the suite about a scenario. The first broken one is raised as an AssertionError.

    The same seed gives the same stream. Training, validation and test samples are disjoint. Labels are within the outputs of the
    setting. Every learning task has its own evaluation set, in order.

    Args:
        scenario: name of a configuration in the group `scenario`.
        overrides: as on the command line.
        config_dirs: as in `make_spec`.
    """
    from clbench.runs.run import assemble

    def stream(*more: str) -> Stream:
        return assemble(make_spec("naive", [f"scenario={scenario}", *overrides, *more], config_dirs), torch.device("cpu"))[0]

    one, again = stream(), stream()
    assert one.fingerprint, "the stream has no fingerprint"
    assert one.fingerprint == again.fingerprint, "the same seed gives another stream"
    learned = [task for task in one.tasks if task.kind == "learn"]
    assert [task.index for task in one.tasks] == list(range(len(one))), "task indices must be 0, 1, 2, …"
    columns = [column for column in one.evaluation if column.role == "task"]
    assert len(columns) == len(learned), "every learning task needs one evaluation set of role task"
    check_requested(one)
    for task, column in zip(learned, columns, strict=True):
        size = one.head_sizes[task.index] if one.own_heads else one.head_sizes[0]
        for what, split in (("train", task.train), ("valid", task.valid), ("test", column.split)):
            if split is None:
                continue
            assert len(split) > 0, f"task {task.index} has no {what} samples"
            assert int(split.labels.min()) >= 0, f"task {task.index} has a negative {what} label"
            assert int(split.labels.max()) < size, f"task {task.index} has a {what} label beyond its {size} outputs"
        if task.valid is not None:
            assert not set(task.train.rows.tolist()) & set(task.valid.rows.tolist()), f"task {task.index}: valid overlaps train"
        same_pool = task.train.pool.inputs.data_ptr() == column.split.pool.inputs.data_ptr()
        assert not same_pool or not set(task.train.rows.tolist()) & set(column.split.rows.tolist()), "test samples are trained on"
