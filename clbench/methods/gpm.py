"""Gradient projection memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench import subspace
from clbench.engine.learner.learner import Learner
from clbench.errors import ConfigError
from clbench.method import Holds, Method
from clbench.stream import Stream, Task
from clbench.toolkit import weight_matrices
from clbench.toolkit.step_projection import Projection
from clbench.toolkit.subspace_report import SubspaceReport

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


@dataclass
class GPM(Method):
    """Gradient projection memory (Saha et al., ICLR 2021): later steps are orthogonal to what entered each layer before.

    After each task the inputs of every layer on a few training samples extend its basis until it holds `threshold` of
    their energy; afterwards the component of the step in the basis is removed. The authors project the gradient and use
    plain SGD; here the applied step is projected, so that momentum, Adam and weight decay stay outside the basis too.
    Biases are covered by a constant 1 appended to the inputs. Heads of the task setting are trained in their task only
    and not projected.

    Args:
        threshold: share of energy to hold, in [0, 1]; one number for all layers, or one per layer in the model's order.
        threshold_step: added to it after every task.
        samples: training samples that a basis is made of; one number for all layers, or one per layer.
        rows: at most this many rows per layer enter the decomposition (convolutions give one per position), drawn evenly.
        source: what spans the new directions: `inputs` of the layer, or `gradients`, the rows of the loss's gradient at the
            samples: only inputs that the loss depends on, at most as many directions as the layer has outputs.
        stop_short: whether the first task's basis has one direction less, so that it holds just under `threshold`.
        head: whether steps of a shared head are projected (`project`) or not (`free`).
        uncovered: parameters that no basis covers (of normalisation layers, positions) from the second task on: `freeze`
            or `train`.
        statistics: running ones of normalisation layers from the second task on: `freeze` or `track`.
    """

    threshold: Share | list[Share]
    threshold_step: Annotated[float, Field(ge=0)]
    samples: Count | list[Count]
    rows: Count | None
    source: Literal["inputs", "gradients"]
    stop_short: bool
    head: Literal["project", "free"]
    uncovered: Literal["freeze", "train"]
    statistics: Literal["freeze", "track"]
    holds: ClassVar[Holds] = "layers"
    leans: ClassVar[bool] = True

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Note the matrices and check that lists have a value for each."""
        self.bases: dict[str, Tensor] = {}
        self._matrices = weight_matrices.matrices(learner, self.head == "project")
        self._projection = Projection(learner, self._matrices, {})
        for key in ("threshold", "samples"):
            per_layer(f"method.{key}", getattr(self, key), self._matrices)

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Make the projections of this task; freeze what they cannot cover."""
        self._fullness = SubspaceReport(self.bases)
        self._projectors = {
            name: self.projector(name, self._matrices[name].bias is not None)
            for name, basis in self.bases.items()
            if basis.shape[1] > 0
        }
        self._projection.release()
        self._projection = Projection(learner, self._matrices, self._projectors)
        weight_matrices.hold(learner, self._matrices, self.uncovered, self.statistics)

    def projector(self, name: str, bias: bool) -> subspace.Projector:
        """Return what removes the protected part of the step of matrix `name`."""
        return subspace.remove(self.bases[name], bias)

    def edit_update(self, learner: Learner, updates: dict[str, Tensor]) -> None:
        """Remove from every layer's step its component in the basis."""
        with self._fullness.watch(self._matrices, self._projectors, updates):
            self._projection(updates)
        self._projection.at_inputs = not self._fullness.due

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Extend each basis by what entered its layer."""
        draws = learner.generator("gpm", task.index)
        samples = per_layer("method.samples", self.samples, self._matrices)
        chosen = torch.randperm(len(task.train), generator=draws)[: max(samples.values())].to(learner.device)
        if self.source == "inputs":
            found = weight_matrices.entering(learner, task.train, chosen, self._matrices, samples)
        else:
            found = iter(weight_matrices.gradients(learner, task.train, chosen, self._matrices).items())
        thresholds = per_layer("method.threshold", self.threshold, self._matrices)
        for name, rows in found:
            if self.rows is not None and len(rows) > self.rows:
                rows = rows[torch.randperm(len(rows), generator=draws)[: self.rows].to(rows.device)]
            base = thresholds[name]
            self.absorb(name, rows, min(1.0, base + self.threshold_step * task.index) if base > 0 else 0.0)

    def absorb(self, name: str, rows: Tensor, threshold: float) -> None:
        """Extend the basis of matrix `name` by its inputs `rows` `[n, d]`, up to a share `threshold` of their energy."""
        self.bases[name] = subspace.extend(self.bases.get(name), rows, threshold, self.stop_short and name not in self.bases)

    def diagnostics(self) -> dict[str, Any]:
        """Return for each matrix the directions taken, those there are, those added, and the share of the step removed."""
        return self._fullness.report(self.bases)


def per_layer(key: str, value: float | list[float] | list[int], matrices: dict[str, weight_matrices.Matrix]) -> dict[str, Any]:
    """Return `value` for each matrix by name: the same for all, or one each.

    Raises:
        ConfigError: a list of another length.
    """
    if not isinstance(value, list):
        return dict.fromkeys(matrices, value)
    if len(value) != len(matrices):
        raise ConfigError(
            f"{key}={value} has {len(value)} numbers, the model {len(matrices)} layers",
            f"give one number for all, or one for each of {', '.join(matrices)}",
        )
    return dict(zip(matrices, value, strict=True))
