"""Shared parts of methods on frozen features: one pass over a split, and scores for the active outputs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from clbench import subspace
from clbench.data.pool import Split
from clbench.data.prefetch import prefetch
from clbench.engine.learner.learner import Learner

CHUNK = 1000
"""Samples per forward pass (speed and memory)."""
UNSUITED = "check the inputs (scenario.dataset.mean and std) and the weights of the model"


def walk(learner: Learner, split: Split, positions: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (features, one-hot labels) of a split in large batches, in evaluation mode and without augmentation.

    Args:
        learner: computes the features.
        split: the samples.
        positions: the samples to use, in this order: int64 `[n]`; None: all, in their own order.

    Yields:
        Float64 `[B, d]` and float64 `[B, outputs]`, with the outputs of all heads concatenated. Double precision makes sums over
        samples independent of their order and of the batch size.

    Raises:
        DivergedError: a feature is not finite.
    """
    learner.model.eval()
    stream, total = learner.stream, outputs(learner)
    offsets = torch.tensor(stream.offsets, device=split.labels.device)
    everything = torch.arange(len(split), device=split.rows.device) if positions is None else positions
    parts = learner.chunks(everything, CHUNK)
    for part, raw in zip(parts, prefetch(split, parts), strict=True):
        with torch.no_grad():
            features = learner.features(learner.batch(split, part, raw=raw).inputs)
            subspace.refuse_not_finite(features, "the features of the frozen model", UNSUITED)
            tasks = split.tasks if isinstance(split.tasks, int) else split.tasks.index_select(0, part)
            labels = split.labels.index_select(0, part) + offsets[tasks]
            one_hot = F.one_hot(labels, total)
        yield features.double(), one_hot.double()


def outputs(learner: Learner) -> int:
    """Return the number of outputs of all heads."""
    return sum(learner.stream.head_sizes)


def active_scores(learner: Learner, scores: Tensor, seen: Tensor, task_id: int | None) -> Tensor:
    """Return the result of `Method.predict`: scores `[B, active outputs]`, with -inf for classes without a sample so far.

    Before any training all scores are -inf, and the first class is the prediction: chance level.

    Args:
        learner: after its current task.
        scores: `[B, outputs]`, of all heads, concatenated.
        seen: bool `[outputs]`: True for classes with a sample so far.
        task_id: the task whose head is used, in the task setting.
    """
    stream, scores = learner.stream, scores.masked_fill(~seen, float("-inf"))
    if not stream.own_heads:
        return scores[:, : stream.active_outputs(learner.task)]
    if task_id is None:
        raise ValueError("in the task setting scores need a task_id")
    first = stream.offsets[task_id]
    return scores[:, first : first + stream.head_sizes[task_id]]
