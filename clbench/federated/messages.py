"""Messages between server and clients: tensors by name, with their bytes and their sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
"""A message: tensors by name."""
DIVERGED = "it is not finite"
"""The fault of a reply with an infinite or NaN loss or weight."""


@dataclass(frozen=True)
class Reply:
    """A client's reply. It comes from outside: `clbench.federated.reply_checks` checks it.

    Args:
        client: number of the client.
        tensors: tensors that the client sends.
        samples: number of the client's samples of the task, its weight in the mean.
        seen: number of samples that the client trained on, with repetitions.
        loss: mean over the client's steps; None if it did not train.
        answer: answer to the question of the last round (`Server.riding`).
        error: reason why there are no tensors.
        node: name of the machine or process that answered, for messages; empty: this process.
    """

    client: int
    tensors: Tensors = field(default_factory=dict)
    samples: int = 0
    seen: int = 0
    loss: float | None = None
    answer: Tensors = field(default_factory=dict)
    error: str | None = None
    node: str = ""


def size(tensors: Mapping[str, Tensor]) -> int:
    """Return the bytes of a message: the sum over its tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def finite(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether all values are finite. Waits for the device."""
    real = [tensor for tensor in tensors.values() if tensor.is_floating_point()]
    return not real or bool(torch.stack([tensor.isfinite().all() for tensor in real]).all())


class Sum:
    """A weighted sum of messages in double precision, so that their order has almost no effect."""

    def __init__(self) -> None:
        """Start with an empty sum."""
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
