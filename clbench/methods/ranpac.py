"""RanPAC: ridge regression on randomly projected frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from clbench.engine.learner.learner import Learner
from clbench.errors import DivergedError
from clbench.method import Method, Train
from clbench.stream import Stream, Task
from clbench.toolkit.features import active_scores, outputs, walk
from clbench.utils.one_time import long_call

Ridge = Annotated[float, Field(gt=0)]


@dataclass
class RanPAC(Method):
    """Random projections and decorrelated prototypes (McDonnell et al., NeurIPS 2023), without the paper's phase 1.

    h = relu(x W) with W ~ N(0, 1), drawn once. G = sum h h' and Q = sum h y' over all tasks, with y one-hot. The scores are
    h' (G + ridge I)^-1 Q. After each task the ridge is selected again: the candidate with the least squared error on a fifth of
    the current task's training samples, with G and Q of the other four fifths. The test split is not used. This follows the
    authors' program (RanPAC/RanPAC, RanPAC.py: `replace_fc`, `optimise_ridge_parameter`); its sums are in single precision,
    here in double.

    Phase 1 of the paper, an adapter trained on the first task, is out of scope. The features are used unchanged (the paper's
    ablation calls this 'no Phase 1').

    Args:
        projection: M, the width of h; None: no projection and no relu, h = x (the paper's 'no RP').
        ridges: candidates, ascending; a single one is used without selection.
        held_out: share of the current task's training samples for the selection.
    """

    projection: Annotated[int, Field(ge=1)] | None
    ridges: Annotated[list[Ridge], Field(min_length=1)]
    held_out: Annotated[float, Field(gt=0, lt=1)]

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Draw the projection; start with empty sums."""
        width = learner.model.width
        size = (width, self.projection or 0)
        self.random = torch.randn(size, generator=learner.generator("ranpac", "projection")).to(learner.device)
        self.gram, self.moment = self._zeros(learner)
        self.weights, self.ridge, self.counts = self.moment.clone(), 0.0, self.moment.new_zeros(outputs(learner))

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Add the task to the sums, select the ridge, solve."""
        n = len(task.train)
        order = torch.randperm(n, generator=learner.generator("ranpac", task.index)).to(task.train.rows.device)
        cut = int(n * (1 - self.held_out))
        gram, moment = self._sums(learner, task, order[:cut])
        held_gram, held_moment = self._sums(learner, task, order[cut:])
        self.gram += gram + held_gram
        self.moment += moment + held_moment
        candidates = sorted(self.ridges)
        if len(candidates) > 1:
            errors: list[float] = []
            what = f"task {task.index + 1}: ridge regression on {len(gram):,} features"
            with long_call(what, lambda: len(errors), len(candidates), "strengths"):
                for ridge in candidates:
                    errors.append(_squared_error(_solve(gram, moment, ridge), held_gram, held_moment))
            candidates = candidates[errors.index(min(errors)) :]
        for ridge in candidates:  # if rounding makes the selected one too small for the sum of all tasks, take the next larger
            found = _solve(self.gram, self.moment, ridge)
            if found is not None:
                self.weights, self.ridge = found, ridge
                return
        raise DivergedError(f"method.ridges={self.ridges}: the Gram matrix is singular with each", "add larger ridges")

    def predict(self, learner: Learner, inputs: Tensor, task_id: int | None) -> Tensor:
        """Return the linear scores of the projected features."""
        scores = self._project(learner.features(inputs)) @ self.weights
        return active_scores(learner, scores, self.counts > 0, task_id)

    def diagnostics(self) -> dict[str, Any]:
        """Return the last selected ridge."""
        return {"ridge": self.ridge}

    def _project(self, features: Tensor) -> Tensor:
        """Return h `[B, M]`, float64, of features `[B, d]`."""
        return features.double() if self.projection is None else torch.relu(features.float() @ self.random).double()

    def _sums(self, learner: Learner, task: Task, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return sum h h' `[M, M]` and sum h y' `[M, outputs]`."""
        gram, moment = self._zeros(learner)
        for features, one_hot in walk(learner, task.train, positions):
            h = self._project(features)
            gram.addmm_(h.mT, h)
            moment.addmm_(h.mT, one_hot)
            self.counts += one_hot.sum(0)
        return gram, moment

    def _zeros(self, learner: Learner) -> tuple[Tensor, Tensor]:
        m = self.projection or learner.model.width
        gram = torch.zeros(m, m, dtype=torch.float64, device=learner.device)
        return gram, gram.new_zeros(m, outputs(learner))


def _solve(gram: Tensor, moment: Tensor, ridge: float) -> Tensor | None:
    """Return (gram + ridge I)^-1 moment; None if the matrix is not positive definite after rounding."""
    matrix = gram.clone()
    matrix.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return None if int(failed) else torch.cholesky_solve(moment, factor)


def _squared_error(weights: Tensor | None, gram: Tensor, moment: Tensor) -> float:
    """Return sum |h W - y|^2 over the samples behind `gram` and `moment`, up to a constant; infinite without weights."""
    if weights is None:
        return float("inf")
    error = float((weights * (gram @ weights)).sum() - 2 * (weights * moment).sum())
    return error if error == error else float("inf")
