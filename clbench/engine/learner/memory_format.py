"""The memory format of convolutions: channels last where fast and safe."""

from __future__ import annotations

import torch
from torch import nn

VECTOR = 8
"""Single-precision numbers in an AVX2 register."""


def memory_format(model: nn.Module, device: torch.device) -> torch.memory_format | None:
    """Return the memory format for `model` on `device`; None for a model without convolutions.

    Channels last makes convolutions about a quarter faster, on a CPU too. One case is not safe on a CPU with AVX2 and without
    AVX-512: the weight gradient of a 1x1 convolution with a stride and 2 to 7 input channels (less than an AVX2 register).
    oneDNN (seen with torch 2.14.1) then writes outside its buffer. The process crashes, hangs, or continues with wrong numbers.
    Other kernel sizes, stride 1, groups, 1 or at least 8 input channels, and contiguous tensors are right
    (`tests/engine/learner/test_memory_format.py` tries them). A model with such a layer stays contiguous on every CPU: the
    processor may change the rounding of a run, and nothing else.
    """
    if not any(isinstance(part, nn.Conv2d) for part in model.modules()):
        return None
    return torch.contiguous_format if device.type == "cpu" and has_narrow_layer(model) else torch.channels_last


def has_narrow_layer(model: nn.Module) -> bool:
    """Return whether `model` has a layer whose weight gradient is not safe in channels last on a CPU.

    A 4-D parameter outside `nn.Conv2d` counts if it could be such a layer's weight, because its use is unknown.
    """
    known = {id(part.weight): part for part in model.modules() if isinstance(part, nn.Conv2d)}
    for parameter in model.parameters():
        if parameter.dim() != 4 or tuple(parameter.shape[2:]) != (1, 1) or not 1 < parameter.shape[1] < VECTOR:
            continue
        layer = known.get(id(parameter))
        if layer is None or (layer.groups == 1 and max(layer.stride) > 1):
            return True
    return False
