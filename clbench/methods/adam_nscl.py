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
from clbench.method import Method, Trait
from clbench.stream import Stream, Task
from clbench.toolkit import weight_matrices
from clbench.toolkit.subspace_report import SubspaceReport

CHUNK = 100
"""Samples whose layer inputs are in memory at one time (affects memory only)."""


@dataclass
class AdamNSCL(Method):
    """Adam-NSCL (Wang et al., CVPR 2021): later steps stay in directions where each layer's earlier inputs have little energy.

    After each task, the second moment of every layer's inputs over all training samples is added to that of earlier tasks
    (algorithm 2: a mean weighted by samples, which is the sum up to a factor). Later steps keep only their component along the
    eigenvectors whose eigenvalue is at most `ratio` times the smallest one (algorithm 1). The step is projected after Adam's
    preconditioning. The same holds for any other optimiser.

    Differences from the authors' program:
        it averages the inputs over each batch before squaring (`SVDAgentAvg`; the paper does not, and their logs without the
            average end within .1 points), and collects them with augmentation;
        here, eigenvalues below the rounding error of the inputs count as zero; theirs leave a few of many null directions
            (5 of 4608);
        it anchors the parameters of BatchNorm by EWC and lets the running statistics drift. Here both are frozen, unless
            `uncovered` and `statistics` say otherwise (then without EWC);
        it has separate rates for heads and BatchNorm;
        here, a constant 1 appended to the inputs covers a bias (theirs has biases in the heads only).

    Args:
        ratio: a. A larger value gives more freedom and more forgetting. The fitting value depends on the stream: inputs with
            constant components (empty pixels) have eigenvalues of zero, and 10 times zero leaves only directions that no task
            uses. If nearly nothing of a task's steps is left, a warning says so.
        normalise: True: divide the projected step by the Frobenius norm of the projector, the square root of the remaining
            dimension. This gives each layer its own rate, smaller by a factor of 2 to 60. The paper does not mention it.
        later_rate: factor on projected layers' steps from the second task on (the authors' `svd_lr` over `model_lr`).
        head: `project` or `free`: project the steps of a shared head or not. Task heads are frozen after their task.
        uncovered: parameters that no layer's inputs cover, from the second task on: `freeze` or `train`.
        statistics: running statistics of normalisation layers from the second task on: `freeze` or `track`.
    """

    ratio: Annotated[float, Field(ge=1)]
    normalise: bool
    later_rate: Annotated[float, Field(gt=0)]
    head: Literal["project", "free"]
    uncovered: Literal["freeze", "train"]
    statistics: Literal["freeze", "track"]
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.ANCHORS_LAYERS, Trait.NEEDS_FIRST_TASK})

    def setup(self, learner: Learner, stream: Stream) -> None:
        """List the matrices; there are no moments yet."""
        self.moments: dict[str, Tensor] = {}
        self.bases: dict[str, Tensor] = {}
        self._matrices = weight_matrices.matrices(learner, self.head == "project")
        self._warned = False

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Make the projections of this task; freeze the parameters that they cannot cover."""
        self._report = SubspaceReport(self.bases)
        self._projectors = {
            name: subspace.remove(basis, self._matrices[name].bias is not None)
            for name, basis in self.bases.items()
            if basis.shape[1] > 0
        }
        self._rates = {name: self.later_rate / self._size(basis) for name, basis in self.bases.items()}
        weight_matrices.hold(learner, self._matrices, self.uncovered, self.statistics)

    def _size(self, basis: Tensor) -> float:
        """Return the divisor of the step. The remaining dimension is the square of the projector's norm."""
        return float(basis.shape[0] - basis.shape[1]) ** 0.5 if self.normalise else 1.0

    def edit_update(self, learner: Learner, updates: dict[str, Tensor]) -> None:
        """Keep the step's component in the null space, at the rate of later tasks."""
        with self._report.watch(self._matrices, self._projectors, updates):
            weight_matrices.project(updates, self._matrices, self._projectors)
        for name, rate in self._rates.items():
            for key in (self._matrices[name].weight, self._matrices[name].bias):
                if rate != 1 and key in updates:
                    updates[key] = updates[key] * rate

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Add the second moments of the task; protect all directions outside the null space.

        If the null space left nothing of this task's steps, a warning says so, once in a run.
        """
        if not self._warned:
            remedy = f"give a larger method.ratio, such as {100 * self.ratio:g}"
            self._warned = self._report.warn_if_nothing_is_left(self.bases, task.index, remedy)
        sums: dict[str, Tensor] = {}
        for positions in learner.chunks(torch.arange(len(task.train), device=learner.device), CHUNK):
            for name, rows in weight_matrices.entering(learner, task.train, positions, self._matrices):
                found = rows.double().mT @ rows.double()
                sums[name] = sums[name].add_(found) if name in sums else found
        for name, found in sums.items():
            before = self.moments.get(name)
            self.moments[name] = (found if before is None else found + before).to(learner.parameters[name].dtype)
            self.bases[name] = subspace.complement(subspace.null_space(self.moments[name], self.ratio))

    def diagnostics(self) -> dict[str, Any]:
        """Return for each matrix: protected, all and added directions, and the removed share of the step."""
        return self._report.report(self.bases)
