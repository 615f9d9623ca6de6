"""Training in the null space of feature covariance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench import subspace
from clbench.engine.learner.learner import Learner
from clbench.method import Holds, Method
from clbench.stream import Stream, Task
from clbench.toolkit import weight_matrices
from clbench.toolkit.subspace_report import SubspaceReport

CHUNK = 100
"""Samples whose layer inputs are held at a time (memory only)."""


@dataclass
class AdamNSCL(Method):
    """Adam-NSCL (Wang et al., CVPR 2021): later steps stay where earlier inputs of each layer have next to no energy.

    After each task the second moment of every layer's inputs, over all its training samples, is added to that of the tasks
    before (algorithm 2: a mean weighted by samples, and so up to a factor the sum). From then on a step keeps only its
    component along the eigenvectors whose eigenvalue is at most `ratio` times the smallest one (algorithm 1). It is the
    step that is projected, after Adam's preconditioning, and that of any other optimiser as well.

    From the authors' program differ: it averages the inputs over each batch before squaring (`SVDAgentAvg`; the paper does
    not, and their logs without it end within .1 points), and gathers them with augmentation; eigenvalues below the rounding
    of the inputs count as zero, where theirs leave a few of many null directions (5 of 4608); it holds the
    parameters of BatchNorm by EWC and lets the running statistics drift, where both stand still here unless `uncovered` and
    `statistics` say otherwise (then without EWC); and it has rates of its own for heads and BatchNorm. A bias is covered by
    a constant 1 appended to the inputs (theirs has biases in the heads only).

    Args:
        ratio: a; the larger, the more freedom and the more forgetting.
        normalise: whether the projected step is divided by the Frobenius norm of the projector, the root of the dimension
            that is left: a rate per layer, smaller by a factor of 2 to 60, that the paper does not mention.
        later_rate: factor on projected layers' steps from the second task on (the authors' `svd_lr` over `model_lr`).
        head: whether steps of a shared head are projected (`project`) or not (`free`); task heads never are.
        uncovered: parameters that no layer's inputs cover, from the second task on: `freeze` or `train`.
        statistics: running ones of normalisation layers from the second task on: `freeze` or `track`.
    """

    ratio: Annotated[float, Field(ge=1)]
    normalise: bool
    later_rate: Annotated[float, Field(gt=0)]
    head: Literal["project", "free"]
    uncovered: Literal["freeze", "train"]
    statistics: Literal["freeze", "track"]
    holds: ClassVar[Holds] = "layers"
    leans: ClassVar[bool] = True

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Note the matrices; nothing has been seen."""
        self.moments: dict[str, Tensor] = {}
        self.bases: dict[str, Tensor] = {}
        self._matrices = weight_matrices.matrices(learner, self.head == "project")

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Make the projections of this task; freeze what they cannot cover."""
        self._fullness = SubspaceReport(self.bases)
        self._projectors = {
            name: subspace.remove(basis, self._matrices[name].bias is not None)
            for name, basis in self.bases.items()
            if basis.shape[1] > 0
        }
        self._rates = {name: self.later_rate / self._size(basis) for name, basis in self.bases.items()}
        weight_matrices.hold(learner, self._matrices, self.uncovered, self.statistics)

    def _size(self, basis: Tensor) -> float:
        """Return what the step is divided by; the dimension left is the square of the projector's norm."""
        return float(basis.shape[0] - basis.shape[1]) ** 0.5 if self.normalise else 1.0

    def edit_update(self, learner: Learner, updates: dict[str, Tensor]) -> None:
        """Keep the component in the null space, at the rate of later tasks."""
        with self._fullness.watch(self._matrices, self._projectors, updates):
            weight_matrices.project(updates, self._matrices, self._projectors)
        for name, rate in self._rates.items():
            for key in (self._matrices[name].weight, self._matrices[name].bias):
                if rate != 1 and key in updates:
                    updates[key] = updates[key] * rate

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Add the second moments of the task; hold all directions but those of the null space."""
        sums: dict[str, Tensor] = {}
        for positions in torch.split(torch.arange(len(task.train), device=learner.device), CHUNK):
            for name, rows in weight_matrices.entering(learner, task.train, positions, self._matrices):
                found = rows.double().mT @ rows.double()
                sums[name] = sums[name].add_(found) if name in sums else found
        for name, found in sums.items():
            before = self.moments.get(name)
            self.moments[name] = (found if before is None else found + before).to(learner.parameters[name].dtype)
            self.bases[name] = subspace.complement(subspace.null_space(self.moments[name], self.ratio))

    def diagnostics(self) -> dict[str, Any]:
        """Return for each matrix the directions held, those there are, those added, and the share of the step removed."""
        return self._fullness.report(self.bases)
