"""The loss of a batch and its gradients, of the whole batch at once or of micro-batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from clbench.engine.fast.mlp_backward import differentiate
from clbench.engine.learner.learner import Batch, Learner
from clbench.engine.learner.step_plan import StepPlan
from clbench.method import Method


def loss_and_gradients(
    learner: Learner, method: Method, plan: StepPlan, batch: Batch, parameters: list[Parameter]
) -> tuple[Sequence[Tensor | None], Tensor]:
    """Return the gradients of a batch's loss, None where a parameter takes no part, and the loss.

    In micro-batches, each part's loss counts by its share of the batch's labels, penalties included. The mean over the batch is
    then that of the whole batch, and a penalty counts once.

    Args:
        learner: has the model.
        method: defines the loss.
        plan: of the step: penalty, and the samples of a micro-batch.
        batch: to differentiate on; with micro-batches, `joint` is set as a whole batch's would be, without its graph.
        parameters: to differentiate by.
    """
    size = plan.micro_batch_size
    if size is None or len(batch) <= size:
        return _of_part(learner, method, plan, batch, parameters)
    total: list[Tensor | None] = [None] * len(parameters)
    losses: list[Tensor] = []
    joint: list[Tensor] = []
    for part in batch.parts(size, plan.least):
        share = len(part.labels) / len(batch.labels)
        found, loss = _of_part(learner, method, plan, part, parameters, share)
        total = [_sum(before, new) for before, new in zip(total, found, strict=True)]
        losses.append(loss.detach())
        if part.joint is not None:
            joint.append(part.joint.detach())
    batch.joint = torch.cat(joint) if joint else None
    return total, torch.stack(losses).sum()


def _of_part(
    learner: Learner, method: Method, plan: StepPlan, batch: Batch, parameters: list[Parameter], share: float = 1.0
) -> tuple[Sequence[Tensor | None], Tensor]:
    """Return the gradients of `share` times a batch's loss, and that loss; for an MLP without a graph."""

    def loss_of(logits: Tensor) -> Tensor:
        loss = method.criterion(learner, batch, logits)
        loss = loss if plan.penalty is None else loss + plan.penalty(learner, batch, logits)
        return loss if share == 1 else loss * share

    mlp = learner.mlp_without_graph()
    if mlp is not None:
        loss = loss_of if plan.own_loss or share != 1 else None
        return differentiate(mlp, learner, batch, parameters, loss, learner.input_projection)
    with plan.arithmetic:
        value = loss_of(learner.step_logits(batch))
    return torch.autograd.grad(value, parameters, allow_unused=True), value


def _sum(before: Tensor | None, new: Tensor | None) -> Tensor | None:
    if before is None or new is None:
        return new if before is None else before
    return before + new
