"""iCaRL: exemplars chosen by herding, distillation, and classification by the nearest mean of exemplars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from clbench.data.pool import Split
from clbench.data.prefetch import prefetch
from clbench.engine.learner.learner import Batch, Learner
from clbench.errors import ConfigError
from clbench.method import Method, Train, Trait
from clbench.stream import Stream, Task

CHUNK = 1024
"""Samples per forward pass where features are collected (speed and memory)."""


@dataclass
class ICaRL(Method):
    """iCaRL (Rebuffi et al., CVPR 2017, algorithms 1 to 5).

    A task is learned together with the exemplars of earlier classes. The loss is the sigmoid cross-entropy over the outputs of
    all classes seen. Targets are the earlier model's sigmoids for earlier classes, and one-hot for the task's classes
    (algorithm 3). The loss is averaged over samples and outputs, as in the authors' program (srebuffi/iCaRL) and that of Buzzega
    et al. (NeurIPS 2020, `models/icarl.py`). The paper's sum has a gradient larger by the number of outputs. In the task setting
    the outputs of all heads seen are concatenated.

    Each class has an equal share of the memory: buffer_size // (classes seen) exemplars, in the order of herding. When the share
    shrinks, the first ones stay. The prediction is the class with the nearest mean of exemplars, by features of the current
    model; in the task setting, among the classes of the task. A class without exemplars cannot be predicted. In the class
    setting, classes can therefore be predicted from the end of their task on. The untrained model, and a head whose classes have
    no exemplars, predict by their logits.

    Args:
        buffer_size: exemplars of all classes in total.
        normalise: True: features have length 1, and the means of exemplars too (the paper, section 2.1). The mean that herding
            approximates is not normalised (as in the authors' program).
    """

    buffer_size: Annotated[int, Field(ge=1)]
    normalise: bool
    settings: ClassVar[set[str]] = {"task", "class"}
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.REPLAYS})

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Make the memory and the teacher.

        Raises:
            ConfigError: there are more classes than exemplars.
        """
        classes = sum(stream.head_sizes)
        if self.buffer_size < classes:
            raise ConfigError(
                f"method.buffer_size={self.buffer_size} leaves no exemplar for each of {classes} classes",
                f"give method.buffer_size={classes} or more",
            )
        self.memory = learner.memory(self.buffer_size, name="icarl")
        self.earlier = learner.teacher()
        self.means: Tensor | None = None
        """Means of exemplars `[classes seen, d]`; None if the model has moved since."""

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Learn the task's samples and the exemplars as one set."""
        train(self.memory.split(beside=task.train))

    def criterion(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return the sigmoid cross-entropy with soft targets for the earlier classes."""
        self.means = None
        assert batch.joint is not None, "the split of `fit` is mixed, so all heads seen are computed"
        old, met = classes_met(learner, learner.task - 1), classes_met(learner, learner.task)
        targets = F.one_hot(batch.labels, met).to(logits.dtype)
        if self.earlier:
            targets[:, :old] = torch.sigmoid(self.earlier.logits(batch.inputs)[:, :old])
        return F.binary_cross_entropy_with_logits(batch.joint[:, :met], targets)

    @torch.no_grad()
    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Choose exemplars of the new classes, reduce those of earlier ones (algorithms 4 and 5), and store the model."""
        learner.model.eval()
        split = self.memory.split(beside=task.train)
        features, columns = self._features(learner, split)
        old, met = classes_met(learner, task.index - 1), classes_met(learner, task.index)
        share, chosen = self.buffer_size // met, []
        for column in range(met):
            own = torch.nonzero(columns == column).squeeze(1)
            chosen.append(own[:share] if column < old else own[herd(features[own], share)])
        exemplars = split.select(torch.cat(chosen))
        assert isinstance(exemplars.tasks, Tensor)
        self.memory.replace(exemplars.rows, exemplars.tasks)
        self.earlier.take()
        self.means = self._means(learner)

    def predict(self, learner: Learner, inputs: Tensor, task_id: int | None) -> Tensor:
        """Return minus the squared distance to each class's mean of exemplars (algorithm 1); -inf without exemplars."""
        if self.means is None and len(self.memory) > 0:
            self.means = self._means(learner)
        start = 0 if task_id is None else learner.stream.offsets[task_id]
        if self.means is None or start >= len(self.means):
            return learner.logits(inputs, task_id)
        stream = learner.stream
        outputs = stream.active_outputs(learner.task) if task_id is None else stream.head_sizes[task_id]
        means = self.means[start : start + outputs]
        features = self._scaled(learner.features(inputs))
        scores = -torch.cdist(features, means, compute_mode="donot_use_mm_for_euclid_dist").square()
        return F.pad(scores, (0, outputs - len(means)), value=float("-inf"))

    def _means(self, learner: Learner) -> Tensor:
        """Return the mean of each class's exemplars `[classes with exemplars, d]`."""
        features, columns = self._features(learner, self.memory.split())
        assign = F.one_hot(columns).to(features.dtype)
        return self._scaled(assign.mT @ features / assign.sum(0).unsqueeze(1))

    def _features(self, learner: Learner, split: Split) -> tuple[Tensor, Tensor]:
        """Return features `[n, d]` of a mixed split, without augmentation, and its labels as columns of all outputs seen."""
        parts = learner.chunks(torch.arange(len(split), device=split.rows.device), CHUNK)
        features, columns = list[Tensor](), list[Tensor]()
        for part, raw in zip(parts, prefetch(split, parts), strict=True):  # only one part's inputs are on the device at a time
            batch = learner.batch(split, part, raw=raw)
            features.append(self._scaled(learner.features(batch.inputs)))
            columns.append(batch.labels)
        return torch.cat(features), torch.cat(columns)

    def _scaled(self, features: Tensor) -> Tensor:
        return F.normalize(features, dim=1) if self.normalise else features


def classes_met(learner: Learner, task: int) -> int:
    """Return the number of classes of the tasks 0 to `task`. Their columns are the first ones of all outputs."""
    return sum(len(met.classes) for met in learner.stream.tasks[: task + 1])


def herd(features: Tensor, count: int) -> Tensor:
    """Choose samples one by one. Each choice brings the mean of the chosen samples as close as possible to the mean of all.

    Algorithm 4 of Rebuffi et al.: the k-th choice minimises ||mean - (f + sum of earlier choices) / k||. No sample is chosen
    twice.

    Args:
        features: `[n, d]`.
        count: the most samples to choose.

    Returns:
        int64 `[min(count, n)]`, positions in the order of choice.
    """
    features = features.double()
    mean, left = features.mean(0), features.square().sum(1)
    total, chosen = torch.zeros_like(mean), []
    for k in range(1, min(count, len(features)) + 1):
        best = (left - 2 * (features @ (k * mean - total))).argmin(0, keepdim=True)  # k^2 * distance^2 up to a constant
        left.index_fill_(0, best, float("inf"))
        total = total + features.index_select(0, best).squeeze(0)
        chosen.append(best)
    return torch.cat(chosen)
