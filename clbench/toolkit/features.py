"""What methods on frozen features share: one pass over a split, and scores in the outputs of the setting."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from clbench.data.pool import Split
from clbench.data.prefetch import ahead
from clbench.engine.learner.learner import Learner

CHUNK = 1000
"""Samples per forward pass (speed and memory)."""


def walk(learner: Learner, split: Split, positions: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (features, one-hot labels) of a split in large batches, the model in evaluation mode, nothing augmented.

    Args:
        learner: whose features these are.
        split: where samples come from.
        positions: which, in which order: int64 `[n]`; None: all, in theirs.

    Yields:
        Float64 `[B, d]` and float64 `[B, outputs]`, where outputs are those of all heads side by side. Sums over samples
        are taken in double precision, so that neither their order nor the size of batches is seen in a result.
    """
    learner.model.eval()
    stream, total = learner.stream, outputs(learner)
    offsets = torch.tensor(stream.offsets, device=split.labels.device)
    everything = torch.arange(len(split), device=split.rows.device) if positions is None else positions
    parts = torch.split(everything, CHUNK)
    for part, raw in zip(parts, ahead(split, parts), strict=True):
        with torch.no_grad():
            features = learner.features(learner.batch(split, part, raw=raw).inputs)
            tasks = split.tasks if isinstance(split.tasks, int) else split.tasks.index_select(0, part)
            labels = split.labels.index_select(0, part) + offsets[tasks]
            one_hot = F.one_hot(labels, total)
        yield features.double(), one_hot.double()


def outputs(learner: Learner) -> int:
    """Return the outputs of all heads together."""
    return sum(learner.stream.head_sizes)


def in_play(learner: Learner, scores: Tensor, met: Tensor, task_id: int | None) -> Tensor:
    """Return what `Method.predict` has to: scores `[B, outputs in play]`, -inf for classes without a sample so far.

    Before anything is learned all are -inf, and the first class wins: chance.

    Args:
        learner: after its current task.
        scores: `[B, outputs]`, of all heads side by side.
        met: bool `[outputs]`.
        task_id: whose head is asked, in the task setting.
    """
    stream, scores = learner.stream, scores.masked_fill(~met, float("-inf"))
    if not stream.own_heads:
        return scores[:, : stream.active_outputs(learner.task)]
    if task_id is None:
        raise ValueError("in the task setting scores need a task_id")
    first = stream.offsets[task_id]
    return scores[:, first : first + stream.head_sizes[task_id]]
