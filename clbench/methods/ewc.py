"""Elastic weight consolidation, offline and online."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench.engine.curvature import Estimator, diagonal_fisher
from clbench.engine.learner import Batch, Learner
from clbench.methods.base import Method
from clbench.stream import Stream, Task


@dataclass
class EWC(Method):
    """Elastic weight consolidation: loss + strength/2 * sum_s sum_i F_s,i (theta_i - theta_s,i)^2.

    Offline (Kirkpatrick et al., PNAS 2017, equation 3): one anchor per task. Its sum over tasks is kept as two
    accumulators, sum_s F_s and sum_s F_s theta_s, so that a step costs the same at any number of tasks.
    Online (Schwarz et al., ICML 2018, section 3.3): F <- decay * F + F_t with a single anchor, the newest weights.
    The gradient of the penalty is added to the loss's own; it is never differentiated by autograd.

    Args:
        strength: lambda; with the factor 1/2 of the paper.
        mode: offline or online.
        decay: gamma of the online form.
        fisher: estimator of the diagonal Fisher information; the best strength depends on it by orders of magnitude.
        fisher_samples: training samples it is estimated from, per task; None: all.
    """

    strength: Annotated[float, Field(ge=0)]
    mode: Literal["offline", "online"]
    decay: Annotated[float, Field(ge=0, le=1)]
    fisher: Estimator
    fisher_samples: Annotated[int, Field(ge=1)] | None
    stackable = True

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Start without anchors."""
        self.importance: dict[str, Tensor] = {}
        self.weighted: dict[str, Tensor] = {}

    def edit_gradients(self, learner: Learner, batch: Batch) -> None:
        """Add strength * (sum_s F_s theta - sum_s F_s theta_s)."""
        if not self.importance or self.strength == 0:
            return
        names = [name for name in learner.gradients if name in self.importance]
        parameters = learner.parameters
        pull = torch._foreach_mul([self.importance[name] for name in names], [parameters[name] for name in names])
        torch._foreach_sub_(pull, [self.weighted[name] for name in names])
        torch._foreach_add_([learner.gradients[name] for name in names], pull, alpha=self.strength)

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Add the task's Fisher information and anchor."""
        draws = learner.generator("ewc", task.index)
        fisher = diagonal_fisher(learner, task.train, self.fisher, self.fisher_samples, draws)
        parameters = learner.parameters
        for name, value in fisher.items():
            anchor = parameters[name].detach()
            if self.mode == "online":
                self.importance[name] = self.decay * self.importance[name] + value if name in self.importance else value
                self.weighted[name] = self.importance[name] * anchor
            else:
                self.importance[name] = self.importance.get(name, torch.zeros_like(value)) + value
                self.weighted[name] = self.weighted.get(name, torch.zeros_like(value)) + value * anchor
