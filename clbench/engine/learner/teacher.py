"""A frozen copy of an earlier model: the teacher of distillation."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from clbench.engine.fast import mlp_layers
from clbench.engine.learner.weights import Weights
from clbench.models.classifier import Classifier


class Teacher:
    """The model as it was when `take` was called, in evaluation mode; it counts as state of its method."""

    def __init__(self, learner: Weights) -> None:
        """Start without a model; made in a method's `setup`, so that a resumed run can restore it."""
        self.learner = learner
        self.model: Classifier | None = None
        self._mlp: mlp_layers.MLPLayers | None = None
        self.task = -1

    def __bool__(self) -> bool:
        return self.model is not None

    def take(self) -> None:
        """Copy the learner's model as it is, at the end of its current task."""
        self._copy()
        self.task = self.learner.task

    def _copy(self) -> Classifier:
        self.model = copy.deepcopy(self.learner.model).requires_grad_(False).eval()
        self._mlp = mlp_layers.mlp_layers(self.model)
        return self.model

    def logits(self, inputs: Tensor) -> Tensor:
        """Return the earlier model's logits for preprocessed inputs: `[B, outputs active then]`.

        In the task setting the heads of all tasks learned by then lie side by side.
        """
        model, stream = self._taken(), self.learner.stream
        if self._mlp is not None and not self._mlp.has_hooks and self.learner.full_precision:
            raw = mlp_layers.logits(self._mlp, inputs, range(self.task + 1 if stream.own_heads else 1))
            return raw if stream.own_heads else raw[:, : stream.active_outputs(self.task)]
        with torch.no_grad():
            if not stream.own_heads:
                logits: Tensor = model(inputs, 0, stream.active_outputs(self.task))
                return logits
            features = model.features(inputs)
            return torch.cat([head(features) for head in model.heads[: self.task + 1]], dim=1)

    def features(self, inputs: Tensor) -> Tensor:
        """Return the earlier model's features `[B, d]`."""
        with torch.no_grad():
            return self._taken().features(inputs)

    def _taken(self) -> Classifier:
        if self.model is None:
            raise ValueError("there is no earlier model yet; ask `if teacher` first")
        return self.model

    def state(self) -> dict[str, Any]:
        """Return the weights and the task, or nothing."""
        return {} if self.model is None else {"task": self.task, "weights": dict(self.model.state_dict())}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        if state:
            self._copy().load_state_dict(state["weights"])
            self.task = state["task"]
