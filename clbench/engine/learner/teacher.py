"""A frozen copy of an earlier model: the teacher of distillation."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clbench.engine.fast import mlp_backward as chains

if TYPE_CHECKING:
    from clbench.engine.learner.learner import Learner
    from clbench.models.classifier import Classifier


class Snapshot:
    """The model as it was when `take` was called, in evaluation mode; it counts as state of the method that holds it."""

    def __init__(self, learner: Learner) -> None:
        """Start without a model; made in a method's `setup`, so that a resumed run can restore it."""
        self.learner = learner
        self.model: Classifier | None = None
        self._chain: chains.Chain | None = None
        self.task = -1

    def __bool__(self) -> bool:
        return self.model is not None

    def take(self) -> None:
        """Copy the learner's model as it stands, at the end of its current task."""
        self._keep()
        self.task = self.learner.task

    def _keep(self) -> Classifier:
        self.model = copy.deepcopy(self.learner.model).requires_grad_(False).eval()
        self._chain = chains.chain_of(self.model)
        return self.model

    def logits(self, inputs: Tensor) -> Tensor:
        """Return what the earlier model says of preprocessed inputs: `[B, outputs in play at that time]`.

        In the task setting the heads of all tasks learned by then lie side by side.
        """
        model, stream = self._taken(), self.learner.stream
        if self._chain is not None and self._chain.plain and chains.in_full(self.learner):
            raw = chains.logits(self._chain, inputs, range(self.task + 1 if stream.own_heads else 1))
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
            raise ValueError("there is no earlier model yet; ask `if snapshot` first")
        return self.model

    def state(self) -> dict[str, Any]:
        """Return the weights and the task, or nothing."""
        return {} if self.model is None else {"task": self.task, "weights": dict(self.model.state_dict())}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        if state:
            self._keep().load_state_dict(state["weights"])
            self.task = state["task"]
