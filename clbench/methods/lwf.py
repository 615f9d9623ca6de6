"""Learning without forgetting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from clbench.engine.learner.learner import Batch, Learner
from clbench.method import Method, Train
from clbench.stream import Stream, Task


@dataclass
class LwF(Method):
    """Learning without forgetting (Li & Hoiem, ECCV 2016): loss + strength * distillation of the model before the task.

    The teacher is the model before the task. On the task's own samples, the old outputs are trained towards the teacher's, by
    KL(teacher || new) of softmaxes at a temperature, averaged over samples. The gradient is that of the paper's cross-entropy
    with soft targets (equation 2). In the task setting, every old task's head has its own softmax, and the terms add up, as in
    the paper. In the class setting, the classes seen before share one softmax; in the domain setting, all outputs do (the
    program of Buzzega et al., NeurIPS 2020, `models/lwf.py`: all old outputs in one). The teacher is computed at every step, on
    augmented samples. Both programs compute it once per task.

    With strength 0 the whole method is off, including `warmup`.

    Args:
        strength: lambda_o of the paper, alpha elsewhere.
        temperature: T, of both softmaxes.
        scaled: True: multiply the term by T^2, so that its gradient does not shrink with T (Hinton et al., 2015, section 2). The
            paper's and Buzzega's programs do not.
        warmup: True: first train only a task's new outputs, everything else frozen, for as long as the task itself (section 3).
            The loss then covers the task's own classes. The domain setting, and models that write answers, have no new outputs.
            With replay, the warm-up offers each sample to the memory once more.
    """

    strength: Annotated[float, Field(ge=0)]
    temperature: Annotated[float, Field(gt=0)]
    scaled: bool
    warmup: bool
    supports_generation = True

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Start without a teacher."""
        self.teacher = learner.teacher()
        self.warming = False

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Warm the new outputs up, if `warmup` says so, and learn the task."""
        if self.warmup and self.teacher and learner.stream.setting != "domain" and learner.stream.vocabulary is None:
            self._warm_up(learner, task, train)
        train(task.train)

    def extend_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Compute the heads of earlier tasks too."""
        return learner.with_all_heads(batch) if self.teacher and not self.warming else batch

    def penalty(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return strength * sum over softmaxes of KL(teacher || new), averaged over the task's own samples."""
        if not self.teacher or self.warming:
            return logits.new_zeros(())
        assert batch.joint is not None
        sizes = self._old(learner)
        earlier = self.teacher.logits(batch.inputs[: batch.own])[:, : sum(sizes)] / self.temperature
        newer = batch.joint[: batch.own_outputs, : sum(sizes)] / self.temperature
        terms = [
            F.kl_div(F.log_softmax(new, dim=1), F.log_softmax(old, dim=1), reduction="batchmean", log_target=True)
            for new, old in zip(torch.split(newer, sizes, dim=1), torch.split(earlier, sizes, dim=1), strict=True)
        ]
        return self.strength * (self.temperature**2 if self.scaled else 1.0) * torch.stack(terms).sum()

    def edit_gradients(self, learner: Learner, batch: Batch) -> None:
        """During the warm-up, replace the gradient by that of the cross-entropy over only the new outputs."""
        if not self.warming:
            return
        head, outputs = self._new(learner)
        labels = batch.labels[: batch.own] - (
            learner.stream.offsets[batch.task] if learner.needs_all_heads(batch) else outputs.start
        )
        learner.model.eval()  # all below the new outputs is frozen: no dropout, learned normalisation
        features = learner.features(batch.inputs[: batch.own])
        names = list(learner.gradients)
        with torch.enable_grad():
            loss = F.cross_entropy(learner.model.heads[head](features)[:, outputs], labels)
            found = torch.autograd.grad(loss, [learner.parameters[name] for name in names])
        learner.train()
        torch._foreach_copy_([learner.gradients[name] for name in names], found)

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Store the model as the next task's teacher."""
        if self.strength > 0:
            self.teacher.take()

    def _warm_up(self, learner: Learner, task: Task, train: Train) -> None:
        """Train only the new outputs. Afterwards, restore everything else; weight decay or normalisation may have changed it."""
        model, (head, outputs) = learner.model, self._new(learner)
        prefix = f"heads.{head}."
        before = {name: value.clone() for name, value in model.state_dict().items()}
        frozen = [p for name, p in model.named_parameters() if p.requires_grad and not name.startswith(prefix)]
        for parameter in frozen:
            parameter.requires_grad_(False)
        learner.rebuild()
        self.warming = True
        train(task.train)
        self.warming = False
        for parameter in frozen:
            parameter.requires_grad_(True)
        for name, value in model.state_dict().items():
            if name.startswith(prefix):
                before[name][outputs] = value[outputs]
        model.load_state_dict(before)
        learner.rebuild()

    def _old(self, learner: Learner) -> list[int]:
        """Return the sizes of the softmaxes to distil, in the order of their columns."""
        stream = learner.stream
        if stream.setting == "class" and stream.vocabulary is None:
            return [stream.classes_met[self.teacher.task]]
        return list(stream.head_sizes[: self.teacher.task + 1 if stream.own_heads else 1])

    def _new(self, learner: Learner) -> tuple[int, slice]:
        """Return the head, and its columns, that belong only to the current task."""
        count = len(learner.stream.tasks[learner.task].classes)
        if learner.stream.own_heads:
            return learner.task, slice(0, count)
        (old,) = self._old(learner)
        return 0, slice(old, old + count)
