"""The encoder of detectors: features of every layer of a frozen network, with one low-rank adapter per request."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from clbench.data import answer_tokens
from clbench.models.language import trimmed
from clbench.toolkit.layer_discovery import find_layers
from clbench.toolkit.lora import Adapters, Targets


class Encoder(nn.Module):
    """A frozen copy of a backbone with adapters.

    If the model writes answers, the encoder reads only the prompt: the answer does not show what the question is about.

    Args:
        backbone: copied with its current weights.
        layers: names of the modules whose outputs are the layers' features; see `layers_of`.
        pad: padding token; None: inputs are not tokens.
        targets: modules that get adapters.
        scaling: scaling of the adapters, alpha / r.
    """

    def __init__(self, backbone: nn.Module, layers: Sequence[str], pad: int | None, targets: Targets, scaling: float) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone).requires_grad_(False).eval()
        self.layers, self.pad = list(layers), pad
        self.adapters = Adapters(SimpleNamespace(model=self), targets, scaling)

    def read(self, inputs: Tensor) -> Tensor:
        """Return the part of preprocessed inputs `[B, ...]` that is read: of tokens the prompt, without columns of padding."""
        return inputs if self.pad is None else trimmed(answer_tokens.prompt(inputs, self.pad), self.pad)

    def forward(self, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the features of every layer, each `[B, d]`, and the last layer's features before pooling.

        Pooling averages tokens without padding, and maps over their positions.

        Args:
            inputs: from `read`.
        """
        outputs: dict[str, Tensor] = {}
        handles = [self.backbone.get_submodule(name).register_forward_hook(_keep(outputs, name)) for name in self.layers]
        try:
            passed(self.backbone, inputs)
        finally:
            for handle in handles:
                handle.remove()
        seen = None if self.pad is None else inputs != self.pad
        return [pooled(outputs[name], seen) for name in self.layers], outputs[self.layers[-1]]

    def features(self, batches: Sequence[Tensor], adapter: str | None) -> list[Tensor]:
        """Return the features `[N, d]` of each layer over several batches of preprocessed inputs, with one adapter or none."""
        self.adapters.act([] if adapter is None else [adapter])
        with torch.no_grad():
            found = [self(self.read(batch))[0] for batch in batches]
        return [torch.cat(parts) for parts in zip(*found, strict=True)]

    def embeddings(self) -> Tensor | None:
        """Return the tokens' embeddings `[V, d]`; None if inputs are not tokens."""
        if self.pad is None:
            return None
        return next(module for module in self.backbone.modules() if isinstance(module, nn.Embedding)).weight.detach()


def layers_of(backbone: nn.Module, inputs: Tensor) -> list[str]:
    """Return the names of a backbone's layers (`clbench.toolkit.layer_discovery`): blocks, or modules with a weight matrix.

    Args:
        backbone: without adapters.
        inputs: a few preprocessed inputs.
    """
    return find_layers(backbone, lambda: passed(backbone, inputs)).names


def passed(backbone: Any, inputs: Tensor) -> Any:
    """Pass inputs through a backbone. Of an encoder-decoder only the encoder runs, because the decoder would need an answer."""
    if getattr(backbone, "two", False):
        return backbone.encoder(input_ids=inputs, attention_mask=(inputs != backbone.pad).to(torch.int64)).last_hidden_state
    return backbone(inputs)


def pooled(hidden: Tensor, seen: Tensor | None) -> Tensor:
    """Return one vector per sample, `[B, d]`.

    Args:
        hidden: `[B, d]`, `[B, T, d]` or `[B, d, H, W]`.
        seen: bool `[B, T]`, True for tokens that are not padding; None: no padding, or no tokens.
    """
    if hidden.dim() == 2:
        return hidden
    if hidden.dim() > 3:
        return hidden.flatten(2).mean(2)
    if seen is None:
        return hidden.mean(1)
    share = seen[:, : hidden.shape[1]].unsqueeze(2).to(hidden.dtype)
    return (hidden * share).sum(1) / share.sum(1).clamp(min=1)


def _keep(outputs: dict[str, Tensor], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, arguments: Any, output: Any) -> None:
        outputs[name] = output[0] if isinstance(output, tuple) else output

    return hook
