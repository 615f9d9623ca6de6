"""The layers of an MLP as tensors, for forward passes without a graph.

In small batches a pass through an MLP is mostly the cost of calls. These passes call the operators that the modules would have
called, on the same arguments. Results are equal bit for bit with `runner.products=mkl`; otherwise large products may be another
library's (`utils.cpu_matmul`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from clbench.models.classifier import Classifier
from clbench.models.mlp import MLP
from clbench.utils import cpu_matmul


class Layer(NamedTuple):
    """A linear layer: its name in the model, its weight `[out, d]`, its bias `[out]` or None."""

    name: str
    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class MLPLayers:
    """An MLP: linear layers with ReLU after each, and linear heads.

    Args:
        layers: in their order.
        heads: in theirs.
        hooks: the modules' dictionaries of hooks.
    """

    layers: list[Layer]
    heads: list[Layer]
    hooks: list[Mapping[int, object]]

    @property
    def has_hooks(self) -> bool:
        """True if a module or parameter has a hook: a pass without modules and graph would skip it."""
        if any(self.hooks) or _has_any_global_hook():  # type: ignore[no-untyped-call]
            return True
        every = (*self.layers, *self.heads)
        return any(w._backward_hooks or (b is not None and b._backward_hooks) for _, w, b in every)


def mlp_layers(model: nn.Module) -> MLPLayers | None:
    """Return the layers of an MLP, or None for other models: a subclass may do anything in its forward pass."""
    if type(model) is not Classifier or type(model.backbone) is not MLP or any(model.backbone.dropouts):
        return None
    layers = {f"backbone.layers.{i}": layer for i, layer in enumerate(model.backbone.layers)}
    heads = {f"heads.{i}": head for i, head in enumerate(model.heads)}
    modules = [model, model.backbone, *layers.values(), *heads.values()]
    if any(type(layer) is not nn.Linear for layer in modules[2:]) or any("forward" in vars(each) for each in modules):
        return None
    hooks: list[Mapping[int, object]] = []
    for each in modules:
        hooks += [each._forward_hooks, each._forward_pre_hooks, each._backward_hooks, each._backward_pre_hooks]
    return MLPLayers(_tensors(layers), _tensors(heads), hooks)


def _tensors(layers: Mapping[str, nn.Module]) -> list[Layer]:
    return [Layer(name, layer.get_parameter("weight"), cast("Tensor | None", layer.bias)) for name, layer in layers.items()]


@torch.no_grad()
def features(mlp: MLPLayers, inputs: Tensor) -> Tensor:
    """Return `[B, d]`, the inputs of the heads, for preprocessed inputs."""
    return layer_inputs(mlp, inputs)[-1]


@torch.no_grad()
def logits(mlp: MLPLayers, inputs: Tensor, heads: Sequence[int]) -> Tensor:
    """Return the outputs of `heads` side by side, `[B, outputs]`, for preprocessed inputs."""
    return outputs([mlp.heads[head] for head in heads], features(mlp, inputs))


def layer_inputs(mlp: MLPLayers, inputs: Tensor) -> list[Tensor]:
    """Return the input `[B, d]` of each layer, and last that of the heads."""
    found = [inputs.flatten(1)]
    for _, weight, bias in mlp.layers:
        found.append(cpu_matmul.linear(found[-1], weight, bias).relu_())
    return found


def outputs(heads: Sequence[Layer], features: Tensor) -> Tensor:
    """Return the outputs of `heads` side by side, `[B, outputs]`."""
    found = [cpu_matmul.linear(features, weight, bias) for _, weight, bias in heads]
    return found[0] if len(found) == 1 else torch.cat(found, dim=1)
