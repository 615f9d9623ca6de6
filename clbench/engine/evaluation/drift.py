"""Drift: how far each layer's weights and activations move during a task, for every method."""

from __future__ import annotations

import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clbench import subspace
from clbench.data.pool import Split
from clbench.engine.learner.learner import Learner

PROBE = 192
"""Maximum number of samples of task 0, evenly spaced, for the activations; bounds time and memory."""
DIRECTIONS = 8
"""Number of leading directions of a layer's activations for the principal angles."""

Layers = dict[str, list[str]]


def layers_of(model: nn.Module) -> Layers:
    """Return {layer: names of its parameters}, in the order of the model.

    A layer is a numbered part (`….layers.3`, with all its modules). Outside of such parts it is a module with direct
    parameters (an embedding, a last norm, a head).
    """
    found: Layers = {}
    for name, _ in model.named_parameters():
        numbered = re.match(r"(.*?\.\d+)(?=\.)", name)
        found.setdefault(numbered.group(1) if numbered else name.rpartition(".")[0], []).append(name)
    return {layer: names for layer, names in found.items() if layer and not layer.startswith("added")}


class Drift:
    """Weights and activations of a model before a task, to compare with those after it."""

    def __init__(self, learner: Learner) -> None:
        """Choose the probe: samples of the first task."""
        split = learner.stream.tasks[0].train
        chosen = torch.linspace(0, len(split) - 1, min(PROBE, len(split)), device=split.rows.device).long()
        self.learner = learner
        self.probe: Split = split.select(chosen)
        self.weights: dict[str, Tensor] = {}
        self.activations: dict[str, Tensor] = {}

    def start(self) -> None:
        """Store the current model's weights and activations; call before a task."""
        self.weights = {name: parameter.detach().clone() for name, parameter in self.learner.model.named_parameters()}
        self.activations = activations(self.learner, self.probe)

    def report(self) -> dict[str, dict[str, float]]:
        """Return for each layer its distance from the values that `start` stored: `weights`, `activations`, `angle`.

        `weights`: ||W - W0|| / ||W0|| over its parameters that existed before. `activations`: 1 - cosine,
        mean over tokens or samples of the probe. `angle`: mean principal angle, in degrees, between the spaces of the
        leading directions of the activations.
        """
        after = activations(self.learner, self.probe)
        now = dict(self.learner.model.named_parameters())
        found: dict[str, dict[str, float]] = {}
        for layer, names in layers_of(self.learner.model).items():
            entry: dict[str, float] = {}
            pairs = [(self.weights[name], now[name].detach()) for name in names if name in self.weights]
            pairs = [(old, new) for old, new in pairs if old.shape == new.shape]
            if pairs:
                entry["weights"] = relative_change(pairs)
            if layer in self.activations and layer in after and self.activations[layer].shape == after[layer].shape:
                entry["activations"] = float(1 - F.cosine_similarity(self.activations[layer], after[layer], dim=1).mean())
                entry["angle"] = principal_angle(self.activations[layer], after[layer], DIRECTIONS)
            found[layer] = entry
        self.weights, self.activations = {}, {}
        return found


def relative_change(pairs: list[tuple[Tensor, Tensor]]) -> float:
    """Return ||new - old|| / ||old|| over all (old, new) tensors; 0 for zeros that stay zeros."""
    moved = sum(float((new.double() - old.double()).square().sum()) for old, new in pairs)
    size = sum(float(old.double().square().sum()) for old, _ in pairs)
    return 0.0 if moved == 0 else float((moved / max(size, 1e-300)) ** 0.5)


def principal_angle(before: Tensor, after: Tensor, rank: int) -> float:
    """Return the mean principal angle, in degrees, between the leading `rank` right singular directions of two `[n, d]`."""
    rank = min(rank, *before.shape)
    first, second = (subspace.svd(each.double())[2][:rank] for each in (before, after))
    # by sine and cosine: an arc cosine alone has no digits near 0
    cosine = subspace.svdvals(first @ second.T).clamp(0, 1)
    sine = subspace.svdvals(second - (second @ first.T) @ first).clamp(0, 1).flip(0)
    return float(torch.rad2deg(torch.atan2(sine, cosine)).mean())


@torch.inference_mode()
def activations(learner: Learner, probe: Split) -> dict[str, Tensor]:
    """Return each layer's activations on the probe, in evaluation mode: `[tokens or samples, d]`, without heads."""
    model, found, hooks = learner.model, dict[str, Tensor](), []
    modules = dict(model.named_modules())

    def keep(layer: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            value = output[0] if isinstance(output, (tuple, list)) else output
            if isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 1:
                rows = value.flatten(1) if value.dim() > 3 else value.reshape(-1, value.shape[-1])
                found[layer] = rows.to(torch.float32)

        return hook

    training = model.training
    model.eval()
    try:
        for layer in layers_of(model):
            if layer in modules and not layer.startswith("heads."):
                hooks.append(modules[layer].register_forward_hook(keep(layer)))
        learner.features(learner.stream.preprocess(probe.raw()), probe.tasks if isinstance(probe.tasks, int) else None)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    return found
