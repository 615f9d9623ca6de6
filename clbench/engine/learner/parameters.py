"""Which parameters of a model a step may move, and how weights of earlier shapes are put back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from clbench.errors import RefusedError

Completion = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""From the state dict of a fresh model to that of one whose structure a method changed."""


def movable(model: nn.Module, heads: Iterable[int]) -> tuple[list[str], list[nn.Parameter]]:
    """Return names and parameters that are not frozen, those of other heads than the given ones left out."""
    active = {str(head) for head in heads}
    pairs = [
        (name, parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (not name.startswith("heads.") or name.split(".", 2)[1] in active)
    ]
    return [name for name, _ in pairs], [parameter for _, parameter in pairs]


def padded(weights: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return the state dict `weights` with what was added or enlarged since filled up with zeros, shaped as `parameters`."""
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
        RefusedError: a method changed the model, and nobody says what the initial weights of that are.
    """
    for complete in completions:
        weights = complete(weights)
    weights = padded(weights, dict(model.named_parameters()))
    unknown = sorted(weights.keys() ^ model.state_dict().keys())
    if unknown:
        raise RefusedError(
            f"the model cannot return to its initial weights: a method changed its structure ({', '.join(unknown[:3])}"
            f"{', ...' if len(unknown) > 3 else ''})",
            "leave out the method that changes it, or the one that starts anew (gdumb; cumulative with reset=true)",
        )
    return weights


def call_with(part: nn.Module, inputs: Tensor, prefix: str, reparametrize: Mapping[str, Tensor]) -> Tensor:
    """Return `part(inputs)` with the parameters of `reparametrize` under `prefix` in the place of its own; inputs `[B, ...]`."""
    own = {name.removeprefix(prefix): tensor for name, tensor in reparametrize.items() if name.startswith(prefix)}
    result: Tensor = torch.func.functional_call(part, own, (inputs,)) if own else part(inputs)
    return result
