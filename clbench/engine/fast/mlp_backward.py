"""Chains of linear layers, differentiated without a graph: autograd's gradients to the bit, for half the calls.

In small batches a step of a perceptron is mostly the cost of calls. Here its backward pass is written out, with the operators
that autograd would have called, on the same arguments; only the loss's own derivative by the logits is left to autograd where a
method says what the loss is. Whether this holds is asked at every step; everything else goes by the graph. Predictions are made
the same way. To the bit, that is, with `runner.products=mkl`: large products may be another library's (`utils.cpu_matmul`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from clbench.engine.learner.batch import Batch
from clbench.models.classifier import Classifier
from clbench.models.mlp import MLP
from clbench.subspace import Projector
from clbench.utils import cpu_matmul

if TYPE_CHECKING:
    from clbench.engine.learner.learner import Learner

aten = torch.ops.aten
MEAN, NONE_IGNORED = 1, -100
"""Of torch's cross-entropy: its number for the mean over samples, and the label that it leaves out, which is none of ours."""
Found = tuple[list[Tensor | None], Tensor]
"""Gradients, one per parameter, None where it takes no part, and the loss."""


class Projecting(Protocol):
    """What projects the rows that the gradient of a layer's weight is a combination of."""

    def at(self, layer: str, rows: int) -> Projector | None:
        """Return the projector of the layer's rows `[rows, d]`, which is then done with the step; None: they stay as they are."""


class Link(NamedTuple):
    """A linear layer: its name in the model, its weight `[out, d]`, its bias `[out]` or None."""

    name: str
    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class Chain:
    """A perceptron: linear layers with ReLU after each, and linear heads.

    Args:
        layers: in their order.
        heads: in theirs.
        attached: where the layers keep what is attached to them.
    """

    layers: list[Link]
    heads: list[Link]
    attached: list[Mapping[int, object]]

    @property
    def plain(self) -> bool:
        """Whether nothing is attached to layers or parameters that a call or a graph would have met."""
        if any(self.attached) or _has_any_global_hook():  # type: ignore[no-untyped-call]
            return False
        links = (*self.layers, *self.heads)
        return not any(w._backward_hooks or (b is not None and b._backward_hooks) for _, w, b in links)


def chain_of(model: nn.Module) -> Chain | None:
    """Return the model as a chain, or None: a class of another's making may do anything in its forward pass."""
    if type(model) is not Classifier or type(model.backbone) is not MLP or any(model.backbone.dropouts):
        return None
    layers = {f"backbone.layers.{i}": layer for i, layer in enumerate(model.backbone.layers)}
    heads = {f"heads.{i}": head for i, head in enumerate(model.heads)}
    modules = [model, model.backbone, *layers.values(), *heads.values()]
    if any(type(layer) is not nn.Linear for layer in modules[2:]) or any("forward" in vars(each) for each in modules):
        return None
    attached: list[Mapping[int, object]] = []
    for each in modules:
        attached += [each._forward_hooks, each._forward_pre_hooks, each._backward_hooks, each._backward_pre_hooks]
    return Chain(_links(layers), _links(heads), attached)


def _links(layers: Mapping[str, nn.Module]) -> list[Link]:
    return [Link(name, layer.get_parameter("weight"), cast("Tensor | None", layer.bias)) for name, layer in layers.items()]


def usable(learner: Learner) -> Chain | None:
    """Return the chain whose gradients are those of the learner's step; None: only a graph has them."""
    chain = learner.chain
    if chain is None or learner.compiled is not None or learner.reparametrize is not None:
        return None
    return chain if in_full(learner) and chain.plain else None


def in_full(learner: Learner) -> bool:
    """Return whether the learner reckons in the precision of its tensors."""
    return type(learner.arithmetic) is nullcontext


def differentiate(
    chain: Chain,
    learner: Learner,
    batch: Batch,
    parameters: Sequence[Tensor],
    loss: Callable[[Tensor], Tensor] | None = None,
    projecting: Projecting | None = None,
) -> Found:
    """Return the gradients of a batch's loss, and the loss.

    Args:
        chain: the learner's model.
        learner: says which heads are asked and which outputs are in play.
        batch: `joint` is set as `Learner.forward` sets it.
        parameters: with respect to which.
        loss: from the logits `[B, outputs in play]`; it may depend on parameters in other ways, too. None: cross-entropy.
        projecting: what projects the rows that gradients are made of; not asked where a loss depends on parameters otherwise.
    """
    asked = [chain.heads[head] for head in learner.asked(batch)]
    with torch.no_grad():
        entering = _entering(chain, batch.inputs)
        raw = _outputs(asked, entering[-1])
        if loss is None:
            value, delta = _cross_entropy(learner.active_logits(batch, raw), batch.labels, raw.shape[1])
            found = _backward(chain, asked, entering, delta, set(map(id, parameters)), projecting)
            return [found.get(id(parameter)) for parameter in parameters], value
    raw.requires_grad_()
    value = loss(learner.active_logits(batch, raw))
    own, *direct = torch.autograd.grad(value, [raw, *parameters], allow_unused=True)
    if any(gradient is not None for gradient in direct):
        projecting = None
    with torch.no_grad():
        delta = torch.zeros_like(raw) if own is None else own
        found = _backward(chain, asked, entering, delta, set(map(id, parameters)), projecting)
        pairs = zip((found.get(id(parameter)) for parameter in parameters), direct, strict=True)
        return [a if b is None else b if a is None else a + b for a, b in pairs], value.detach()


