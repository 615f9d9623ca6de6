"""What travels between a server and its clients: sets of tensors by name; their bytes, their sums, their faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
"""A message: tensors by name."""
DIVERGED = "it is not finite"
"""What is wrong with a reply whose loss or weights have grown beyond all bounds."""


@dataclass(frozen=True)
class Reply:
    """What a client answers.

    Args:
        client: who.
        tensors: what it sends up.
        samples: how many it owns of the task: its weight.
        seen: how many it trained on, repetitions included.
        loss: mean over its steps; None where it did not train.
        answer: to the question that rides along with the last round (`Server.riding`).
        error: why there is nothing.
    """

    client: int
    tensors: Tensors = field(default_factory=dict)
    samples: int = 0
    seen: int = 0
    loss: float | None = None
    answer: Tensors = field(default_factory=dict)
    error: str | None = None


def size(tensors: Mapping[str, Tensor]) -> int:
    """Return the bytes of a message: those of its tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def fault(reply: Reply, wanted: Mapping[str, Tensor]) -> str | None:
    """Return what is wrong with a reply, None if nothing is; waits for the device.

    Args:
        reply: from a client, who may be broken.
        wanted: tensors of the names, shapes and kinds that the reply should have.
    """
    if reply.error is not None:
        return reply.error
    names = reply.tensors.keys()
    if names != wanted.keys():
        missing, more = sorted(wanted.keys() - names), sorted(names - wanted.keys())
        return f"it lacks {', '.join(missing)}" if missing else f"it holds {', '.join(more)}, which nobody asked for"
    for name, tensor in reply.tensors.items():
        if tensor.shape != wanted[name].shape:
            return f"{name} has the shape {list(tensor.shape)}, not {list(wanted[name].shape)}"
        if tensor.is_floating_point() != wanted[name].is_floating_point():
            return f"{name} is {tensor.dtype}, not {wanted[name].dtype}"
    if reply.samples < 1:
        return f"it says that {reply.samples} samples are behind it"
    return None if finite(reply.tensors) else DIVERGED


def odd(reply: Reply, first: Mapping[str, Tensor] | None) -> str | None:
    """Return what is wrong with an answer whose names and shapes only the other clients' tell: those of the `first`."""
    wanted = reply.tensors if first is None else first
    return fault(reply, wanted) if reply.tensors or reply.error else "it is empty"


def finite(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether all values are; waits for the device."""
    real = [tensor for tensor in tensors.values() if tensor.is_floating_point()]
    return not real or bool(torch.stack([tensor.isfinite().all() for tensor in real]).all())


class Sum:
    """A weighted sum of messages, one after the other, in double precision: their order hardly matters."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.tensors: Tensors = {}
        self.weight = 0.0
        self.count = 0

    def add(self, message: Mapping[str, Tensor], weight: float = 1.0) -> None:
        """Add `weight` times a message."""
        for name, tensor in message.items():
            if name in self.tensors:
                self.tensors[name].add_(tensor, alpha=weight)
            else:
                self.tensors[name] = tensor.to(torch.float64) * weight
        self.weight += weight
        self.count += 1

    def mean(self, like: Mapping[str, Tensor]) -> Tensors:
        """Return the weighted mean, in the precision of `like`."""
        return {name: (total / self.weight).to(like[name].dtype) for name, total in self.tensors.items()}
