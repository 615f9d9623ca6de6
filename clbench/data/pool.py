"""Pools (a data set as tensors) and splits (rows of a pool with labels, tasks and views)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pool:
    """One data set as tensors: targets on the device of the run; inputs on the same device, in host memory, or on disk.

    Args:
        inputs: uint8 images `[N, C, H, W]`, int64 tokens `[N, L]`, or float features `[N, d]`.
        targets: int64 `[N]`, the data set's own class numbers, 0-based.
        mapped: whether `inputs` are a file mapped into memory; only the rows in use are read.
        pad: padding token of rows of tokens; None: inputs are no tokens.
        vocabulary: None if samples have labels. Else the number of tokens; each sample is then a prompt with its answer
            (`clbench.data.answer_tokens`).
        answers: int64 `[K, A]`, the tokens of each label word, padded with -1; None: answers are free text.
        answer_of: int64 `[N]`, for each sample the row of `answers` that is its answer. None: the row of its class. Needed where
            the class is not the answer, such as the topic of a question with choices.
    """

    inputs: Tensor
    targets: Tensor
    mapped: bool = False
    pad: int | None = None
    vocabulary: int | None = None
    answers: Tensor | None = None
    answer_of: Tensor | None = None

    def __len__(self) -> int:
        return int(self.targets.shape[0])

    def to(self, device: torch.device) -> Pool:
        """Return this pool on `device`; tensors that are already there are not copied."""
        inputs = self.inputs.to(device)
        answers, answer_of = (None if each is None else each.to(device) for each in (self.answers, self.answer_of))
        mapped = self.mapped and inputs is self.inputs
        return replace(self, inputs=inputs, targets=self.targets.to(device), mapped=mapped, answers=answers, answer_of=answer_of)

    @property
    def right_answers(self) -> Tensor:
        """For each sample the row of `answers` that is its answer, int64 `[N]`."""
        return self.targets if self.answer_of is None else self.answer_of

    @property
    def streams(self) -> bool:
        """Whether inputs come from host memory or disk; prefetching then saves time (`clbench.data.prefetch`)."""
        return self.mapped or self.inputs.device != self.targets.device

    def take(self, rows: Tensor) -> Tensor:
        """Return the inputs of `rows` (int64 `[B]`, on the device) as stored, on the device.

        For a pool that streams, the rows are copied to the host, which waits for the device. `clbench.data.prefetch.prefetch`
        avoids this wait if all rows are known in advance.
        """
        if not self.streams:
            return self.inputs.index_select(0, rows)
        return self.gather(rows.cpu()).to(self.targets.device, non_blocking=True)

    def gather(self, rows: Tensor) -> Tensor:
        """Return the inputs of `rows` (int64 `[B]`) of a pool that streams, on the host; page-locked for a GPU.

        The host does not wait for a copy from page-locked memory to a GPU. torch reuses such memory only after the copies from
        it are done.
        """
        pinned = self.targets.device.type == "cuda"
        found = torch.empty((len(rows), *self.inputs.shape[1:]), dtype=self.inputs.dtype, pin_memory=pinned)
        return torch.index_select(self.inputs, 0, rows, out=found)

    @property
    def sample_bytes(self) -> int:
        """Stored bytes of one input."""
        return self.inputs[:1].numel() * self.inputs.element_size()


@dataclass(frozen=True)
class Split:
    """Rows of a pool for the learner, with labels, tasks and views of the pixels.

    Args:
        pool: holds the inputs.
        rows: int64 `[n]`, rows of the pool.
        labels: int64 `[n]`, the label within the outputs of the setting (`stream.py` says which).
        tasks: the task of all samples, or int64 `[n]`, one task per sample (replay, joint training).
        view: None, or int64 `[H*W]` (`[T, H*W]` if `tasks` is a tensor): output pixel p shows input pixel `view[p]`,
            and 0 where `view[p]` is -1. Permutations and nearest-neighbour rotations are views; channels move together.
    """

    pool: Pool
    rows: Tensor
    labels: Tensor
    tasks: int | Tensor
    view: Tensor | None = None

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def inputs(self, positions: Tensor) -> Tensor:
        """Return the stored inputs at `positions` (int64 `[B]`), with the view applied."""
        return self.seen(self.pool.take(self.rows.index_select(0, positions)), positions)

    def seen(self, raw: Tensor, positions: Tensor) -> Tensor:
        """Return `raw`, the pool's inputs at `positions` (int64 `[B]`), with the view applied."""
        if self.view is None:
            return raw
        view = self.view
        if isinstance(self.tasks, Tensor):
            view = view.index_select(0, self.tasks.index_select(0, positions))
        return see(raw, view)

    def select(self, positions: Tensor) -> Split:
        """Return the split of `positions` alone, in that order."""
        rows, labels = self.rows.index_select(0, positions), self.labels.index_select(0, positions)
        tasks = self.tasks.index_select(0, positions) if isinstance(self.tasks, Tensor) else self.tasks
        return Split(self.pool, rows, labels, tasks, self.view)

    def raw(self) -> Tensor:
        """Return all inputs of this split, `[n, ...]` as stored, view applied."""
        return self.inputs(torch.arange(len(self), device=self.rows.device))

    @staticmethod
    def concatenate(splits: Sequence[Split], n_tasks: int) -> Split:
        """Join single-task splits of one pool into a mixed split, with a table of views by task.

        Args:
            splits: at least one; each of one task, all of the same pool, all with or all without a view.
            n_tasks: tasks of the stream (rows of the table of views).
        """
        first = splits[0]
        tasks = torch.cat([torch.full_like(part.rows, _task(part)) for part in splits])
        view = None
        if first.view is not None:
            view = torch.zeros(n_tasks, first.view.shape[-1], dtype=torch.int64, device=first.rows.device)
            for part in splits:
                assert part.view is not None
                view[_task(part)] = part.view
        rows, labels = torch.cat([part.rows for part in splits]), torch.cat([part.labels for part in splits])
        return Split(first.pool, rows, labels, tasks, view)


def see(raw: Tensor, view: Tensor) -> Tensor:
    """Rearrange pixels: `raw` `[B, C, H, W]` or `[B, d]`; `view` `[H*W]` for the batch or `[B, H*W]` per sample."""
    flat = raw.flatten(2) if raw.dim() > 2 else raw.unsqueeze(1)
    index, shown = view.clamp(min=0), view >= 0
    if view.dim() == 2:
        index, shown = index.unsqueeze(1), shown.unsqueeze(1)
    # gather with an expanded index: seven times as fast as index_select along the last axis of bytes (CPU)
    return (flat.gather(2, index.expand_as(flat)) * shown).reshape(raw.shape)


def _task(split: Split) -> int:
    assert isinstance(split.tasks, int), "only splits of a single task can be joined"
    return split.tasks
