"""The backward pass of an MLP, written out: autograd's gradients bit for bit, with half the calls.

In small batches a step of an MLP is mostly the cost of calls. Here its backward pass calls the operators that autograd would have
called, on the same arguments. Where a method has its own loss, autograd differentiates that loss by the logits only. Every step
checks whether the written-out pass is valid (`Weights.mlp_without_graph`); all other steps build a graph. Gradients are equal
bit for bit with `runner.products=mkl`; otherwise large products may be another library's (`utils.cpu_matmul`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from clbench.engine.fast.mlp_layers import Layer, MLPLayers, layer_inputs, outputs
from clbench.engine.learner.batch import Batch
from clbench.subspace import Projector
from clbench.utils import cpu_matmul

aten = torch.ops.aten
MEAN, NONE_IGNORED = 1, -100
"""Arguments of torch's cross-entropy: mean over samples, and the ignored label, which no sample has."""


class ActiveHeads(Protocol):
    """The learner's part in a step: which heads a batch uses, and which of their outputs are active."""

    def asked(self, batch: Batch) -> range:
        """Return the heads whose outputs, side by side, are the batch's raw logits."""

    def active_logits(self, batch: Batch, raw: Tensor) -> Tensor:
        """Return the columns of `raw` `[B, outputs of the heads]` that are active."""


class InputProjection(Protocol):
    """Projects the inputs of layers; the gradient of a layer's weight is a combination of its input rows."""

    def at(self, layer: str, rows: int) -> Projector | None:
        """Return the projector of the layer's inputs `[rows, d]`, which counts as the projection of its step; None: no change."""


def differentiate(
    mlp: MLPLayers,
    heads: ActiveHeads,
    batch: Batch,
    parameters: Sequence[Tensor],
    loss: Callable[[Tensor], Tensor] | None = None,
    projection: InputProjection | None = None,
) -> tuple[list[Tensor | None], Tensor]:
    """Return the gradients of a batch's loss, None where a parameter takes no part, and the loss.

    Args:
        mlp: the learner's model.
        heads: the learner.
        batch: `joint` is set as `Learner.forward` sets it.
        parameters: to differentiate by.
        loss: from the logits `[B, active outputs]`; it may depend on parameters in other ways, too. None: cross-entropy.
        projection: of the layers' inputs; not used where a loss depends on parameters in other ways.
    """
    asked = [mlp.heads[head] for head in heads.asked(batch)]
    with torch.no_grad():
        inputs = layer_inputs(mlp, batch.inputs)
        raw = outputs(asked, inputs[-1])
        if loss is None:
            value, delta = _cross_entropy(heads.active_logits(batch, raw), batch.labels, raw.shape[1])
            found = _backward(mlp, asked, inputs, delta, set(map(id, parameters)), projection)
            return [found.get(id(parameter)) for parameter in parameters], value
    raw.requires_grad_()
    value = loss(heads.active_logits(batch, raw))
    own, *direct = torch.autograd.grad(value, [raw, *parameters], allow_unused=True)
    if any(gradient is not None for gradient in direct):
        projection = None
    with torch.no_grad():
        delta = torch.zeros_like(raw) if own is None else own
        found = _backward(mlp, asked, inputs, delta, set(map(id, parameters)), projection)
        pairs = zip((found.get(id(parameter)) for parameter in parameters), direct, strict=True)
        return [a if b is None else b if a is None else a + b for a, b in pairs], value.detach()


def _cross_entropy(logits: Tensor, labels: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy and its derivative by the logits, `[B, width]`: zero for those that are not active."""
    log = torch.log_softmax(logits, dim=1)
    value, weight = aten.nll_loss_forward.default(log, labels, None, MEAN, NONE_IGNORED)
    signal = aten.nll_loss_backward.default(torch.ones_like(value), log, labels, None, MEAN, NONE_IGNORED, weight)
    delta: Tensor = aten._log_softmax_backward_data.default(signal, log, 1, log.dtype)
    return value, F.pad(delta, (0, width - delta.shape[1])) if delta.shape[1] < width else delta


def _backward(
    mlp: MLPLayers, asked: list[Layer], inputs: list[Tensor], delta: Tensor, wanted: set[int], projection: InputProjection | None
) -> dict[int, Tensor]:
    """Return the gradients of the `wanted` parameters, by identity.

    Args:
        mlp: the layers.
        asked: heads whose outputs stand side by side in the logits.
        inputs: of each layer, and of the heads, `[B, d]`.
        delta: the loss's derivative by the logits.
        wanted: identities of parameters.
        projection: see `differentiate`.
    """
    found: dict[int, Tensor] = {}
    layers = mlp.layers
    first = next((i for i, (_, w, b) in enumerate(layers) if id(w) in wanted or id(b) in wanted), len(layers))

    def own(layer: Layer, x: Tensor, delta: Tensor) -> None:
        name, weight, bias = layer
        projector = None if projection is None or id(weight) not in wanted else projection.at(name, x.shape[0])
        ones = None
        if projector is not None:
            x, ones = projector(x, None if bias is None else x.new_ones(x.shape[0]))
        if id(weight) in wanted:
            found[id(weight)] = cpu_matmul.mm(delta.t(), x)
        if bias is not None and id(bias) in wanted:
            found[id(bias)] = delta.sum(0) if ones is None else ones @ delta

    parts = [delta] if len(asked) == 1 else torch.split(delta, [head.weight.shape[0] for head in asked], dim=1)
    total: Tensor | None = None
    for head, part in zip(asked, parts, strict=True):
        own(head, inputs[-1], part)
        if first < len(layers):
            back = cpu_matmul.mm(part, head.weight)
            total = back if total is None else total + back
    for i in range(len(layers) - 1, first - 1, -1):
        assert total is not None
        delta = aten.threshold_backward.default(total, inputs[i + 1], 0)
        own(layers[i], inputs[i], delta)
        if i > first:
            total = cpu_matmul.mm(delta, layers[i].weight)
    return found
