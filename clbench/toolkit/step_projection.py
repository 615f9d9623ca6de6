"""Projection of steps away from protected spaces: at the step, or at a layer's inputs if that is cheaper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from clbench.engine.learner.learner import Learner
from clbench.subspace import Projector
from clbench.toolkit import weight_matrices
from clbench.toolkit.weight_matrices import Matrix


class Projection:
    """Projects the steps of a task.

    The gradient of a linear layer is `delta^T x`, with one row of `x` per sample. A projection of its rows is therefore a
    projection of the inputs `x`. Then `[B, d]` instead of `[out, d]` goes through the projector: several times less in small
    batches. The step is the same if it is nothing but the gradient (`learner.plain_step`: plain SGD, no clipping, no edited
    gradients, no second hook on the update, no micro-batches). Otherwise the step itself is projected. So it is for other
    kinds of layers, larger batches and reparametrised weights.
    """

    def __init__(self, learner: Learner, matrices: Mapping[str, Matrix], projectors: Mapping[str, Projector]) -> None:
        """Watch the linear layers that `projectors` names; `release` ends that."""
        self.matrices, self.projectors = matrices, projectors
        self.at_inputs = False
        """Whether the next step may be projected at the inputs; not where the step before projection is to be seen."""
        self._learner = learner
        self._done: set[str] = set()
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        if learner.plain_step and learner.mlp is not None and learner.reparametrize is None:
            widths = {layer.name: layer.weight.shape[0] for layer in (*learner.mlp.layers, *learner.mlp.heads)}
            self._of_layers = {matrices[name].layer: (name, widths[matrices[name].layer]) for name in projectors}
            learner.project_inputs(self)
        elif learner.plain_step:
            self._handles = [self._watch(name) for name in projectors if self._linear(name)]

    def __call__(self, updates: dict[str, Tensor]) -> None:
        """Project all steps in `updates` that are not projected yet."""
        left = {name: projector for name, projector in self.projectors.items() if name not in self._done}
        weight_matrices.project(updates, self.matrices, left)
        self._done.clear()

    def at(self, layer: str, rows: int) -> Projector | None:
        """Return what projects the `rows` inputs of a chain's layer, where that is the same for less; its step is then done."""
        name, width = self._of_layers.get(layer, ("", 0))
        if not self.at_inputs or not _cheaper(rows, width):
            return None
        self._done.add(name)
        return self.projectors[name]

    def release(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        if self._learner.input_projection is self:
            self._learner.project_inputs(None)

    def _linear(self, name: str) -> bool:
        return type(self._learner.model.get_submodule(self.matrices[name].layer)) is nn.Linear

    def _watch(self, name: str) -> torch.utils.hooks.RemovableHandle:
        projector = self.projectors[name]

        def hook(layer: nn.Linear, arguments: tuple[Tensor, ...], output: Tensor) -> Any:
            x = arguments[0]
            if name not in self._done:  # once it is, every call until the step must go the same way, a penalty's own too
                able = self._learner.stepping and self.at_inputs and isinstance(layer.weight, nn.Parameter)
                if not able or not _cheaper(x[..., 0].numel(), layer.out_features):
                    return None
            self._done.add(name)
            return _Linear.apply(x, layer.weight, layer.bias, output, projector)

        return self._learner.model.get_submodule(self.matrices[name].layer).register_forward_hook(hook)


def _cheaper(rows: int, width: int) -> bool:
    """Return whether it is less work to project `rows` inputs of a linear layer with `width` outputs than to project its step."""
    return 2 * rows <= width


class _Linear(torch.autograd.Function):
    """A linear layer whose weight and bias get the gradient of projected inputs. All other gradients are unchanged."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, output: Tensor, projector: Projector) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.projector, ctx.biased = projector, bias is not None
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (delta,) = gradients
        x, weight = ctx.saved_tensors
        flat, signal = x.reshape(-1, x.shape[-1]), delta.reshape(-1, delta.shape[-1])
        rows, ones = ctx.projector(flat, flat.new_ones(len(flat)) if ctx.biased else None)
        return (
            delta @ weight if ctx.needs_input_grad[0] else None,
            signal.mT @ rows,
            None if ones is None else ones @ signal,
            None,
            None,
        )
