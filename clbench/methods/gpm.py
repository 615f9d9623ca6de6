"""Gradient projection memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from clbench import subspace
from clbench.engine.layers import collect_inputs, update_matrix, weight_layers, write_update
from clbench.engine.learner import Learner
from clbench.errors import ConfigError
from clbench.methods.base import Method
from clbench.stream import Stream, Task

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass
class GPM(Method):
    """Gradient projection memory (Saha et al., ICLR 2021): later steps are orthogonal to what entered each layer before.

    After each task the inputs of every layer on a few training samples extend its basis until it holds `threshold` of
    their energy; afterwards the component of the step in the basis is removed. The authors project the gradient and use
    plain SGD; here the applied step is projected, so that momentum, Adam and weight decay stay outside the basis too.
    Biases are covered by a constant 1 appended to the inputs. Heads of the task setting are trained in their task only
    and not projected; a shared head is. One-dimensional parameters of normalisation layers are frozen after task 1.

    Args:
        threshold: share of energy to hold, in [0, 1]; one number for all layers, or one per layer in the model's order.
        threshold_step: added to it after every task.
        samples: training samples whose inputs are collected per task.
        rows: at most this many rows per layer enter the decomposition (convolutions give one per position), drawn evenly.
    """

    threshold: Share | list[Share]
    threshold_step: Annotated[float, Field(ge=0)]
    samples: Annotated[int, Field(ge=1)]
    rows: Annotated[int, Field(ge=1)] | None

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Note the layers and check that a list of thresholds has one number for each."""
        self.bases: dict[str, Tensor] = {}
        names = self._layers(learner)
        if isinstance(self.threshold, list) and len(self.threshold) != len(names):
            found = f"method.threshold={self.threshold} has {len(self.threshold)} numbers"
            raise ConfigError(
                f"{found}, the model {len(names)} layers", f"give one number for all, or one for each of {', '.join(names)}"
            )

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Freeze normalisation layers from the second task on: their parameters have no basis to stay out of."""
        if task.index == 0:
            return
        for module in learner.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad_(False)

    def edit_update(self, learner: Learner, updates: dict[str, Tensor]) -> None:
        """Remove from every layer's step its component in the basis."""
        for name, basis in self.bases.items():
            matrix = update_matrix(updates, name)
            if matrix is not None and basis.shape[1] > 0:
                write_update(updates, name, subspace.project_out(matrix, basis))

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Extend each basis by what entered its layer."""
        names = self._layers(learner)
        draws = learner.generator("gpm", task.index)
        chosen = torch.randperm(len(task.train), generator=draws)[: self.samples].to(learner.device)
        inputs = collect_inputs(learner, task.train, chosen, names)
        layers = weight_layers(learner.model)
        for position, name in enumerate(names):
            layer = layers[name]
            rows = subspace.rows(layer, inputs[name], bias=layer.bias is not None)
            if self.rows is not None and len(rows) > self.rows:
                rows = rows[torch.randperm(len(rows), generator=draws)[: self.rows].to(rows.device)]
            base = self.threshold[position] if isinstance(self.threshold, list) else self.threshold
            goal = min(1.0, base + self.threshold_step * task.index) if base > 0 else 0.0
            self.absorb(name, rows, goal)

    def absorb(self, name: str, rows: Tensor, threshold: float) -> None:
        """Extend the basis of layer `name` by its inputs `rows` `[n, d]`, up to a share `threshold` of their energy."""
        self.bases[name] = subspace.extend(self.bases.get(name), rows, threshold)

    def diagnostics(self) -> dict[str, Any]:
        """Return how many directions of each layer are taken, and how many it has."""
        return {name: {"taken": basis.shape[1], "of": basis.shape[0]} for name, basis in self.bases.items()}

    @staticmethod
    def _layers(learner: Learner) -> list[str]:
        """Return the projected layers: all with weights, but for the heads of the task setting."""
        own_heads = learner.stream.setting == "task"
        return [name for name in weight_layers(learner.model) if not (own_heads and name.startswith("heads."))]
