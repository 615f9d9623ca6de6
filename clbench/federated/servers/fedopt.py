"""Server optimisers: the clients' mean movement is the server's step, taken with momentum or with Adam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field

from clbench.engine.learner.learner import Learner
from clbench.federated.messages import Tensors
from clbench.federated.servers.base import Server
from clbench.stream import Stream, Task

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass
class FedAvgM(Server):
    """Federated averaging with server momentum (Hsu et al., 2019, arXiv 1909.06335, section 4.3).

    With d = mean - start, the mean movement of the clients' models:

        v <- momentum * v + d;    start <- start + lr * v

    Momentum 0 and lr 1 give federated averaging. Running statistics of normalisation layers become the clients' mean: no
    gradient moves them.

    Args:
        lr: the server's learning rate.
        momentum: share of the last velocity that stays.
        carry: True: keep the velocity from task to task. False: start every task with velocity 0.
    """

    lr: Positive
    momentum: Share
    carry: bool

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Start with velocity 0."""
        self.velocity: Tensors = {}

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Set the velocity to 0, unless `carry`."""
        if not self.carry:
            self.velocity = {}

    def aggregate(self, learner: Learner, start: Tensors, mean: Tensors) -> Tensors:
        """Return the model after the server's step."""
        moved = dict(mean)
        for name, (old, step) in steps(learner, start, mean).items():
            velocity = _of(self.velocity, name, step).mul_(self.momentum).add_(step)
            moved[name] = (old + self.lr * velocity).to(start[name].dtype)
        return moved


@dataclass
class FedAdam(Server):
    """Adam at the server (Reddi et al., ICLR 2021, arXiv 2003.00295, algorithm 2, FedAdam).

    With d = mean - start, the mean movement of the clients' models, by entry:

        m <- beta1 * m + (1 - beta1) * d
        v <- beta2 * v + (1 - beta2) * d^2
        start <- start + lr * m / (sqrt(v) + tau)

    The moments have no bias correction; Flower's FedAdam has one. Running statistics of normalisation layers become the clients'
    mean: no gradient moves them.

    Args:
        lr: the server's learning rate.
        betas: decay of the two moments.
        tau: degree of adaptivity. A larger value is closer to plain averaging with the rate lr / tau.
        first: first value of the second moment. `tau`: tau^2, the smallest that algorithm 2 allows. `zero`: as in Flower.
        carry: True: keep both moments from task to task. False: start every task without moments.
    """

    lr: Positive
    betas: tuple[Share, Share]
    tau: Positive
    first: Literal["tau", "zero"]
    carry: bool

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Start without moments."""
        self.first_moment: Tensors = {}
        self.second_moment: Tensors = {}

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Delete both moments, unless `carry`."""
        if not self.carry:
            self.first_moment, self.second_moment = {}, {}

    def aggregate(self, learner: Learner, start: Tensors, mean: Tensors) -> Tensors:
        """Return the model after the server's step."""
        beta1, beta2 = self.betas
        moved = dict(mean)
        for name, (old, step) in steps(learner, start, mean).items():
            m = _of(self.first_moment, name, step).mul_(beta1).add_(step, alpha=1 - beta1)
            v = _of(self.second_moment, name, step, self.tau**2 if self.first == "tau" else 0.0)
            v.mul_(beta2).addcmul_(step, step, value=1 - beta2)
            moved[name] = (old + self.lr * m / (v.sqrt() + self.tau)).to(start[name].dtype)
        return moved


def steps(learner: Learner, start: Tensors, mean: Tensors) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return (start, mean - start) in float64 for every parameter among the tensors. Buffers take no steps."""
    names = [name for name in mean if name in learner.parameters]
    old = {name: start[name].to(torch.float64) for name in names}
    return {name: (old[name], mean[name].to(torch.float64) - old[name]) for name in names}


def _of(moments: Tensors, name: str, step: torch.Tensor, first: float = 0.0) -> torch.Tensor:
    """Return the moment of a parameter. It starts at `first` if there is none yet, or if the parameter has grown."""
    if name not in moments or moments[name].shape != step.shape:
        moments[name] = torch.full_like(step, first)
    return moments[name]
