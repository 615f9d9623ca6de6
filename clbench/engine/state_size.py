"""The size in bytes of the state that a method carries from task to task."""

from __future__ import annotations

from typing import Any

import torch

from clbench.engine.replay.memory import Memory
from clbench.method import Method


def state_bytes(method: Method) -> int:
    """Return the bytes a method carries from task to task: its tensors, and the samples in its memories."""
    return tensor_bytes(method.state()) + sum(memory.bytes for memory in memories(method))


def memories(method: Method) -> list[Memory]:
    """Return the memories among the attributes of a method and its parts."""
    parts = getattr(method, "parts", {})
    return [value for part in (method, *parts.values()) for value in vars(part).values() if isinstance(value, Memory)]


def tensor_bytes(tree: Any) -> int:
    """Return the bytes of all tensors in a tree."""
    if isinstance(tree, torch.Tensor):
        return tree.numel() * tree.element_size()
    if isinstance(tree, dict):
        return sum(tensor_bytes(value) for value in tree.values())
    if isinstance(tree, (list, tuple)):
        return sum(tensor_bytes(value) for value in tree)
    return 0
