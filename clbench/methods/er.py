"""Experience replay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from clbench.engine.learner.learner import Batch, Learner
from clbench.engine.replay.memory import Policy
from clbench.method import Method, Trait
from clbench.stream import Stream

Positive = Annotated[int, Field(ge=1)]


@dataclass
class ER(Method):
    """Experience replay with a reservoir (Chaudhry et al., 'On tiny episodic memories', 2019, algorithm 1).

    Each step trains on the current batch and an equally large draw from memory, in one loss. A sample is offered to the
    reservoir only in the first pass over its task. Every sample seen is then stored with the same probability.

    Args:
        buffer_size: samples in memory.
        replay_batch: samples that are drawn per step and join the batch; None: as many as the batch has.
        policy: which samples stay in memory (`clbench.engine.replay.memory`).
    """

    buffer_size: Positive
    replay_batch: Positive | None
    policy: Policy
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.REPLAYS})
    supports_generation = True

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Make the memory."""
        self.memory = learner.memory(self.buffer_size, self.policy)

    def extend_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Join a draw from memory, then offer the batch's own samples."""
        drawn = self.memory.sample(self.replay_batch or len(batch))
        joined = learner.join(batch, drawn) if len(drawn) else batch
        if batch.epoch == 0:
            self.memory.add(batch)
        return joined
