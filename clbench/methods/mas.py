"""Memory aware synapses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from clbench.engine.learner.learner import Batch, Learner
from clbench.method import Method, Trait
from clbench.stream import Stream, Task
from clbench.toolkit.importance import output_sensitivity


@dataclass
class MAS(Method):
    """Memory aware synapses (Aljundi et al., ECCV 2018): loss + strength * sum_i Omega_i (theta_i - theta*_i)^2.

    Omega_i is the mean over a task's samples of |d ||f(x)||_2^2 / d theta_i|, with f the logits (equations 2 and 3). It is summed
    over tasks, with one anchor theta*, the newest weights (equation 4). There is no factor 1/2, as in the authors' program
    (`MAS_to_be_published/MAS_utils/MAS_based_Training.py`: its gradient is 2 * lambda * Omega * (theta - theta*)). The absolute
    value is taken per sample, like in that program with `b1`, batches of one. With its batches of 200, and in Avalanche, it is
    taken of a batch's sum. Avalanche averages old and new Omega instead of adding them. A shared head is anchored like the rest.
    A task's own head gets no step afterwards.

    Args:
        strength: lambda.
        samples: training samples per task for the estimate of Omega; None: all.
    """

    strength: Annotated[float, Field(ge=0)]
    samples: Annotated[int, Field(ge=1)] | None
    stackable = True
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.ANCHORS_TRAINED})

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Start without importance."""
        self.importance: dict[str, Tensor] = {}
        self.anchor: dict[str, Tensor] = {}

    def edit_gradients(self, learner: Learner, batch: Batch) -> None:
        """Add 2 * strength * Omega (theta - theta*)."""
        if not self.importance or self.strength == 0:
            return
        names = [name for name in learner.gradients if name in self.importance]
        parameters = learner.parameters
        pull = torch._foreach_sub([parameters[name] for name in names], [self.anchor[name] for name in names])
        torch._foreach_mul_(pull, [self.importance[name] for name in names])
        torch._foreach_add_([learner.gradients[name] for name in names], pull, alpha=2 * self.strength)

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Add the task's importance. The newest weights become the anchor."""
        draws = learner.generator("mas", task.index)
        for name, value in output_sensitivity(learner, task.train, self.samples, draws).items():
            self.importance[name] = self.importance[name] + value if name in self.importance else value
        self.anchor = {name: learner.parameters[name].detach().clone() for name in self.importance}
