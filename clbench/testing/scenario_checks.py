"""What the suite promises of a scenario, checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from clbench.stream import Stream
from clbench.testing.make_run import make_spec


def check_requested(stream: Stream) -> None:
    """Check what a stream asks to forget: learned before, asked for once, measured, and not all there is."""
    assert (stream.goal is not None) == bool(stream.requests), "a stream has a goal if, and only if, it has requests to forget"
    gone: set[int] = set()
    for task in stream.requests:
        rows = set(task.train.rows.tolist())
        known = {row for other in stream.learned if other.index < task.index for row in other.train.rows.tolist()}
        assert rows, f"request {task.index} asks to forget nothing"
        assert rows <= known, f"request {task.index} asks to forget what was not learned before"
        assert not rows & gone, f"request {task.index} asks to forget what was asked for before"
        gone |= rows
        assert gone < known, f"request {task.index} leaves nothing to be retained"
        roles = {column.role for column in stream.evaluation if column.request == task.index}
        assert "forget_train" in roles, f"request {task.index} has no evaluation set of the role forget_train"
    if stream.requests:
        assert any(column.role == "retain" for column in stream.evaluation), "nothing measures what is retained"


def check_scenario(scenario: str, overrides: Sequence[str] = (), config_dirs: Sequence[str | Path] = ()) -> None:
    """Check everything the suite promises of a scenario; the first broken promise is raised as an AssertionError.

    Same seed, same stream; training, validation and test samples disjoint; labels within the outputs of the setting;
    every learning task with an evaluation set of its own, in order.

    Args:
        scenario: name of a configuration in the group `scenario`.
        overrides: as on the command line.
        config_dirs: as `make_spec`.
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
