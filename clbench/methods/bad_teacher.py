"""Unlearning by distillation from two teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from clbench.data.pool import Split
from clbench.engine.learner.learner import Batch, Learner
from clbench.method import Access, Train
from clbench.methods.unlearning import Unlearner, union
from clbench.stream import Task


@dataclass
class BadTeacher(Unlearner):
    """An incompetent teacher (Chundawat et al., AAAI 2023): KL(teacher || student), with one teacher for each kind of sample.

    The model with its initial weights teaches the data to forget. The model before the request teaches retained data. The loss
    is the mean over samples (in the authors' program, over samples and outputs). An epoch covers all data to forget and a share
    of the retained samples, mixed, as in the authors' program (vikram2000b/bad-teaching-unlearning, `unlearn.py`).

    Args:
        temperature: of both softmaxes.
        retain_share: share of the retained samples that is drawn for a request.
    """

    temperature: Annotated[float, Field(gt=0)]
    retain_share: Annotated[float, Field(gt=0, le=1)]
    access: ClassVar[Access] = "retained"
    supports_generation: ClassVar[bool] = False

    def forget(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Make the two teachers and train."""
        self._good, self._bad = learner.teacher(), learner.teacher()
        self._good.take()
        now = {name: value.clone() for name, value in learner.model.state_dict().items()}
        learner.reset_model()
        self._bad.take()
        learner.restore(now)
        retained = union(learner, history)
        n = max(1, round(self.retain_share * len(retained)))
        drawn = torch.randperm(len(retained), generator=learner.generator("bad_teacher", task.index))[:n]
        part = retained.select(drawn.to(retained.rows.device))
        assert isinstance(part.tasks, torch.Tensor)
        tasks = torch.cat([torch.full_like(task.train.rows, task.index), part.tasks])
        rows, labels = torch.cat([task.train.rows, part.rows]), torch.cat([task.train.labels, part.labels])
        train(Split(part.pool, rows, labels, tasks, part.view), self.epochs)
        del self._good, self._bad

    def criterion(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return the divergence from each sample's own teacher; at a task to learn, the cross-entropy."""
        if learner.stream.tasks[learner.task].kind == "learn":
            return F.cross_entropy(logits, batch.labels)
        assert batch.tasks is not None
        outputs = logits.shape[1]
        bad, good = (teacher.logits(batch.inputs)[:, :outputs] for teacher in (self._bad, self._good))
        teacher = torch.where((batch.tasks == learner.task).unsqueeze(1), bad, good)
        return F.kl_div(
            F.log_softmax(logits / self.temperature, 1),
            F.log_softmax(teacher / self.temperature, 1),
            reduction="batchmean",
            log_target=True,
        )
