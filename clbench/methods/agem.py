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
    """A-GEM (Chaudhry et al., ICLR 2019, equation 11): a step must not raise the loss on a draw from memory, to first order.

    With g the step's gradient and r the gradient on the draw: if <g, r> < 0, then g <- g - <g, r> / <r, r> r.

    Both gradients are those of the parameters that the step may move. In the task setting the old tasks' heads are not
    among them: what r has there cannot be acted on, and the promise <g, r> >= 0 is about the step that is taken.

    Whom the draw comes from: a ring gives samples of earlier tasks only, as equation 10 has it and as the authors' program
    does (facebookresearch/agem, fc_permute_mnist.py); a reservoir is drawn from as a whole, the current task's samples
    among them (A-GEM-R of Buzzega et al., NeurIPS 2020: aimagelab/mammoth, models/agem_r.py).

    Args:
        buffer_size: samples in memory.
        reference_batch: samples drawn per step.
        fill: `end`: after each task an equal share of random samples of it (aimagelab/mammoth, models/agem.py), in a ring;
            `stream`: the samples as they pass in the first pass over a task.
        policy: of `stream`: ring (the newest samples of each task, as the authors), or reservoir.
    """

    buffer_size: Positive
    reference_batch: Positive
    fill: Fill
    policy: Literal["ring", "reservoir"]
    answers = True

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Make the memory."""
        self.memory = learner.memory(self.buffer_size, "ring" if self.fill == "end" else self.policy, "agem")
        self.earlier = 0

    def edit_gradients(self, learner: Learner, batch: Batch) -> None:
        """Project against the gradient on a draw; then offer the batch's own samples, if that is how memory is filled."""
        reference = self._draw()
        if len(reference):
            project(learner.gradients, learner.gradient(reference))
        if self.fill == "stream" and batch.epoch == 0:
            self.memory.add(batch)

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Store samples of the task, unless they are stored already; from now on it is an earlier one."""
        if self.fill == "end":
            store(self.memory, task)
        self.earlier = len(self.memory)

    def _draw(self) -> Batch:
        """Return the samples that this step is held against."""
        if self.memory.policy == "reservoir":
            return self.memory.sample(self.reference_batch)
        slots = self.memory.slots()[: self.earlier]  # a ring lists its slots task by task
        chosen = torch.randperm(len(slots), generator=self.memory.generator())[: self.reference_batch]
        return self.memory.read(slots[chosen.to(slots.device)], augment=True)


def project(gradients: dict[str, Tensor], reference: dict[str, Tensor]) -> None:
    """Remove from `gradients`, in place, what points against `reference` (name -> tensor each); nothing waits for the host.

    Where the inner product is not negative, the coefficient is 0 and the gradients stay bit for bit as they are. The
    square in the denominator is kept above the smallest normal number: a reference of zero changes nothing, and by the
    inequality of Cauchy and Schwarz one too small to be squared (below 1e-19 in float32) takes away no more than |g|.
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
