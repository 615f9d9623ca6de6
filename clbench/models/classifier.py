"""A backbone with linear heads: the only kind of model that is trained and measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from clbench.errors import ConfigError


class Classifier(nn.Module):
    """Linear heads over the features of a backbone.

    Parameters are named `backbone.…` and `heads.I.weight`, `heads.I.bias`.

    Args:
        backbone: maps `[B, *input_shape]` to features `[B, d]`; d is its attribute `width`, else found by a forward pass.
        head_sizes: outputs of each head: one per task in the task setting, else a single entry.
        input_shape: of one sample at the model's input.
        head_bias: whether the heads have a bias.

    Raises:
        ConfigError: the backbone does not return features `[B, d]`.
    """

    def __init__(
        self, backbone: nn.Module, head_sizes: Sequence[int], input_shape: Sequence[int], head_bias: bool = True
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.input_shape = tuple(input_shape)
        declared = getattr(backbone, "width", None)
        self.width = declared if isinstance(declared, int) else feature_width(backbone, self.input_shape)
        self.heads = nn.ModuleList(nn.Linear(self.width, size, bias=head_bias) for size in head_sizes)

    @property
    def sequential(self) -> bool:
        """Whether inputs are tokens, read by a transformer."""
        return bool(getattr(self.backbone, "sequential", False))

    @property
    def transductive(self) -> bool:
        """Whether a sample's prediction depends on the others of its batch (BatchNorm without running statistics)."""
        return any(isinstance(part, _BatchNorm) and part.running_mean is None for part in self.backbone.modules())

    def features(self, x: Tensor) -> Tensor:
        """Return the backbone's features `[B, width]` of `x` `[B, *input_shape]`."""
        features: Tensor = self.backbone(x)
        return features

    def forward(self, x: Tensor, head: int | None = 0, outputs: int | None = None) -> Tensor:
        """Return the logits of one head, or of all.

        Args:
            x: `[B, *input_shape]`.
            head: index of the head; None: all heads, concatenated.
            outputs: number of columns to return, from the first; None: all.

        Returns:
            `[B, outputs]`.
        """
        if head is None:
            features = self.features(x)
            return torch.cat([each(features) for each in self.heads], dim=1)
        logits: Tensor = self.heads[head](self.features(x))
        return logits if outputs is None else logits[:, :outputs]


def feature_width(backbone: nn.Module, input_shape: Sequence[int]) -> int:
    """Return d of the features `[B, d]` that `backbone` makes of inputs `[B, *input_shape]`, by one forward pass of zeros.

    Parameters, buffers, modes and the CPU generator stay unchanged. Lazy modules get their final shapes.

    Raises:
        ConfigError: the forward pass fails, or its result is not a float tensor `[B, d]`.
    """
    name = f"{type(backbone).__module__}.{type(backbone).__qualname__}"
    remedy = (
        "model._target_ must make a module that maps [B, *input_shape] to float features [B, d]; the heads are added by clbench"
    )
    first = next((p for p in backbone.parameters() if not is_lazy(p)), torch.zeros(()))
    probe = torch.zeros(2, *input_shape, device=first.device)
    modes = {part: part.training for part in backbone.modules()}
    buffers = {key: buffer.clone() for key, buffer in backbone.named_buffers() if not is_lazy(buffer)}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        backbone.eval()
        try:
            result: Any = backbone(probe)
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
            raise ConfigError(f"model: {name} fails on inputs of shape {list(probe.shape)}: {error}", remedy) from error
        finally:
            for part, training in modes.items():
                part.training = training
            for key, buffer in backbone.named_buffers():
                if key in buffers:
                    buffer.copy_(buffers[key])
    given = f"for inputs of shape {list(probe.shape)}"
    if not isinstance(result, Tensor):
        raise ConfigError(f"model: {name} returns {type(result).__name__} {given}, not a tensor", remedy)
    if result.dim() != 2 or result.shape[0] != 2 or result.shape[1] < 1 or not result.is_floating_point():
        kind = str(result.dtype).removeprefix("torch.")
        raise ConfigError(f"model: {name} returns {kind} of shape {list(result.shape)} {given}", remedy)
    return int(result.shape[1])
