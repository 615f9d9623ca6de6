"""Freezing of the bottom layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from clbench.engine.learner.learner import Learner
from clbench.errors import ConfigError
from clbench.method import Method
from clbench.stream import Task
from clbench.toolkit.layer_discovery import Layers, find_layers

NonNegative = Annotated[int, Field(ge=0)]


@dataclass
class Freeze(Method):
    """Freezing of the bottom layers (Zheng et al., "Spurious Forgetting", ICLR 2025, arXiv 2501.13453).

    From one task on, the input embeddings and the bottom layers of the backbone do not learn any more. They are no parameters of
    the step, so that neither weight decay nor momentum moves them, and stay in evaluation mode: running statistics and
    dropout stand still as well. What enters the first layer that learns is then the same for an input for ever, provided that
    `embeddings` is true.

    Layers are counted as data pass through them (`layer_discovery`): the repeated blocks of a transformer or residual net, of
    an encoder-decoder the encoder's first; the layers with weights of an MLP or plain convolutional network. Norms after the
    last layer, and heads, always learn. The authors' program (zzz47zzz/spurious-forgetting) finds layers by a part of their
    names: its `layers.1` also freezes the layers 10 to 19. It sets their learning rate to 0, or their gradients, which leaves
    weight decay and old momentum to an optimiser.

    A head that is tied to the input embeddings is the same tensor, and freezes with them.

    Args:
        layers: how many, from the bottom.
        embeddings: whether what comes before the first layer freezes too: embeddings of tokens and positions with their
            normalisation and dropout; a residual network's stem.
        from_task: first task, from 0, that is learned so.
    """

    layers: NonNegative
    embeddings: bool
    from_task: NonNegative
    answers: ClassVar[bool] = True
    data_free: ClassVar[bool] = True

    @property
    def leans(self) -> bool:  # type: ignore[override]
        """Whether what stands still is what earlier tasks learned."""
        return self.from_task > 0

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Freeze, when it is time; count what learns."""
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
            "head_frozen": not all(parameter.requires_grad for parameter in learner.model.heads.parameters()),
            "trainable": sum(parameter.numel() for parameter in learner.trainable()[1]),
            "frozen": sum(p.numel() for p in learner.model.parameters() if not p.requires_grad),
        }

    def diagnostics(self) -> dict[str, Any]:
        """Return which layers learn, and how many parameters."""
        return self._found


def _layers(learner: Learner, task: Task) -> Layers:
    """Return the backbone's layers, found with two of the task's samples."""
    few = torch.arange(min(2, len(task.train)), device=task.train.rows.device)
    learner.model.eval()
    return find_layers(learner.model.backbone, lambda: learner.features(learner.batch(task.train, few).inputs))


def _freeze(learner: Learner, module: nn.Module, whole: bool) -> None:
    """Keep a module as it is: wholly, or the parameters of its own alone."""
    for parameter in module.parameters(recurse=whole):
        parameter.requires_grad_(False)
    if whole:
        learner.freeze(module)


def _range(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}" if names else "none"
