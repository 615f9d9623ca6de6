"""ER-ACE: experience replay with an asymmetric cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from clbench.engine.learner.learner import Batch, Learner
from clbench.methods.er import ER


@dataclass
class ERACE(ER):
    """ER-ACE (Caccia et al., ICLR 2022, equation 4): new samples compete with each other only, replayed ones with all classes.

    The loss is the mean cross-entropy of the batch's own samples over the classes present among them, plus the mean
    cross-entropy of the replayed samples over all active outputs. The first samples of new classes therefore do not push the
    representations of old classes away. Only replay balances new classes against old ones.

    Where programs differ, and the choice here:
        the mask of own samples: the classes of the batch, as in the equation and in Avalanche (`ACECriterion`). The authors'
            program (pclucas14/AML, methods/er_ace.py) and Mammoth (models/er_ace.py) also leave outputs above the highest
            class seen unmasked. Such outputs exist only with `outputs=all` or in a task's first steps;
        the first task: masked and replayed like any other, as in the authors' program (task-free). Mammoth by default starts
            both with the second task, Avalanche always does;
        the two means are added, as in the authors' program and Mammoth; Avalanche halves the sum;
        the cosine classifier of the authors' experiments belongs to the model, not to the loss.

    In the domain setting every batch contains every class, the mask is empty, and the method is refused. In the task setting it
    is meant for `outputs=all`: trained as in the class setting, evaluated within the head (Mammoth's task-incremental columns).
    With `outputs=seen` no old class competes with new samples, and only the sum of two means remains.

    Args:
        buffer_size: samples in memory.
        replay_batch: samples that are drawn per step and join the batch; None: as many as the batch has.
        policy: which samples stay in memory (`clbench.engine.replay.memory`).
    """

    settings: ClassVar[frozenset[str]] = frozenset({"task", "class"})

    def criterion(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return the asymmetric cross-entropy."""
        own, replayed = logits[: batch.own], logits[batch.own :]
        labels = batch.labels[: batch.own]
        absent = torch.ones(logits.shape[1], dtype=torch.bool, device=logits.device).index_fill_(0, labels, False)
        loss = F.cross_entropy(own.masked_fill(absent, float("-inf")), labels)
        return loss + F.cross_entropy(replayed, batch.labels[batch.own :]) if len(replayed) else loss
