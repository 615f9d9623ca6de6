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
from clbench.method import Method, Trait
from clbench.stream import Stream, Task
from clbench.toolkit import weight_matrices
from clbench.toolkit.step_projection import Projection
from clbench.toolkit.subspace_report import SubspaceReport

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


@dataclass
class GPM(Method):
    """Gradient projection memory (Saha et al., ICLR 2021): later steps are orthogonal to each layer's earlier inputs.

    After each task, the inputs of every layer on a few training samples extend its basis, until the basis holds `threshold` of
    their energy. Later, the step's component in the basis is removed. The authors project the gradient and use plain SGD. Here
    the applied step is projected, so that momentum, Adam and weight decay stay outside the basis too. A constant 1 appended to
    the inputs covers biases. Heads of the task setting are not projected: they are frozen after their task.

    Args:
        threshold: share of energy in the basis, in [0, 1]; one number for all layers, or one per layer in the model's order.
        threshold_step: added to `threshold` after every task.
        samples: training samples for a basis; one number for all layers, or one per layer.
        rows: the most rows per layer in the decomposition, drawn uniformly (convolutions give one row per position).
        source: the span of the new directions. `inputs`: the layer's inputs. `gradients`: the rows of the loss's gradient at the
            samples; these cover only inputs that the loss depends on, with at most as many directions as the layer has outputs.
        stop_short: True: the first task's basis has one direction less, so that it holds just under `threshold`.
        head: `project` or `free`: project the steps of a shared head or not.
        uncovered: parameters that no basis covers (of normalisation layers, positions), from the second task on: `freeze` or
            `train`.
        statistics: running statistics of normalisation layers from the second task on: `freeze` or `track`.
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
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.ANCHORS_LAYERS, Trait.NEEDS_FIRST_TASK})

    def setup(self, learner: Learner, stream: Stream) -> None:
        """List the matrices, and check that lists have a value for each."""
        self.bases: dict[str, Tensor] = {}
        self._matrices = weight_matrices.matrices(learner, self.head == "project")
        self._projection = Projection(learner, self._matrices, {})
        for key in ("threshold", "samples"):
            per_layer(f"method.{key}", getattr(self, key), self._matrices)

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Make the projections of this task; freeze the parameters that they cannot cover."""
        self._report = SubspaceReport(self.bases)
        self._projectors = {
            name: self.projector(name, self._matrices[name].bias is not None)
            for name, basis in self.bases.items()
            if basis.shape[1] > 0
        }
        self._projection.release()
        self._projection = Projection(learner, self._matrices, self._projectors)
        weight_matrices.hold(learner, self._matrices, self.uncovered, self.statistics)

    def projector(self, name: str, bias: bool) -> subspace.Projector:
        """Return the projector that removes the protected part of the step of matrix `name`."""
        return subspace.remove(self.bases[name], bias)

    def edit_update(self, learner: Learner, updates: dict[str, Tensor]) -> None:
        """Remove the component in the basis from every layer's step."""
        with self._report.watch(self._matrices, self._projectors, updates):
            self._projection(updates)
        self._projection.at_inputs = not self._report.due

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Extend each basis by its layer's inputs."""
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
        """Return for each matrix: used, all and added directions, and the removed share of the step."""
        return self._report.report(self.bases)


def per_layer(key: str, value: float | list[float] | list[int], matrices: dict[str, weight_matrices.Matrix]) -> dict[str, Any]:
    """Return `value` for each matrix by name: one number for all, or one for each.

    Raises:
        ConfigError: a list with a wrong number of values.
    """
    if not isinstance(value, list):
        return dict.fromkeys(matrices, value)
    if len(value) != len(matrices):
        raise ConfigError(
            f"{key}={value} has {len(value)} numbers, the model {len(matrices)} layers",
            f"give one number for all, or one for each of {', '.join(matrices)}",
        )
    return dict(zip(matrices, value, strict=True))
