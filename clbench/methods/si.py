"""Synaptic intelligence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench.engine.learner.learner import Batch, Learner
from clbench.method import Method, Trait
from clbench.stream import Stream, Task


@dataclass
class SI(Method):
    """Synaptic intelligence (Zenke et al., ICML 2017): loss + strength * sum_i Omega_i (theta_i - theta*_i)^2.

    During a task, each parameter accumulates its part in the decrease of the loss, omega_i += -g_i * (its step) (equation 3, the
    path integral). At the end, Omega_i += omega_i / (D_i^2 + damping), where D_i is the parameter's total movement in the task
    (equation 5), and theta* becomes the newest weights (equation 4, without a factor 1/2; Avalanche has one). The steps are the
    applied ones, with momentum, preconditioning and weight decay. The gradient of the penalty is added to the loss's gradient
    directly, without autograd.

    Omega may become negative, as in the equations. The authors' program, `pathint/protocols.py`, prevents this.

    Args:
        strength: c.
        damping: xi; bounds Omega if a parameter hardly moved.
        path: the gradient in the path integral. `loss`: that of the loss alone (Zenke et al.). `total`: the one that moved the
            weights, including penalty and clipping (the programs of Buzzega et al., NeurIPS 2020, `models/si.py`, and of
            van de Ven et al., 2022, `models/cl/continual_learner.py`). They differ from the second task on, or with clipping.
    """

    strength: Annotated[float, Field(ge=0)]
    damping: Annotated[float, Field(gt=0)]
    path: Literal["loss", "total"]
    stackable = True
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.ANCHORS_TRAINED, Trait.READ_ONLY_UPDATE})
    supports_generation = True

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Start without importance."""
        self.importance: dict[str, Tensor] = {}
        self.anchor: dict[str, Tensor] = {}
        self.integral: dict[str, Tensor] = {}
        self.slope: dict[str, Tensor] = {}

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Store the weights at the start of the task: the target of the penalty, and the start of the movement."""
        self.anchor = _copy(learner)

    def weights(self) -> dict[str, Tensor]:
        """Return Omega, the weights of the penalty's squares, by parameter name, shaped as the parameter."""
        return self.importance

    def edit_gradients(self, learner: Learner, batch: Batch) -> None:
        """Store the loss's gradient with `path=loss`; add 2 * strength * Omega (theta - theta*)."""
        if self.path == "loss":
            self.slope = {name: gradient.clone() for name, gradient in learner.gradients.items()}
        if not self.importance or self.strength == 0:
            return
        weights = self.weights()
        names = [name for name in learner.gradients if name in weights]
        parameters = learner.parameters
        pull = torch._foreach_sub([parameters[name] for name in names], [self.anchor[name] for name in names])
        torch._foreach_mul_(pull, [weights[name] for name in names])
        torch._foreach_add_([learner.gradients[name] for name in names], pull, alpha=2 * self.strength)

    def edit_update(self, learner: Learner, updates: dict[str, Tensor]) -> None:
        """Add -gradient * step to the path integral. The step itself does not change."""
        # clipping works in place: the learner's gradients are now those that moved the weights
        slopes = self.slope if self.path == "loss" else learner.gradients
        for name, step in updates.items():
            if name not in self.integral:
                self.integral[name] = torch.zeros_like(step)
        names = list(updates)
        integrals, steps = [self.integral[name] for name in names], [updates[name] for name in names]
        torch._foreach_addcmul_(integrals, [slopes[name] for name in names], steps, value=learner.lr)
        self.slope = {}

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Turn the path integral into importance. The newest weights become the anchor."""
        for name, integral in self.integral.items():
            moved = learner.parameters[name].detach() - self.anchor[name]
            gained = integral / (moved.square() + self.damping)
            self.importance[name] = self.importance[name] + gained if name in self.importance else gained
        self.integral, self.anchor = {}, _copy(learner)


@dataclass
class BoundedSI(SI):
    """SI with bounded importance: the penalty uses min(Omega_i, ceiling), while Omega_i itself continues to grow.

    As in Avalanche (`plugins/synaptic_intelligence.py`, `update_ewc_data`, `clip_to`), after Maltoni and Lomonaco
    ("Continuous learning in single-incremental-task scenarios", Neural Networks 2019).

    Args:
        ceiling: the greatest importance of a parameter.
    """

    ceiling: Annotated[float, Field(gt=0)]

    def weights(self) -> dict[str, Tensor]:
        """Return min(Omega, ceiling), by parameter name, shaped as the parameter."""
        return {name: omega.clamp(max=self.ceiling) for name, omega in self.importance.items()}


def _copy(learner: Learner) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in learner.parameters.items()}
