"""The weights of any model as matrices, with their inputs and updates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clbench import subspace
from clbench.data.pool import Split
from clbench.engine.learner.learner import Learner
from clbench.errors import RefusedError


@dataclass(frozen=True)
class Matrix:
    """A weight of the model as `[out, d]`, and its bias.

    Args:
        weight: name of the parameter in the model.
        bias: name of the parameter that is added to the outputs, or None.
        layer: name of the layer that owns both.
        kind: how to turn the layer's inputs into rows.
    """

    weight: str
    bias: str | None
    layer: str
    kind: subspace.Weight

    def read(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None] | None:
        """Return weight `[out, d]` and bias `[out]` from `tensors` (parameters, gradients or updates by name); None if absent."""
        weight = tensors.get(self.weight)
        if weight is None:
            return None
        return (weight.mT if self.kind.transposed else weight.flatten(1)), tensors.get(self.bias or "")

    def write(self, tensors: MutableMapping[str, Tensor], weight: Tensor, bias: Tensor | None) -> None:
        """Write `weight` `[out, d]` and `bias` `[out]` into `tensors`."""
        tensors[self.weight] = weight.mT if self.kind.transposed else weight.reshape(tensors[self.weight].shape)
        if self.bias is not None and bias is not None:
            tensors[self.bias] = bias

    def joined(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return weight and bias as one `[out, d + 1]`, or `[out, d]` without a bias."""
        found = self.read(tensors)
        assert found is not None
        weight, bias = found
        return weight if bias is None else torch.cat([weight, bias.unsqueeze(1)], dim=1)

    def parted(self, joined: Tensor) -> tuple[Tensor, Tensor | None]:
        """Split the result of `joined` into weight and bias."""
        return (joined[:, :-1], joined[:, -1]) if self.bias else (joined, None)


def matrices(learner: Learner, head: bool = True) -> dict[str, Matrix]:
    """Return the model's weight matrices by parameter name, in the model's order.

    Heads of the task setting are left out: no step moves them after their own task (`hold`).

    Args:
        learner: contains the model.
        head: True: include the shared head of the other settings.

    Raises:
        RefusedError: a layer of an unknown kind with weights, or weights that two layers share.
    """
    shared = not learner.stream.own_heads
    found: dict[str, Matrix] = {}
    owners: dict[int, str] = {}
    known: set[str] = set()
    for name, layer in learner.model.named_modules():
        if name in known or (name.startswith("heads.") and not (head and shared)):
            continue
        try:
            kinds = subspace.weights(layer)
        except TypeError as error:
            raise RefusedError(f"layer {name} cannot be projected: {error}", "use another model or another method") from error
        for kind in kinds:
            weight = f"{name}.{kind.name}"
            known.add(weight.rpartition(".")[0])
            parameter = layer.get_parameter(kind.name)
            other = owners.setdefault(id(parameter), weight)
            if other != weight:
                raise RefusedError(
                    f"{other} and {weight} are one parameter: the inputs of the two layers cannot be separated",
                    "use a model without tied weights, or a method without projection",
                )
            found[weight] = Matrix(weight, f"{name}.{kind.bias}" if kind.bias else None, name, kind)
        if not kinds and _unknown(layer):
            raise RefusedError(
                f"layer {name} is a {type(layer).__name__}, whose inputs this method cannot read as rows",
                "use linear, convolution, embedding or attention layers, or register the type with clbench.subspace.weights",
            )
    return found


def _unknown(layer: nn.Module) -> bool:
    """Return whether a layer of torch multiplies its inputs by a weight matrix (a norm or a bare parameter does not)."""
    own = list(layer.parameters(recurse=False))
    return type(layer).__module__.startswith("torch.nn.") and any(parameter.dim() > 1 for parameter in own)


def uncovered(learner: Learner, covered: Mapping[str, Matrix]) -> list[str]:
    """Return the parameters outside the heads and outside all matrices of `covered`, such as those of normalisation layers."""
    held = {name for matrix in covered.values() for name in (matrix.weight, matrix.bias)}
    apart = ("heads.", "added.")
    return [name for name, _ in learner.model.named_parameters() if name not in held and not name.startswith(apart)]


