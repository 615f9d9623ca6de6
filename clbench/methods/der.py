"""Dark experience replay: DER and DER++."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from clbench.engine.learner.learner import Batch, Learner
from clbench.engine.replay.memory import Policy
from clbench.method import Method
from clbench.stream import Stream

Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]


@dataclass
class DER(Method):
    """Dark experience replay (Buzzega et al., NeurIPS 2020, equations 4 to 6; aimagelab/mammoth, models/der.py, derpp.py).

    Memory keeps samples with the logits they had when they were met. To the loss of the batch are added, on draws from it,
    alpha * mean squared distance of the model's logits from the kept ones (DER), and beta * cross-entropy on a second,
    independent draw (DER++). Each draw passes the model on its own, as in the authors' program: BatchNorm then normalises
    it by itself, and with alpha = beta = 0 nothing is left but the naive run.

    Of a shared head all outputs are compared, as by the authors, also those of classes that are not met yet: held to
    nothing, they would be free to rise on old samples as soon as they come into play (measured on Split-digits in the class
    setting with `outputs=seen`, alpha 0.2: 19 %, naive's accuracy, against 78 %). In the task setting with `outputs=seen` it
    is the sample's own head, which the penalty trains along with the current one. The mean is taken over what is compared.

    Samples are offered in every pass over a task, as in the authors' program, so that memory holds logits from the whole
    time a task was learned (a sample may be held twice, with different ones). Offered in the first pass only, as `er` does
    with labels, what is kept and held on to for all later passes is what the model said before it had learned the task.

    Args:
        buffer_size: samples in memory.
        replay_batch: samples per draw; None: as many as the batch has.
        alpha: of the distance to the kept logits; 0: no draw for it.
        beta: of the cross-entropy; 0 (DER): no draw for it.
        offer: the passes over a task in which its samples are offered; in a single pass no difference.
        policy: which samples stay in memory (`clbench.engine.replay.memory`).
    """

    buffer_size: Positive
    replay_batch: Positive | None
    alpha: Weight
    beta: Weight
    offer: Literal["every", "first"]
    policy: Policy
    replays: ClassVar[bool] = True

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Make the memory."""
        self.memory = learner.memory(self.buffer_size, self.policy, "der")

    def extend_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Let the step move the heads of all tasks met, since the penalty uses them (task setting)."""
        used = (self.alpha or self.beta) and len(self.memory)
        return learner.with_all_heads(batch) if used else batch

    def penalty(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return the two terms on draws from memory, then offer the batch's own samples with their logits."""
        loss, n = logits.new_zeros(()), self.replay_batch or batch.own
        if self.alpha and len(self.memory):
            slots = self.memory.draw(n)
            drawn = self.memory.read(slots, augment=True)
            now = learner.full_logits(drawn, learner.forward(drawn))
            loss = loss + self.alpha * distance(now, self.memory.kept["logits"].index_select(0, slots))
        if self.beta and len(self.memory):
            drawn = self.memory.sample(n)
            loss = loss + self.beta * F.cross_entropy(learner.forward(drawn), drawn.labels)
        if self.offer == "every" or batch.epoch == 0:
            self.memory.add(batch, logits=learner.full_logits(batch, logits)[: batch.own].detach())
        return loss


def distance(now: Tensor, then: Tensor) -> Tensor:
    """Return the mean squared difference of `now` and `then` (`[B, outputs]`) over the entries that are NaN in neither."""
    unknown = now.isnan() | then.isnan()
    difference = now.masked_fill(unknown, 0) - then.masked_fill(unknown, 0)  # masked before squaring: no NaN in the gradient
    return difference.square().sum() / (~unknown).sum()
