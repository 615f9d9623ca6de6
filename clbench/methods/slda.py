"""Streaming linear discriminant analysis on frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench.engine.learner.learner import Learner
from clbench.errors import DivergedError
from clbench.method import Method, Train
from clbench.stream import Stream, Task
from clbench.toolkit.features import active_scores, outputs, walk


@dataclass
class SLDA(Method):
    """Deep streaming linear discriminant analysis (Hayes & Kanan, CVPR workshops 2020), on a frozen model.

    There is one mean per class and one covariance S for all classes. Class k scores w_k x + b_k with L = ((1 - e) S + e I)^-1,
    w_k = L mu_k, b_k = -mu_k' L mu_k / 2, where e is `shrinkage`.

    Let z be a sample of class k after t earlier samples, c of them of class k. It adds a (z - mu_k)(z - mu_k)' to t S, where mu_k
    is the mean before the update. `exact` has a = c / (c + 1) (Welford, Technometrics 1962). S is then the pooled within-class
    covariance of all samples so far (divided by n), for any order and any batches. `published` has a = t / (t + 1), like the
    paper's update and the authors' program (tyler-hayes/Deep_SLDA, SLDA_Model.py `fit`, where a class without samples has mean
    0; Avalanche does the same). S then overweights early samples of each class, above all the square of the first one, and
    depends on the order. The authors' optional start from a batch with a shrunk covariance (`fit_base`) is left out, because all
    data arrives in the stream.

    Args:
        shrinkage: e.
        covariance: exact or published.
    """

    shrinkage: Annotated[float, Field(gt=0, le=1)]
    covariance: Literal["exact", "published"]

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Start without classes."""
        self.means = torch.zeros(outputs(learner), learner.model.width, dtype=torch.float64, device=learner.device)
        self.counts = self.means.new_zeros(len(self.means))
        self.scatter = self.means.new_zeros(learner.model.width, learner.model.width)
        """n times the covariance."""
        self.weights, self.bias = torch.zeros_like(self.means), torch.zeros_like(self.counts)

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Stream the task's samples through the means and the scatter, then solve for the classifier."""
        for features, one_hot in walk(learner, task.train):
            self.update(features, one_hot)
        covariance = (1 - self.shrinkage) * self.scatter / self.counts.sum()
        covariance.diagonal().add_(self.shrinkage)
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if int(failed):
            raise DivergedError(
                f"method.shrinkage={self.shrinkage}: the shrunk covariance is singular", "give method.shrinkage a larger value"
            )
        self.weights = torch.cholesky_solve(self.means.mT, factor).mT
        self.bias = -(self.means * self.weights).sum(1) / 2

    def update(self, features: Tensor, one_hot: Tensor) -> None:
        """Add samples in their order, as if one by one, but computed at once: float64 `[B, d]`, `[B, outputs]`."""
        before = ((self.counts + one_hot.cumsum(0) - one_hot) * one_hot).sum(1)
        deviations = features.clone()
        for label in one_hot.any(0).nonzero().squeeze(1).tolist():
            own = one_hot[:, label] > 0
            sums = self.counts[label] * self.means[label] + features[own].cumsum(0)
            deviations[own] -= (sums - features[own]) / before[own].clamp(min=1).unsqueeze(1)  # a class without samples: minus 0
            self.means[label] = sums[-1] / (before[own][-1] + 1)
        if self.covariance == "published":
            before = self.counts.sum() + torch.arange(len(features), device=features.device)
        self.scatter += (deviations * (before / (before + 1)).unsqueeze(1)).mT @ deviations
        self.counts += one_hot.sum(0)

    def predict(self, learner: Learner, inputs: Tensor, task_id: int | None) -> Tensor:
        """Return the linear scores, without class priors, like the authors."""
        scores = learner.features(inputs).double() @ self.weights.mT + self.bias
        return active_scores(learner, scores, self.counts > 0, task_id)
