"""Dark experience replay: DER and DER++."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from clbench.engine.learner.learner import Batch, Learner
from clbench.engine.replay.memory import Policy
from clbench.method import Method, Trait
from clbench.stream import Stream

Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]


@dataclass
class DER(Method):
    """Dark experience replay (Buzzega et al., NeurIPS 2020, equations 4 to 6; aimagelab/mammoth, models/der.py, derpp.py).

    Memory stores samples with their logits at the time of storage. Two terms on draws from memory are added to the batch's
    loss: alpha * mean squared distance of the model's logits from the stored ones (DER), and beta * cross-entropy on a second,
    independent draw (DER++). Each draw passes through the model separately, as in the authors' program. BatchNorm therefore
    normalises each draw separately, and alpha = beta = 0 gives the naive run. A draw of one sample has no statistics: where the
    model normalises by those of its batch, that draw passes together with the step's batch.

    With a shared head, all outputs are compared, like in the authors' program, even those of classes not seen yet. Without a
    target, those outputs could rise on old samples once they are active (measured on Split-digits in the class setting with
    `outputs=seen`, alpha 0.2: 19 %, naive's accuracy, against 78 %). In the task setting with `outputs=seen`, only the sample's
    own head is compared, and the penalty trains that head as well as the current one. The mean covers the compared entries.

    Samples are offered to memory in every pass over a task, as in the authors' program. Memory then holds logits from the whole
    time of learning the task (a sample may be stored twice, with different logits). `er` offers its samples in the first pass
    only. Here that would store the logits of a model that has not learned the task yet.

    Args:
        buffer_size: samples in memory.
        replay_batch: samples per draw; None: as many as the batch has.
        alpha: weight of the distance to the stored logits; 0: no such draw.
        beta: weight of the cross-entropy; 0 (DER): no such draw.
        offer: the passes over a task in which its samples are offered. No difference with a single pass.
        policy: which samples stay in memory (`clbench.engine.replay.memory`).
    """

    buffer_size: Positive
    replay_batch: Positive | None
    alpha: Weight
    beta: Weight
    offer: Literal["every", "first"]
    policy: Policy
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.REPLAYS})

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Make the memory."""
        self.memory = learner.memory(self.buffer_size, self.policy, "der")

    def extend_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Let the step move the heads of all tasks seen, because the penalty uses them (task setting)."""
        used = (self.alpha or self.beta) and len(self.memory)
        return learner.with_all_heads(batch) if used else batch

    def penalty(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return the two terms on draws from memory, then offer the batch's own samples with their logits."""
        loss, n = logits.new_zeros(()), self.replay_batch or batch.own
        if self.alpha and len(self.memory):
            slots = self.memory.draw(n)
            drawn = self.memory.read(slots, augment=True)
            now = learner.full_logits(drawn, learner.forward_stored(drawn, batch))
            loss = loss + self.alpha * distance(now, self.memory.kept["logits"].index_select(0, slots))
        if self.beta and len(self.memory):
            drawn = self.memory.sample(n)
            loss = loss + self.beta * F.cross_entropy(learner.forward_stored(drawn, batch), drawn.labels)
        if self.offer == "every" or batch.epoch == 0:
            self.memory.add(batch, logits=learner.full_logits(batch, logits)[: batch.own].detach())
        return loss


def distance(now: Tensor, then: Tensor) -> Tensor:
    """Return the mean squared difference of `now` and `then` (`[B, outputs]`) over the entries that are NaN in neither."""
    unknown = now.isnan() | then.isnan()
    difference = now.masked_fill(unknown, 0) - then.masked_fill(unknown, 0)  # masked before squaring: no NaN in the gradient
    return difference.square().sum() / (~unknown).sum()
