"""Elastic weight consolidation, offline and online."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench.engine.learner.learner import Batch, Learner
from clbench.method import Method, Trait
from clbench.stream import Stream, Task
from clbench.toolkit.importance import Estimator, diagonal_fisher, refuse


@dataclass
class EWC(Method):
    """Elastic weight consolidation: loss + strength/2 * sum_s sum_i F_s,i (theta_i - theta_s,i)^2.

    Offline (Kirkpatrick et al., PNAS 2017, equation 3): one anchor per task. The sum over tasks is stored as two accumulators,
    sum_s F_s and sum_s F_s (theta' - theta_s), at the newest weights theta'. A step therefore costs the same for any number of
    tasks. The reference point is theta' because the difference of sum_s F_s theta and sum_s F_s theta_s would be rounding noise
    near the anchors. A large strength makes that noise larger than the loss's gradient.
    Online (Schwarz et al., ICML 2018, section 3.3): F <- decay * F + F_t with a single anchor, the newest weights.
    The gradient of the penalty is added to the loss's gradient directly, without autograd.

    Args:
        strength: lambda; with the factor 1/2 of the paper.
        mode: offline or online.
        decay: gamma of the online form.
        fisher: estimator of the diagonal Fisher information. The best strength depends on it by orders of magnitude.
        fisher_samples: training samples per task for the estimate; None: all.
    """

    strength: Annotated[float, Field(ge=0)]
    mode: Literal["offline", "online"]
    decay: Annotated[float, Field(ge=0, le=1)]
    fisher: Estimator
    fisher_samples: Annotated[int, Field(ge=1)] | None
    stackable = True
    supports_generation = True
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.ANCHORS_TRAINED})

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Start without anchors.

        Raises:
            RefusedError: the exact Fisher information of a model that writes answers.
        """
        refuse(self.fisher, stream)
        self.importance: dict[str, Tensor] = {}
        self.anchor: dict[str, Tensor] = {}
        self.slope: dict[str, Tensor] = {}

    def edit_gradients(self, learner: Learner, batch: Batch) -> None:
        """Add strength * (sum_s F_s (theta - theta') + sum_s F_s (theta' - theta_s))."""
        if not self.importance or self.strength == 0:
            return
        names = [name for name in learner.gradients if name in self.importance]
        parameters = learner.parameters
        pull = torch._foreach_sub([parameters[name] for name in names], [self.anchor[name] for name in names])
        torch._foreach_mul_(pull, [self.importance[name] for name in names])
        torch._foreach_add_(pull, [self.slope[name] for name in names])
        torch._foreach_add_([learner.gradients[name] for name in names], pull, alpha=self.strength)

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Add the task's Fisher information. The newest weights become the reference point."""
        draws = learner.generator("ewc", task.index)
        fisher = diagonal_fisher(learner, task.train, self.fisher, self.fisher_samples, draws)
        for name, value in fisher.items():
            newest = learner.parameters[name].detach().clone()
            if name not in self.importance:
                self.importance[name], self.slope[name] = value, torch.zeros_like(value)
            elif self.mode == "online":
                self.importance[name] = self.decay * self.importance[name] + value
            else:
                self.slope[name] = self.slope[name] + self.importance[name] * (newest - self.anchor[name])
                self.importance[name] = self.importance[name] + value
            self.anchor[name] = newest
