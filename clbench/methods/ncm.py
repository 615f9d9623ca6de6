"""Nearest class mean on frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from clbench.engine.learner.learner import Learner
from clbench.method import Method, Train
from clbench.stream import Stream, Task
from clbench.toolkit.features import active_scores, outputs, walk


@dataclass
class NCM(Method):
    """Nearest class mean (Mensink et al., IEEE TPAMI 2013), on the features of a frozen model.

    With `cosine` it is SimpleCIL (Zhou et al., 'Revisiting class-incremental learning with pre-trained models', IJCV 2024):
    a class's weight is the mean of its features, and the prediction is the class with the smallest angle. There is one pass
    over the data and one sum per class. A class that returns (domain setting) adds to its sum.

    Args:
        metric: `cosine`, or `euclidean` (Mensink et al. without a learned metric).
    """

    metric: Literal["cosine", "euclidean"]

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Start without classes."""
        self.sums = torch.zeros(outputs(learner), learner.model.width, dtype=torch.float64, device=learner.device)
        self.counts = self.sums.new_zeros(len(self.sums))

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Add the task's features to the sums of their classes."""
        for features, one_hot in walk(learner, task.train):
            self.sums += one_hot.mT @ features
            self.counts += one_hot.sum(0)

    def predict(self, learner: Learner, inputs: Tensor, task_id: int | None) -> Tensor:
        """Return the cosine with each class mean, or minus half the squared distance, up to a constant per sample."""
        means = self.sums / self.counts.clamp(min=1).unsqueeze(1)
        features = learner.features(inputs).double()
        if self.metric == "cosine":
            scores = F.normalize(features, dim=1) @ F.normalize(means, dim=1).mT
        else:
            scores = features @ means.mT - means.square().sum(1) / 2
        return active_scores(learner, scores, self.counts > 0, task_id)
