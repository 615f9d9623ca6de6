"""A-GEM: averaged gradient episodic memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench.engine.learner.learner import Batch, Learner
from clbench.engine.replay.memory import Memory
from clbench.method import Method
from clbench.stream import Stream, Task

Positive = Annotated[int, Field(ge=1)]
Fill = Literal["end", "stream"]


@dataclass
class AGEM(Method):
    """A-GEM (Chaudhry et al., ICLR 2019, equation 11): to first order, a step must not raise the loss on a draw from memory.

    Let g be the step's gradient and r the gradient on the draw. If <g, r> < 0, then g <- g - <g, r> / <r, r> r.

    Both gradients cover the parameters that the step may move. In the task setting the heads of earlier tasks do not move, so
    their part of r is not used. The condition <g, r> >= 0 is about the applied step.

    Source of the draw: a ring gives samples of earlier tasks only, as in equation 10 and the authors' program
    (facebookresearch/agem, fc_permute_mnist.py). A reservoir gives samples of all tasks, including the current one (A-GEM-R of
    Buzzega et al., NeurIPS 2020: aimagelab/mammoth, models/agem_r.py).

    Args:
        buffer_size: samples in memory.
        reference_batch: samples drawn per step.
        fill: `end`: after each task, an equal share of its samples, drawn at random (aimagelab/mammoth, models/agem.py), in a
            ring. `stream`: the samples of the first pass over a task, as they arrive.
        policy: for `stream`: `ring` (the newest samples of each task, like the authors), or `reservoir`.
    """

    buffer_size: Positive
    reference_batch: Positive
    fill: Fill
    policy: Literal["ring", "reservoir"]
    supports_generation = True

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Make the memory."""
        self.memory = learner.memory(self.buffer_size, "ring" if self.fill == "end" else self.policy, "agem")
        self.earlier = 0

    def edit_gradients(self, learner: Learner, batch: Batch) -> None:
        """Project against the gradient on a draw. Then, with `fill=stream`, offer the batch's own samples to memory."""
        reference = self._draw()
        if len(reference):
            project(learner.gradients, learner.gradient(reference, batch))
        if self.fill == "stream" and batch.epoch == 0:
            self.memory.add(batch)

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Store samples of the task, unless they are stored already. From now on it is an earlier task."""
        if self.fill == "end":
            store(self.memory, task)
        self.earlier = len(self.memory)

    def _draw(self) -> Batch:
        """Return the reference samples of this step."""
        if self.memory.policy == "reservoir":
            return self.memory.sample(self.reference_batch)
        slots = self.memory.slots()[: self.earlier]  # a ring lists its slots task by task
        chosen = torch.randperm(len(slots), generator=self.memory.generator())[: self.reference_batch]
        return self.memory.read(slots[chosen.to(slots.device)], augment=True)


def project(gradients: dict[str, Tensor], reference: dict[str, Tensor]) -> None:
    """Remove from `gradients`, in place, the component against `reference` (name -> tensor each). The host never waits.

    If the inner product is not negative, the coefficient is 0 and the gradients do not change by a bit. The square in the
    denominator is kept above the smallest normal number. A reference of zero therefore changes nothing. A reference too small
    to be squared (below 1e-19 in float32) removes at most |g|, by the inequality of Cauchy and Schwarz.
    """
    edited, against = list(gradients.values()), [reference[name] for name in gradients]
    g, r = (torch.cat([part.flatten() for part in parts]) for parts in (edited, against))
    coefficient = torch.dot(g, r).clamp(max=0) / torch.dot(r, r).clamp(min=torch.finfo(r.dtype).tiny)
    torch._foreach_sub_(edited, torch._foreach_mul(against, coefficient))


def store(memory: Memory, task: Task) -> None:
    """Offer `memory` its equal share of `task`: random training samples, drawn without replacement."""
    rows = task.train.rows
    share = memory.size // len(memory.learner.stream)
    chosen = torch.randperm(len(rows), generator=memory.generator())[:share]
    memory.offer(rows[chosen.to(rows.device)], task.index)
