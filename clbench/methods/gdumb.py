"""GDumb: keep a balanced sample of the stream, learn from it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from clbench.engine.learner.learner import Learner
from clbench.method import Method, Train
from clbench.stream import Stream, Task


@dataclass
class GDumb(Method):
    """GDumb (Prabhu et al., ECCV 2020): a greedy sampler and a dumb learner.

    The stream only fills a memory with as many samples of every class as fit (algorithm 1); before each evaluation a
    model is trained from its initial weights on what the memory holds (algorithm 2), as the trainer says. Its own
    learning rates and CutMix are settings of the trainer there, not of the method. In the task setting the mask of the
    paper is the loss within each sample's own head.

    Args:
        buffer_size: samples in memory.
    """

    buffer_size: Annotated[int, Field(ge=1)]
    replays: ClassVar[bool] = True
    resets: ClassVar[bool] = True

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Make the memory."""
        self.memory = learner.memory(self.buffer_size, "balanced", "gdumb")

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Offer the task's samples in random order, then learn anew from the memory (the optimiser is new at each task)."""
        order = torch.randperm(len(task.train), generator=learner.generator("gdumb", "order", task.index))
        self.memory.offer(task.train.rows[order.to(task.train.rows.device)], task.index)
        learner.reset_model()
        train(self.memory.split())
