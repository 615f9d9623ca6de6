"""A batch: the samples of a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass
class Batch:
    """The samples of a step.

    Args:
        inputs: `[B, ...]`, preprocessed.
        labels: int64 `[B]`: columns of the logits that the learner returns for this batch. For generated answers
            (`clbench.data.answer_tokens`), int64 `[M]`: a row of logits and a label for every token of every answer.
        rows: int64 `[B]`: rows of the pool; with the task they name a sample stream-wide.
        task: the task being learned.
        epoch: pass over the data, 0-based.
        tasks: None if all samples belong to `task`, else int64 `[B]`.
        own: number of samples, the first ones, from the data being trained on; the others are replayed.
        joint: set by `Learner.forward`: the logits before columns are masked or dropped. `[B, all outputs]` of a shared
            head, `[B, outputs of all heads so far]` in the task setting; None if only the task's own head was used.
    """

    inputs: Tensor
    labels: Tensor
    rows: Tensor
    task: int
    epoch: int = 0
    tasks: Tensor | None = None
    own: int = -1
    joint: Tensor | None = None

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    @property
    def own_outputs(self) -> int:
        """Number of rows of the logits, the first ones, of the `own` samples; for generated answers the host waits."""
        if len(self.labels) == len(self.rows):
            return self.own
        return int((self.inputs[: self.own] < 0).sum())

    def parts(self, size: int) -> list[Batch]:
        """Return the batch cut into batches of at most `size` samples, in order."""
        cuts = list(range(0, len(self), size))
        inputs, rows = torch.split(self.inputs, size), torch.split(self.rows, size)
        tasks = [None] * len(cuts) if self.tasks is None else torch.split(self.tasks, size)
        per_sample = len(self.labels) == len(self.rows)
        labels = torch.split(self.labels, size if per_sample else [int((x < 0).sum()) for x in inputs])
        own = [min(max(self.own - first, 0), len(part)) for first, part in zip(cuts, rows, strict=True)]
        columns = zip(inputs, labels, rows, tasks, own, strict=True)
        return [Batch(x, y, r, self.task, self.epoch, t, n) for x, y, r, t, n in columns]


def batch_sizes(n: int, size: int, model: nn.Module) -> list[int]:
    """Return the sizes of an epoch's batches over `n` samples: `size` each, except the last.

    Under BatchNorm a last batch of one sample joins the one before it: a single sample has no variance.
    """
    sizes = [size] * (n // size) + ([n % size] if n % size else [])
    if len(sizes) > 1 and sizes[-1] == 1 and any(isinstance(part, _BatchNorm) for part in model.modules()):
        sizes[-2:] = [sizes[-2] + 1]
    return sizes
