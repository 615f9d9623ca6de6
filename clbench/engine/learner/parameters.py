"""The parameters that a step may move, and the restoration of weights of earlier shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from clbench.errors import RefusedError

Completion = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""From the state dict of a fresh model to that of one whose structure a method changed."""


def movable(model: nn.Module, heads: Iterable[int]) -> tuple[list[str], list[nn.Parameter]]:
    """Return names and parameters that are not frozen, without those of heads that are not in `heads`."""
    active = {str(head) for head in heads}
    pairs = [
        (name, parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (not name.startswith("heads.") or name.split(".", 2)[1] in active)
    ]
    return [name for name, _ in pairs], [parameter for _, parameter in pairs]


def padded(weights: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return the state dict `weights`, shaped as `parameters`: entries that were added since are zeros."""
    filled = dict(weights)
    for name, parameter in parameters.items():
        if name.startswith("added.") and (name not in weights or weights[name].shape != parameter.shape):
            filled[name] = torch.zeros_like(parameter)
            if name in weights:
                filled[name][tuple(slice(n) for n in weights[name].shape)] = weights[name]
    return filled


def completed(weights: dict[str, Tensor], model: nn.Module, completions: Iterable[Completion]) -> dict[str, Tensor]:
    """Return the state dict `weights` of a fresh model as one that fits `model`; parameters that were added are zero.

    Raises:
        RefusedError: a method changed the model's structure and gave no initial weights for it.
    """
    for complete in completions:
        weights = complete(weights)
    weights = padded(weights, dict(model.named_parameters()))
    unknown = sorted(weights.keys() ^ model.state_dict().keys())
    if unknown:
        raise RefusedError(
            f"the model cannot return to its initial weights: a method changed its structure ({', '.join(unknown[:3])}"
            f"{', ...' if len(unknown) > 3 else ''})",
            "leave out that method, or the one that restarts from initial weights (gdumb; cumulative with reset=true)",
        )
    return weights


def call_with(part: nn.Module, inputs: Tensor, prefix: str, reparametrize: Mapping[str, Tensor]) -> Tensor:
    """Return `part(inputs)`, inputs `[B, ...]`, with the tensors of `reparametrize` under `prefix` in the place of its own."""
    own = {name.removeprefix(prefix): tensor for name, tensor in reparametrize.items() if name.startswith(prefix)}
    result: Tensor = torch.func.functional_call(part, own, (inputs,)) if own else part(inputs)
    return result
