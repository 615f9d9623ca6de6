"""GDumb: store a balanced sample of the stream, and learn only from that sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from clbench.engine.learner.learner import Learner
from clbench.method import Method, Train, Trait
from clbench.stream import Stream, Task


@dataclass
class GDumb(Method):
    """GDumb (Prabhu et al., ECCV 2020): a greedy sampler and a dumb learner.

    The stream only fills a memory, with equally many samples of every class (algorithm 1). Before each evaluation, a model is
    trained from its initial weights on the memory (algorithm 2), with the settings of the trainer. The paper's learning rates
    and CutMix are settings of the trainer, not of the method. In the task setting, the paper's mask is the loss within each
    sample's own head.

    Args:
        buffer_size: samples in memory.
    """

    buffer_size: Annotated[int, Field(ge=1)]
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.REPLAYS, Trait.RESETS})

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Make the memory."""
        self.memory = learner.memory(self.buffer_size, "balanced", "gdumb")

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Offer the task's samples in random order, then train from the initial weights on the memory, with a new optimiser."""
        order = torch.randperm(len(task.train), generator=learner.generator("gdumb", "order", task.index))
        self.memory.offer(task.train.rows[order.to(task.train.rows.device)], task.index)
        learner.reset_model()
        train(self.memory.split())