def entering(
    learner: Learner,
    split: Split,
    positions: Tensor,
    wanted: Mapping[str, Matrix],
    samples: Mapping[str, int] | None = None,
) -> Iterator[tuple[str, Tensor]]:
    """Yield the inputs of each matrix on the samples at `positions`, in evaluation mode.

    Args:
        learner: contains the model.
        split: the samples.
        positions: int64 `[B]`.
        wanted: the matrices.
        samples: for each matrix, use only this many of the first samples; None: all.

    Yields:
        Name and rows `[n, d]`, or `[n, d + 1]` with the bias's constant. If a layer is called several times, rows of all calls.

    Raises:
        RefusedError: a layer takes no part in a forward pass.
        DivergedError: a layer's inputs are not finite.
    """
    layers = {name: learner.model.get_submodule(name) for name in {matrix.layer for matrix in wanted.values()}}
    calls: dict[str, list[subspace.Call]] = {name: [] for name in layers}

    def hook(name: str) -> Any:
        def record(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            calls[name].append((arguments, named))

        return layers[name].register_forward_pre_hook(record, with_kwargs=True)

    handles = [hook(name) for name in layers]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fast path skips the layers and their hooks
    learner.model.eval()
    try:
        with torch.no_grad():
            learner.forward(learner.batch(split, positions))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
    for name, matrix in wanted.items():
        count = len(positions) if samples is None else samples[name]
        with torch.no_grad():
            found = [matrix.kind.rows(layers[matrix.layer], _first(call, count, len(positions))) for call in calls[matrix.layer]]
            if not found:
                raise RefusedError(f"layer {matrix.layer} takes no part in a forward pass", "use a model without idle layers")
            rows = torch.cat(found)
            subspace.refuse_not_finite(rows, f"{matrix.layer}: the layer's inputs after task {learner.task}")
            yield name, subspace.with_one(rows) if matrix.bias else rows


def _first(call: subspace.Call, count: int, total: int) -> subspace.Call:
    """Return the call with only the first `count` samples of every tensor over the batch."""
    if count >= total:
        return call

    def cut(value: Any) -> Any:
        return value[:count] if isinstance(value, Tensor) and value.dim() > 0 and len(value) == total else value

    return tuple(cut(value) for value in call[0]), {key: cut(value) for key, value in call[1].items()}


def gradients(learner: Learner, split: Split, positions: Tensor, wanted: Mapping[str, Matrix]) -> dict[str, Tensor]:
    """Return each matrix's gradient of the mean cross-entropy at `positions`, in evaluation mode.

    The shape is `[out, d]`, or `[out, d + 1]` with the bias's gradient. Each row is a combination of the layer's inputs.

    Raises:
        DivergedError: a gradient is not finite.
    """
    learner.model.eval()
    names = [name for matrix in wanted.values() for name in (matrix.weight, matrix.bias) if name]
    batch = learner.batch(split, positions)
    with torch.enable_grad():
        loss = F.cross_entropy(learner.forward(batch), batch.labels)
        found = torch.autograd.grad(loss, [learner.parameters[name] for name in names])
    by_name = dict(zip(names, found, strict=True))
    for name, gradient in by_name.items():
        subspace.refuse_not_finite(gradient, f"{name}: the gradient in task {learner.task}")
    return {name: matrix.joined(by_name) for name, matrix in wanted.items()}


def project(updates: dict[str, Tensor], wanted: Mapping[str, Matrix], projectors: Mapping[str, subspace.Projector]) -> None:
    """Project the steps in `updates` of all matrices that have a projector."""
    for name, projector in projectors.items():
        found = wanted[name].read(updates)
        if found is not None:
            wanted[name].write(updates, *projector(*found))


def freeze(learner: Learner, names: list[str]) -> None:
    """Freeze the parameters `names`."""
    for name in names:
        learner.parameters[name].requires_grad_(False)


def freeze_statistics(learner: Learner, frozen: bool = True) -> None:
    """Freeze BatchNorm's running statistics, also in training, or let them move (layers without running statistics have none)."""
    for module in learner.model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            learner.freeze(module, frozen)


def freeze_old_heads(learner: Learner) -> None:
    """Freeze the heads of the tasks before the current one, so that no later step moves their outputs.

    With `scenario.outputs=all`, or beside a method that distils (lwf), the loss reaches these heads, and no projection covers
    them. Outside the task setting there is one head, and nothing is frozen. At a request to forget, all heads may move.
    """
    if learner.stream.own_heads and learner.stream.tasks[learner.task].kind == "learn":
        for head in range(learner.task):
            learner.model.heads[head].requires_grad_(False)


def hold(
    learner: Learner,
    covered: Mapping[str, Matrix],
    parameters: Literal["freeze", "train"],
    statistics: Literal["freeze", "track"],
) -> None:
    """From the second task on, freeze what no projection covers. Heads of earlier tasks are always frozen.

    Args:
        learner: contains the model and the current task.
        covered: the projected matrices.
        parameters: `freeze` or `train`: parameters outside these matrices.
        statistics: `freeze` or `track`: running statistics of normalisation layers.
    """
    if learner.task == 0:
        return
    freeze_old_heads(learner)
    if parameters == "freeze":
        freeze(learner, uncovered(learner, covered))
    if statistics == "freeze":
        freeze_statistics(learner)
