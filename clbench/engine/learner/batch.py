"""A batch: the samples of a step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

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

    def parts(self, size: int, least: int = 1) -> list[Batch]:
        """Return the batch in batches of at most `size` samples, in order; `least` as of `cut`."""
        sizes = cut(len(self), size, least)
        cuts = [0, *accumulate(sizes)][:-1]
        inputs, rows = torch.split(self.inputs, sizes), torch.split(self.rows, sizes)
        tasks = [None] * len(cuts) if self.tasks is None else torch.split(self.tasks, sizes)
        per_sample = len(self.labels) == len(self.rows)
        labels = torch.split(self.labels, sizes if per_sample else [int((x < 0).sum()) for x in inputs])
        own = [min(max(self.own - first, 0), len(part)) for first, part in zip(cuts, rows, strict=True)]
        columns = zip(inputs, labels, rows, tasks, own, strict=True)
        return [Batch(x, y, r, self.task, self.epoch, t, n) for x, y, r, t, n in columns]


def cut(n: int, size: int, least: int = 1) -> list[int]:
    """Return the sizes of parts of `n` samples: `size` each, except the last.

    With `least` 2, a last part of one sample takes a second one from the part before. Parts of two samples have none to give:
    there the last part has three.

    >>> cut(33, 16), cut(33, 16, least=2), cut(5, 2, least=2)
    ([16, 16, 1], [16, 15, 2], [2, 3])

    Args:
        n: samples.
        size: samples in a part.
        least: 2 if a part of one sample is to be avoided, else 1.
    """
    sizes = [size] * (n // size) + ([n % size] if n % size else [])
    if least == 2 and size > 1 and len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [size - 1, 2] if size > 2 else [size + 1]
    return sizes


def batch_sizes(n: int, size: int, model: nn.Module) -> list[int]:
    """Return the sizes of an epoch's batches over `n` samples: `size` each, except the last.

    Under BatchNorm a last batch of one sample joins the one before it: a single sample has no variance.
    """
    sizes = cut(n, size)
    if len(sizes) > 1 and sizes[-1] == 1 and any(isinstance(part, _BatchNorm) for part in model.modules()):
        sizes[-2:] = [sizes[-2] + 1]
    return sizes
