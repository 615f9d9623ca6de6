"""Evaluation: one pass over all evaluation sets per event, in large batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from clbench.data.prefetch import prefetch
from clbench.engine.evaluation import text_metrics
from clbench.engine.learner.learner import Learner
from clbench.method import Method
from clbench.stream import EvaluationSet

Row = list[text_metrics.Entry]


def evaluate(learner: Learner, method: Method, columns: tuple[EvaluationSet, ...], batch_size: int) -> Row:
    """Return (correct, n) for each evaluation set; the host waits for the device once, at the end.

    For generated answers, each set has its own metric (`clbench.engine.evaluation.text_metrics`).

    In the task setting (one head per set), and for sets with a view of their inputs, a batch has one evaluation set. Otherwise
    consecutive sets share batches.

    Args:
        learner: put into evaluation mode and left there.
        method: its `predict` gives the scores.
        columns: the evaluation sets.
        batch_size: samples per forward pass.
    """
    learner.model.eval()
    try:
        return _evaluate(learner, method, columns, batch_size)
    finally:
        learner.evaluation_cache.clear()


def _evaluate(learner: Learner, method: Method, columns: tuple[EvaluationSet, ...], batch_size: int) -> Row:
    if learner.stream.vocabulary is not None:
        with torch.inference_mode(), learner.arithmetic:
            return text_metrics.evaluate(learner, method, columns, batch_size)
    hits = torch.zeros(len(columns), dtype=torch.int64, device=learner.device)
    with torch.inference_mode(), learner.arithmetic:
        for raw, labels, owner, task_id in parts(learner, columns, batch_size):
            scores = method.predict(learner, learner.stream.preprocess(raw), task_id)
            hits.index_add_(0, owner, (scores.argmax(dim=1) == labels).to(torch.int64))
    return counted(hits, columns)


def counted(hits: Tensor, columns: tuple[EvaluationSet, ...]) -> Row:
    """Return (correct, n) for each evaluation set; waits for the device."""
    return [(int(hit), len(column.split)) for hit, column in zip(hits.tolist(), columns, strict=True)]


def parts(
    learner: Learner, columns: tuple[EvaluationSet, ...], batch_size: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, int | None]]:
    """Yield batches: raw inputs, labels, the column of each sample, and in the task setting the task."""
    for group in _groups(learner, columns):
        rows = torch.cat([columns[c].split.rows for c in group])
        labels = torch.cat([columns[c].split.labels for c in group])
        owner = torch.cat([torch.full_like(columns[c].split.rows, c) for c in group])
        first = columns[group[0]].split
        task_id = first.tasks if learner.stream.setting == "task" else None
        assert task_id is None or isinstance(task_id, int)
        whole = replace(first, rows=rows, labels=labels)
        batches = learner.chunks(torch.arange(len(rows), device=rows.device), batch_size)
        for batch, raw in zip(batches, prefetch(whole, batches), strict=True):
            yield raw, labels.index_select(0, batch), owner.index_select(0, batch), task_id


def _groups(learner: Learner, columns: tuple[EvaluationSet, ...]) -> list[list[int]]:
    """Return the columns in groups that may share batches."""
    shared = learner.stream.setting != "task" and not getattr(learner.model, "transductive", False)
    groups: list[list[int]] = []
    for index, column in enumerate(columns):
        joins = shared and column.split.view is None and groups and columns[groups[-1][0]].split.view is None
        if joins and columns[groups[-1][0]].split.pool is column.split.pool:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
