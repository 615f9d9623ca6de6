"""Checks of a stream's requests to forget, before training."""

from __future__ import annotations

import torch

from clbench.errors import DataError
from clbench.stream import Stream, Task


def check_requests(stream: Stream) -> None:
    """Check requests: their data was learned before, is requested once, is measured, and is not all data.

    Raises:
        DataError: the first fault.
    """
    requests = stream.requests
    if (stream.goal is not None) != bool(requests):
        raise DataError(
            f"the stream has goal={stream.goal} and {len(requests)} requests to forget",
            "a stream has a goal if, and only if, it has requests",
        )
    if not requests:
        return
    targets = stream.tasks[0].train.pool.targets
    known, gone = (torch.zeros(len(targets), dtype=torch.bool, device=targets.device) for _ in range(2))
    for task in stream.tasks:
        rows = task.train.rows
        if task.kind == "learn":
            known[rows] = True
            continue
        if not bool(known[rows].all()):
            raise _fault(task, "asks to forget samples that were not learned before", "let the request come after their task")
        if bool(gone[rows].any()):
            raise _fault(task, "asks to forget samples of an earlier request", "name each sample in one request")
        gone[rows] = True
        if bool((gone & known).sum() == known.sum()):
            raise _fault(task, "leaves no sample to be retained", "request less")
        roles = {column.role for column in stream.evaluation if column.request == task.index}
        if "forget_train" not in roles:
            raise _fault(task, "has no evaluation set of the role forget_train", "measure its own samples by such a set")
    if not any(column.role == "retain" for column in stream.evaluation):
        raise DataError("no evaluation set measures retained samples", "give the stream a set of the role retain")


def _fault(task: Task, what: str, remedy: str) -> DataError:
    return DataError(f"request {task.index} ({task.name}) {what}", remedy)
