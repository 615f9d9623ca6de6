"""Orthogonal weights modification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench import subspace
from clbench.engine.learner.learner import Learner
from clbench.errors import RefusedError
from clbench.method import Method, Trait
from clbench.methods.gpm import Count, per_layer
from clbench.stream import Stream, Task
from clbench.toolkit import weight_matrices
from clbench.toolkit.subspace_report import SubspaceReport

Positive = Annotated[float, Field(gt=0)]

CHUNK = 256
"""Samples whose inputs are in memory at one time with `inputs=all` (affects speed and memory only)."""


@dataclass
class OWM(Method):
    """Orthogonal weights modification (Zeng et al., Nature Machine Intelligence 2019): a step dW of a layer becomes dW P.

    P starts as the identity. Recursive least squares adds an input x by P <- P - P x x^T P / (alpha + x^T P x). Over all inputs
    so far, in any order and any blocks, this gives P = alpha (alpha I + S)^-1 with S = sum x x^T. In a direction with energy s,
    the step keeps the share alpha / (alpha + s). S is stored, `[d, d]` per layer in double precision. Steps are projected along
    its eigenvectors. A constant 1 appended to the inputs covers biases.

    During a task, P is fixed and comes from earlier tasks. The task's inputs are added at its end. The authors' programs
    (beijixiong3510/OWM) update P with every training batch, also in the first task, and multiply with it at once. That slows
    the current task itself, and protects inputs of layers whose predecessors have changed since. Here the inputs come from the
    final weights in evaluation mode, because their outputs are to be kept. The programs multiply the gradient. Here the applied
    step is multiplied, so that momentum, Adam and weight decay are covered too. Heads of the task setting are not
    projected: they are frozen after their task (the programs have a single head).

    Args:
        alpha: energy at which half of a direction is removed; one number for all layers, or one per layer in the model's order.
            Some programs lower it within a task, which gives later batches more weight.
        inputs: the meaning of x. `all`: each input of a layer. `means`: the mean over a batch, for each position (the programs).
            A mean keeps only 1 / `batch` of the energy of the differences between samples; mainly the mean itself is protected.
        batch: samples in a mean.
        energy: of a task's inputs: their `mean`, so that one alpha fits tasks of any size, or their `sum` (paper, programs).
        head: `project` or `free`: project the steps of a shared head or not.
        uncovered: parameters that no layer's P covers (of normalisation layers, positions), from the second task on: `freeze` or
            `train`.
        statistics: running statistics of normalisation layers from the second task on: `freeze` or `track`.
    """

    alpha: Positive | list[Positive]
    inputs: Literal["all", "means"]
    batch: Count
    energy: Literal["mean", "sum"]
    head: Literal["project", "free"]
    uncovered: Literal["freeze", "train"]
    statistics: Literal["freeze", "track"]
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.ANCHORS_LAYERS, Trait.NEEDS_FIRST_TASK})

    def setup(self, learner: Learner, stream: Stream) -> None:
        """List the matrices; S is empty."""
        self.moments: dict[str, Tensor] = {}
        self._matrices = weight_matrices.matrices(learner, self.head == "project")
        self._alpha = per_layer("method.alpha", self.alpha, self._matrices)

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Make P of each layer; freeze the parameters that it cannot cover."""
        self._report, self._projectors, self._held = SubspaceReport({}), {}, {}
        for name, moment in self.moments.items():
            vectors, energies = spectrum(moment)
            shares = energies / (self._alpha[name] + energies)
            basis, removed = (part.to(learner.parameters[name].dtype) for part in (vectors, shares))
            self._projectors[name] = subspace.remove(basis, self._matrices[name].bias is not None, removed)
            self._held[name] = float(shares.sum())
        weight_matrices.hold(learner, self._matrices, self.uncovered, self.statistics)

    def edit_update(self, learner: Learner, updates: dict[str, Tensor]) -> None:
        """Multiply every layer's step by its P."""
        with self._report.watch(self._matrices, self._projectors, updates):
            weight_matrices.project(updates, self._matrices, self._projectors)

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Add each layer's inputs on the task's training data to S."""
        order = torch.randperm(len(task.train), generator=learner.generator("owm", task.index)).to(learner.device)
        sums: dict[str, Tensor] = {}
        counts = dict.fromkeys(self._matrices, 0)
        for part in learner.chunks(order, self.batch if self.inputs == "means" else CHUNK):
            for name, rows in weight_matrices.entering(learner, task.train, part, self._matrices):
                x = (rows if self.inputs == "all" else self._means(name, rows, len(part))).double()
                sums[name] = x.mT @ x + sums.get(name, 0.0)
                counts[name] += len(x)
        for name, total in sums.items():
            self.moments[name] = total / (counts[name] if self.energy == "mean" else 1) + self.moments.get(name, 0.0)

    def _means(self, name: str, rows: Tensor, samples: int) -> Tensor:
        """Return the mean over the batch of the inputs `[n, d]`, for each position in a sample `[n / samples, d]`."""
        if self._matrices[name].kind.transposed or len(rows) % samples:
            raise RefusedError(f"the inputs of {name} do not come sample by sample", "give method.inputs=all")
        return rows.reshape(samples, -1, rows.shape[1]).mean(0)

    def diagnostics(self) -> dict[str, Any]:
        """Return for each matrix: protected directions (as a fraction: d - trace P), all, added, and the step's removed share."""
        found = self._report.report(self.moments)
        for name, moment in self.moments.items():
            energies = subspace.eigvalsh(moment).clamp(min=0)
            taken = float((energies / (self._alpha[name] + energies)).sum())
            found[name] |= {"taken": taken, "added": taken - self._held.get(name, 0.0)}
        return found


def spectrum(moment: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvectors `[d, k]` of `moment` with energies above rounding, and these `[k]`. In other directions P is I."""
    energies, vectors = subspace.eigh(moment)
    real = energies > energies[-1] * torch.finfo(moment.dtype).eps * len(moment)
    return vectors[:, real], energies[real]
