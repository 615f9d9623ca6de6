"""Layers that normalise by the statistics of their batch, and so cannot take a single sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

ERRORS = (ValueError, RuntimeError, TypeError, IndexError)
"""What a layer may raise for one sample: torch's norms a ValueError, a network of the user's something else."""


@dataclass(frozen=True)
class Fault:
    """Why a model cannot take a single sample.

    Args:
        layer: name and type of the layer that fails.
        always: True if the layer fails for two samples, too (InstanceNorm on maps of one pixel).
        reason: the layer's own message.
    """

    layer: str
    always: bool
    reason: str


def single_sample_fault(
    backbone: nn.Module, shape: tuple[int, ...], device: torch.device, mode: Callable[[], Any]
) -> Fault | None:
    """Return why `backbone` cannot take one sample; None: it can. Found by a pass of zeros; the model stays as it is.

    Args:
        backbone: maps `[B, *shape]` to features `[B, d]`.
        shape: of one sample.
        device: of the backbone.
        mode: puts the model into the mode of the passes, training or evaluation.
    """
    modes = {part: part.training for part in backbone.modules()}
    entered: list[str] = []
    handles = []
    for name, part in backbone.named_modules():
        label = f"{'backbone.' * bool(name)}{name or 'backbone'} ({type(part).__name__})"
        handles.append(part.register_forward_pre_hook(lambda *_, label=label: entered.append(label)))
        handles.append(part.register_forward_hook(lambda *_: entered.pop() and None))
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            mode()
            reason = _fails(backbone, torch.zeros(1, *shape, device=device))
            if reason is None:
                return None
            layer = entered[-1] if entered else f"backbone ({type(backbone).__name__})"
            return Fault(layer, _fails(backbone, torch.zeros(2, *shape, device=device)) is not None, reason)
    finally:
        for handle in handles:
            handle.remove()
        for part, training in modes.items():
            part.training = training


def _fails(backbone: nn.Module, x: Tensor) -> str | None:
    """Return the error of a pass of `x` `[B, ...]`, None if the result has a row for every sample."""
    copies = {name: buffer.clone() for name, buffer in backbone.named_buffers()}  # a step in progress needs those of the model
    try:
        found = torch.func.functional_call(backbone, copies, (x,))
    except torch.OutOfMemoryError:
        raise
    except ERRORS as error:
        return " ".join(str(error).split())[:200]
    return (
        None if isinstance(found, Tensor) and found.dim() == 2 and len(found) == len(x) else "its result loses the batch's axis"
    )
