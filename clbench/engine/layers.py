"""What enters each layer, collected by hooks from any module; and a layer's update as one matrix."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clbench.data.pool import Split
from clbench.engine.learner import Learner


def weight_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers with a weight matrix (linear, convolution), by name, in the model's order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))}


def collect_inputs(learner: Learner, split: Split, positions: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Return what enters each named layer on the samples at `positions`, in evaluation mode, under no gradient.

    Returns:
        name -> inputs `[B, ...]` as the layer got them (the last call, if a layer is used several times).
    """
    found: dict[str, Tensor] = {}
    layers = weight_layers(learner.model)

    def hook(name: str) -> torch.utils.hooks.RemovableHandle:
        def keep(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            found[name] = arguments[0].detach()

        return layers[name].register_forward_pre_hook(keep)

    handles = [hook(name) for name in names]
    learner.model.eval()
    try:
        with torch.no_grad():
            learner.forward(learner.batch(split, positions))
    finally:
        for handle in handles:
            handle.remove()
    return found


def update_matrix(updates: dict[str, Tensor], layer: str) -> Tensor | None:
    """Return the update of a layer as `[out, d]`, or `[out, d + 1]` with the bias as last column; None if it has none."""
    weight = updates.get(f"{layer}.weight")
    if weight is None:
        return None
    bias = updates.get(f"{layer}.bias")
    flat = weight.flatten(1)
    return flat if bias is None else torch.cat([flat, bias.unsqueeze(1)], dim=1)


def write_update(updates: dict[str, Tensor], layer: str, matrix: Tensor) -> None:
    """Put what `update_matrix` returned, changed, back into `updates`."""
    weight, bias = updates[f"{layer}.weight"], updates.get(f"{layer}.bias")
    d = weight.flatten(1).shape[1]
    updates[f"{layer}.weight"] = matrix[:, :d].reshape(weight.shape)
    if bias is not None:
        updates[f"{layer}.bias"] = matrix[:, d].reshape(bias.shape)
