"""Unlearning by task arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field

from clbench.engine.learner.learner import Learner
from clbench.method import Train
from clbench.methods.unlearning import Unlearner, check_requests
from clbench.stream import Stream, Task


@dataclass
class TaskVector(Unlearner):
    """Train on the data to forget, and move the weights in the opposite direction (Ilharco et al., ICLR 2023, section 3).

    With w before and w' after training on the request, the model becomes w - scale (w' - w). Running statistics do not change.

    Args:
        scale: lambda; 0 does not change the model.
    """

    scale: Annotated[float, Field(ge=0)]

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Check the requests (`check_requests`)."""
        check_requests(learner, stream)

    def forget(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Train, and negate."""
        before = {name: value.detach().clone() for name, value in learner.model.state_dict().items()}
        train(task.train, self.epochs)
        with torch.no_grad():
            for name, parameter in learner.parameters.items():
                before[name] -= self.scale * (parameter.detach() - before[name])
        learner.model.load_state_dict(before)
