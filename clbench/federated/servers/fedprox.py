"""FedProx: a proximal term keeps clients near the server's model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from clbench.engine.learner.learner import Batch, Learner
from clbench.federated.messages import Tensors
from clbench.federated.servers.base import ClientPart, Server

NonNegative = Annotated[float, Field(ge=0)]


@dataclass
class Proximal(ClientPart):
    """The gradient of mu / 2 * ||w - w_0||^2, with w_0 the server's model at the start of the round.

    Args:
        mu: strength.
    """

    mu: NonNegative
    stackable: ClassVar[bool] = True

    def receive(self, learner: Learner, model: Tensors) -> None:
        """Store the server's model. It is not part of the state, because every round sends a new one."""
        self._anchor = model

    def edit_gradients(self, learner: Learner, batch: Batch) -> None:
        """Add mu * (w - w_0) to every gradient."""
        names = list(learner.gradients)
        away = torch._foreach_sub([learner.parameters[name] for name in names], [self._anchor[name] for name in names])
        torch._foreach_add_([learner.gradients[name] for name in names], away, alpha=self.mu)


@dataclass
class FedProx(Server):
    """Federated averaging with a proximal term at the clients (Li et al., MLSys 2020, arXiv 1812.06127, algorithm 2).

    A client minimises its own loss + mu / 2 * ||w - w_0||^2, with w_0 the server's model. Every gradient gets mu * (w - w_0),
    before momentum and preconditioning. The other half of the paper, unfinished work of slow clients, is `federated.stragglers`,
    for every rule. mu = 0 gives federated averaging.

    Args:
        mu: strength of the proximal term.
    """

    mu: NonNegative

    def client_part(self) -> ClientPart | None:
        """Return the proximal term; None if mu is 0."""
        return Proximal(self.mu) if self.mu else None