def gradients(learner: Learner, batch: Batch, parameters: Sequence[Tensor]) -> list[Tensor | None]:
    """Return the gradients of a batch's mean cross-entropy, one per parameter, None where it takes no part."""
    chain = usable(learner)
    if chain is not None:
        return differentiate(chain, learner, batch, parameters)[0]
    with torch.enable_grad():
        loss = F.cross_entropy(learner.forward(batch), batch.labels)
        return list(torch.autograd.grad(loss, parameters, allow_unused=True))


@torch.no_grad()
def features(chain: Chain, inputs: Tensor) -> Tensor:
    """Return `[B, d]`, what the heads get, for preprocessed inputs."""
    return _entering(chain, inputs)[-1]


@torch.no_grad()
def logits(chain: Chain, inputs: Tensor, heads: Sequence[int]) -> Tensor:
    """Return the outputs of `heads` side by side, `[B, outputs]`, for preprocessed inputs."""
    return _outputs([chain.heads[head] for head in heads], features(chain, inputs))


def _entering(chain: Chain, inputs: Tensor) -> list[Tensor]:
    """Return what enters each layer, and the heads, `[B, d]`."""
    entering = [inputs.flatten(1)]
    for _, weight, bias in chain.layers:
        entering.append(cpu_matmul.linear(entering[-1], weight, bias).relu_())
    return entering


def _outputs(asked: Sequence[Link], entering: Tensor) -> Tensor:
    outputs = [cpu_matmul.linear(entering, weight, bias) for _, weight, bias in asked]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)


def _cross_entropy(logits: Tensor, labels: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy and its derivative by the logits, `[B, width]`: zero for those that are not in play."""
    log = torch.log_softmax(logits, dim=1)
    value, weight = aten.nll_loss_forward.default(log, labels, None, MEAN, NONE_IGNORED)
    signal = aten.nll_loss_backward.default(torch.ones_like(value), log, labels, None, MEAN, NONE_IGNORED, weight)
    delta: Tensor = aten._log_softmax_backward_data.default(signal, log, 1, log.dtype)
    return value, F.pad(delta, (0, width - delta.shape[1])) if delta.shape[1] < width else delta


def _backward(
    chain: Chain, asked: list[Link], entering: list[Tensor], delta: Tensor, wanted: set[int], projecting: Projecting | None
) -> dict[int, Tensor]:
    """Return the gradients of the `wanted` parameters, by identity.

    Args:
        chain: the layers.
        asked: heads whose outputs stand side by side in the logits.
        entering: what entered each layer, and the heads, `[B, d]`.
        delta: the loss's derivative by the logits.
        wanted: identities of parameters.
        projecting: see `differentiate`.
    """
    found: dict[int, Tensor] = {}
    layers = chain.layers
    first = next((i for i, (_, w, b) in enumerate(layers) if id(w) in wanted or id(b) in wanted), len(layers))

    def own(link: Link, x: Tensor, delta: Tensor) -> None:
        name, weight, bias = link
        projector = None if projecting is None or id(weight) not in wanted else projecting.at(name, x.shape[0])
        ones = None
        if projector is not None:
            x, ones = projector(x, None if bias is None else x.new_ones(x.shape[0]))
        if id(weight) in wanted:
            found[id(weight)] = cpu_matmul.mm(delta.t(), x)
        if bias is not None and id(bias) in wanted:
            found[id(bias)] = delta.sum(0) if ones is None else ones @ delta

    parts = [delta] if len(asked) == 1 else torch.split(delta, [link.weight.shape[0] for link in asked], dim=1)
    total: Tensor | None = None
    for link, part in zip(asked, parts, strict=True):
        own(link, entering[-1], part)
        if first < len(layers):
            back = cpu_matmul.mm(part, link.weight)
            total = back if total is None else total + back
    for i in range(len(layers) - 1, first - 1, -1):
        assert total is not None
        delta = aten.threshold_backward.default(total, entering[i + 1], 0)
        own(layers[i], entering[i], delta)
        if i > first:
            total = cpu_matmul.mm(delta, layers[i].weight)
    return found
