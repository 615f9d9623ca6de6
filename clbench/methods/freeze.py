"""Freezing of the bottom layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from clbench.engine.learner.learner import Learner
from clbench.errors import ConfigError
from clbench.method import Method, Trait
from clbench.stream import Task
from clbench.toolkit.layer_discovery import Layers, find_layers
from clbench.toolkit.weight_matrices import freeze_old_heads

NonNegative = Annotated[int, Field(ge=0)]


@dataclass
class Freeze(Method):
    """Freezing of the bottom layers (Zheng et al., "Spurious Forgetting", ICLR 2025, arXiv 2501.13453).

    From task `from_task` on, the input embeddings and the bottom layers of the backbone are frozen. The optimiser does not get
    their parameters, so neither weight decay nor momentum moves them. They stay in evaluation mode, so running statistics do
    not change and dropout is off. With `embeddings=true`, an input then always reaches the first trained layer as the same
    activations.

    Layers are counted in the order of the forward pass (`layer_discovery`): the repeated blocks of a transformer or residual
    network (encoder before decoder), or the layers with weights of an MLP or plain convolutional network. Norms after the last
    layer, and heads, always train. The authors' program (zzz47zzz/spurious-forgetting) finds layers by a part of their names:
    its `layers.1` also freezes the layers 10 to 19. It sets their learning rate or their gradients to 0; weight decay and old
    momentum may still move them.

    A head that is tied to the input embeddings is the same tensor, and freezes with them. With `scenario.outputs=all` in the task
    setting, the heads of earlier tasks freeze too: else they would move as negatives, even above a frozen backbone.

    Args:
        layers: number of frozen layers, from the bottom.
        embeddings: True: also freeze all modules before the first layer: embeddings of tokens and positions with their
            normalisation and dropout; the stem of a residual network.
        from_task: first task, from 0, that is learned with frozen layers.
    """

    layers: NonNegative
    embeddings: bool
    from_task: NonNegative
    supports_generation: ClassVar[bool] = True
    data_free: ClassVar[bool] = True

    @property
    def traits(self) -> frozenset[Trait]:  # type: ignore[override]
        """The frozen layers are trained by earlier tasks, unless they are frozen from the start."""
        return frozenset({Trait.NEEDS_FIRST_TASK} if self.from_task > 0 else ())

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Freeze, from `from_task` on; count the parameters that train."""
        found = _layers(learner, task)
        if self.layers > len(found.layers):
            raise ConfigError(
                f"method.layers={self.layers}, but the backbone {type(learner.model.backbone).__name__} has {len(found.layers)} "
                f"layers ({_range(found.names)})",
                f"give method.layers of 0 to {len(found.layers)}",
            )
        frozen = task.index >= self.from_task
        if frozen:
            bottom = {name: module for layer in found.layers[: self.layers] for name, module in layer.items()}
            for name, module in {**bottom, **(found.inputs if self.embeddings else {})}.items():
                _freeze(learner, module, whole=not found.holds_others(name))
            if learner.stream.outputs == "all":
                freeze_old_heads(learner)
        learner.rebuild()
        training = [
            name
            for name, layer in zip(found.names, found.layers, strict=True)
            if any(parameter.requires_grad for module in layer.values() for parameter in module.parameters())
        ]
        self._found: dict[str, Any] = {
            "layers": len(found.layers),
            "frozen_layers": self.layers if frozen else 0,
            "training_layers": training,
            "frozen_inputs": list(found.inputs) if frozen and self.embeddings else [],
            "head_frozen": not all(parameter.requires_grad for parameter in _head(learner).parameters()),
            "trainable": sum(parameter.numel() for parameter in learner.trainable()[1]),
            "frozen": sum(p.numel() for p in learner.model.parameters() if not p.requires_grad),
        }

    def diagnostics(self) -> dict[str, Any]:
        """Return the layers that train, and the numbers of trained and frozen parameters."""
        return self._found


def _layers(learner: Learner, task: Task) -> Layers:
    """Return the backbone's layers, found with two of the task's samples."""
    few = torch.arange(min(2, len(task.train)), device=task.train.rows.device)
    learner.model.eval()
    return find_layers(learner.model.backbone, lambda: learner.features(learner.batch(task.train, few).inputs))


def _head(learner: Learner) -> nn.Module:
    """Return the head of the current task, or the shared one."""
    return learner.model.heads[learner.task if learner.stream.own_heads else 0]


def _freeze(learner: Learner, module: nn.Module, whole: bool) -> None:
    """Freeze a module: as a whole, or only its own parameters."""
    for parameter in module.parameters(recurse=whole):
        parameter.requires_grad_(False)
    if whole:
        learner.freeze(module)


def _range(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}" if names else "none"
