"""Which training data a method may see; the retained data after requests to forget; unseen data like the forgotten."""

from __future__ import annotations

from dataclasses import replace

import torch

from clbench.data.pool import Split
from clbench.method import Access
from clbench.stream import Stream, Task


def covered(stream: Stream, access: Access, task: Task) -> tuple[Task, ...]:
    """Return the tasks whose training data a declared `access` covers at `task`, without that task itself."""
    if access == "seen":
        return stream.tasks[: task.index]
    if access == "all":
        return tuple(other for other in stream.tasks if other is not task)
    return retained(stream, task) if access == "retained" and task.kind == "forget" else ()


def retained(stream: Stream, task: Task) -> tuple[Task, ...]:
    """Return the tasks learned before `task`, without the samples that requests up to and including it ask to forget.

    Tasks without remaining samples are left out.
    """
    earlier = stream.tasks[: task.index + 1]
    gone = [other.train.rows for other in earlier if other.kind == "forget"]
    classes = set.union(set(), *(set(other.classes) for other in earlier if other.kind == "forget" and _whole(stream, other)))
    found = []
    for other in earlier:
        if other.kind == "learn":
            train = without(other.train, gone)
            valid = None if other.valid is None else _of_other_classes(other.valid, classes)
            if len(train):
                found.append(replace(other, train=train, valid=valid if valid is not None and len(valid) else None))
    return tuple(found)


def without(split: Split, gone: list[torch.Tensor]) -> Split:
    """Return `split` without the rows of the pool that `gone` lists."""
    if not gone:
        return split
    return split.select(torch.nonzero(~torch.isin(split.rows, torch.cat(gone))).squeeze(1))


def unseen(stream: Stream, task: Task) -> Split:
    """Return test samples with the labels of the samples that a request asks to forget; they were never trained on."""
    columns = [column.split for column in stream.evaluation if column.role == "task"]
    split = replace(
        columns[0], rows=torch.cat([each.rows for each in columns]), labels=torch.cat([each.labels for each in columns])
    )
    wanted = torch.tensor(sorted(set(task.train.labels.tolist())), device=split.labels.device)
    return split.select(torch.nonzero(torch.isin(split.labels, wanted)).squeeze(1))


def _whole(stream: Stream, task: Task) -> bool:
    return any(column.request == task.index and column.role == "forget_test" for column in stream.evaluation)


def _of_other_classes(split: Split, classes: set[int]) -> Split:
    targets = split.pool.targets[split.rows]
    gone = torch.isin(targets, torch.tensor(sorted(classes), dtype=targets.dtype, device=targets.device))
    return split.select(torch.nonzero(~gone).squeeze(1))
