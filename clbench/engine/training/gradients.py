"""The loss of a batch and its gradients, of the whole at once or part by part."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from clbench.engine.fast.mlp_backward import differentiate, usable
from clbench.engine.learner.learner import Batch, Learner
from clbench.method import Method


def differentiated(
    learner: Learner, method: Method, penalises: bool, batch: Batch, parameters: list[Parameter], size: int | None
) -> tuple[Sequence[Tensor | None], Tensor]:
    """Return the gradients of a batch's loss, None where a parameter takes no part, and the loss.

    Part by part, each part's loss counts by its share of the batch's labels, penalties included: the mean over the batch comes
    out as that of the whole, and a penalty is counted once.

    Args:
        learner: holds the model.
        method: says what the loss is.
        penalises: whether it has a penalty.
        batch: what to differentiate on; where it goes in parts, `joint` is set as a whole batch's would be, without its graph.
        parameters: with respect to which.
        size: samples of a part; None: all at once.
    """
    if size is None or len(batch) <= size:
        return _whole(learner, method, penalises, batch, parameters)
    total: list[Tensor | None] = [None] * len(parameters)
    losses: list[Tensor] = []
    joint: list[Tensor] = []
    for part in batch.parts(size):
        share = len(part.labels) / len(batch.labels)
        found, loss = _whole(learner, method, penalises, part, parameters, share)
        total = [_sum(before, new) for before, new in zip(total, found, strict=True)]
        losses.append(loss.detach())
        if part.joint is not None:
            joint.append(part.joint.detach())
    batch.joint = torch.cat(joint) if joint else None
    return total, torch.stack(losses).sum()


def _whole(
    learner: Learner, method: Method, penalises: bool, batch: Batch, parameters: list[Parameter], share: float = 1.0
) -> tuple[Sequence[Tensor | None], Tensor]:
    """Return the gradients of `share` times a batch's loss, and that; without a graph where the model is a chain."""

    def loss_of(logits: Tensor) -> Tensor:
        loss = method.criterion(learner, batch, logits)
        loss = loss + method.penalty(learner, batch, logits) if penalises else loss
        return loss if share == 1 else loss * share

    chain = usable(learner)
    if chain is not None:
        own = penalises or share != 1 or method.overrides("criterion")
        return differentiate(chain, learner, batch, parameters, loss_of if own else None, learner.projecting)
    with learner.arithmetic:
        learner.stepping = True
        logits = learner.forward(batch)
        learner.stepping = False
        loss = loss_of(logits)
    return torch.autograd.grad(loss, parameters, allow_unused=True), loss


def _sum(before: Tensor | None, new: Tensor | None) -> Tensor | None:
    if before is None or new is None:
        return new if before is None else before
    return before + new
