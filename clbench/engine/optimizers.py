"""Optimisers that hand out the direction of their step before it is applied, so that a method can edit it.

`torch.optim` applies the step itself, and a difference of weights before and after would differ from the step in the
last bits. These give the direction `d`; the engine applies `parameter -= lr * d` in one multi-tensor call. They agree
with `torch.optim` (tests compare every option).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import torch
from pydantic import Field
from torch import Tensor

Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]


class Optimizer(Protocol):
    """The interface of an optimiser to the engine."""

    lr: Rate
    carry: bool

    @property
    def plain(self) -> bool:
        """True if the directions are the gradients themselves."""

    def reset(self) -> None:
        """Forget all moments; called before every task, unless they are to `carry` over."""

    def directions(self, names: Sequence[str], parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Return one direction per parameter, moments, preconditioning and weight decay included (read-only)."""

    def state(self) -> dict[str, Any]:
        """Return the moments, as one tree of tensors and plain values."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""


@dataclass
class SGD:
    """Stochastic gradient descent, as `torch.optim.SGD`.

    Args:
        lr: learning rate.
        momentum: 0 is the plain gradient.
        weight_decay: L2 coefficient, added to the gradient.
        nesterov: look ahead by one step of momentum.
        carry: whether the velocity goes on from task to task instead of starting anew.
    """

    lr: Rate
    momentum: Share = 0.0
    weight_decay: NonNegative = 0.0
    nesterov: bool = False
    carry: bool = False

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov=true needs momentum > 0")
        self.reset()

    @property
    def plain(self) -> bool:
        """True without momentum and weight decay."""
        return not self.momentum and not self.weight_decay

    def reset(self) -> None:
        """Forget the velocity."""
        self._velocity: dict[str, Tensor] = {}

    def directions(self, names: Sequence[str], parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Return the gradient, or its running sum under momentum; the caller must not change it."""
        steps = gradients
        if self.weight_decay:
            steps = list(torch._foreach_add(steps, parameters, alpha=self.weight_decay))
        if not self.momentum:
            return steps
        for name, gradient in zip(names, steps, strict=True):
            if name in self._velocity and self._velocity[name].shape != gradient.shape:
                del self._velocity[name]  # the parameter was replaced
        fresh = [name not in self._velocity for name in names]
        velocities = [self._velocity.setdefault(n, g.clone()) for n, g in zip(names, steps, strict=True)]
        old = [(v, g) for v, g, new in zip(velocities, steps, fresh, strict=True) if not new]
        if old:
            moving, pushing = [v for v, _ in old], [g for _, g in old]
            torch._foreach_mul_(moving, self.momentum)
            torch._foreach_add_(moving, pushing)
        if self.nesterov:
            return list(torch._foreach_add(steps, velocities, alpha=self.momentum))
        return velocities

    def state(self) -> dict[str, Any]:
        """Return the velocity."""
        return {"velocity": self._velocity}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self._velocity = dict(state["velocity"])


@dataclass
class Adam:
    """Adam, as `torch.optim.Adam`; with `decoupled` as `torch.optim.AdamW`.

    Args:
        lr: learning rate.
        betas: decay of the two moments.
        eps: added to the root of the second moment.
        weight_decay: L2 coefficient; under `decoupled` it acts on the weights beside the preconditioned gradient.
        decoupled: whether weight decay is decoupled (Loshchilov & Hutter, ICLR 2019).
        carry: whether moments and step counts go on from task to task instead of starting anew. Where gradients had become
            small, the first steps of a task are then several times larger, and more is forgotten.
    """

    lr: Rate
    betas: tuple[Share, Share]
    eps: Rate
    weight_decay: NonNegative = 0.0
    decoupled: bool = False
    carry: bool = False

    def __post_init__(self) -> None:
        self.reset()

    @property
    def plain(self) -> bool:
        """False: the gradients are preconditioned."""
        return False

    def reset(self) -> None:
        """Forget both moments and the step counts."""
        self._state: dict[str, tuple[Tensor, Tensor]] = {}
        self._steps: dict[str, int] = {}

    def directions(self, names: Sequence[str], parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Return the bias-corrected first moment over the root of the second, weight decay included."""
        steps = gradients
        if self.weight_decay and not self.decoupled:
            steps = list(torch._foreach_add(steps, parameters, alpha=self.weight_decay))
        for name, gradient in zip(names, steps, strict=True):
            if name not in self._state or self._state[name][0].shape != gradient.shape:
                self._state[name] = (torch.zeros_like(gradient), torch.zeros_like(gradient))
                self._steps[name] = 0
            self._steps[name] += 1
        first = [self._state[name][0] for name in names]
        second = [self._state[name][1] for name in names]
        beta1, beta2 = self.betas
        torch._foreach_lerp_(first, steps, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, steps, steps, 1 - beta2)
        roots = torch._foreach_sqrt(second)
        torch._foreach_div_(roots, [(1 - beta2 ** self._steps[name]) ** 0.5 for name in names])
        torch._foreach_add_(roots, self.eps)
        directions = list(torch._foreach_div(first, roots))
        torch._foreach_div_(directions, [1 - beta1 ** self._steps[name] for name in names])
        if self.weight_decay and self.decoupled:
            torch._foreach_add_(directions, parameters, alpha=self.weight_decay)
        return directions

    def state(self) -> dict[str, Any]:
        """Return both moments and the step counts."""
        return {"moments": {name: list(pair) for name, pair in self._state.items()}, "steps": self._steps}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self._state = {name: (first, second) for name, (first, second) in state["moments"].items()}
        self._steps = dict(state["steps"])


def clip_by_norm(gradients: list[Tensor], limit: float) -> None:
    """Scale all gradients in place so that their joint L2 norm is at most `limit`; no host synchronisation."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))


def clip_each_by_norm(gradients: list[Tensor], limit: float) -> None:
    """Scale stacked gradients `[R, ...]` in place so that each replica's joint L2 norm is at most `limit`."""
    norms = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
    factor = (limit / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))


def clip_by_value(gradients: list[Tensor], limit: float) -> None:
    """Bound every entry in place to the interval from -`limit` to `limit`."""
    torch._foreach_clamp_min_(gradients, -limit)
    torch._foreach_clamp_max_(gradients, limit)


def options(optimizer: Optimizer) -> dict[str, Any]:
    """Return the hyper-parameters of `optimizer` as plain values."""
    return {key: value for key, value in vars(optimizer).items() if not key.startswith("_")}
