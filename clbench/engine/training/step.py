"""The step: its plan (`step_plan`) and its end (`apply_gradients`), the only place where parameters move.

One learner, several seeds side by side and several federated clients side by side all end a step here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clbench.engine.learner.learner import Learner
from clbench.engine.learner.precision import arithmetic
from clbench.engine.learner.step_plan import StepPlan as StepPlan
from clbench.engine.optimizers import Optimizer, clip_by_norm, clip_by_value
from clbench.engine.training.trainer import Trainer
from clbench.method import Method


def step_plan(learner: Learner, method: Method, trainer: Trainer, project_inputs: bool = True) -> StepPlan:
    """Return the plan of a step of `learner` with `method` and `trainer`.

    Args:
        learner: the model and its optimiser.
        method: its overridden hooks take part.
        trainer: says precision, clipping, and the samples of a forward pass.
        project_inputs: False if an update must never be projected at the inputs of layers.
    """

    def hook(name: str) -> Callable[..., Any] | None:
        return getattr(method, name) if method.overrides(name) else None

    reparametrize = hook("reparametrize")
    clips = trainer.clip_norm is not None or trainer.clip_value is not None
    edits = clips or method.overrides("edit_gradients") or method.owners("edit_update") > 1
    whole = trainer.micro_batch_size is None  # micro-batches differ in size, and so in the layers that are projected early
    own_loss = method.overrides("criterion") or method.overrides("penalty")
    gradient_only = _is_plain(learner.optimizer) and whole and not edits and trainer.precision != "bf16"
    return StepPlan(
        arithmetic=arithmetic(trainer.precision, learner.device),
        reparametrize=None if reparametrize is None else partial(reparametrize, learner),
        plain_step=gradient_only and project_inputs,
        own_loss=own_loss,
        edit_in_place=gradient_only and not own_loss,
        micro_batch_size=trainer.micro_batch_size,
        least=1 if whole or learner.single_fault() is None else 2,
        clip_value=trainer.clip_value,
        clip_norm=trainer.clip_norm,
        extend_batch=hook("extend_batch"),
        penalty=hook("penalty"),
        edit_gradients=hook("edit_gradients"),
        edit_update=hook("edit_update"),
        after_step=hook("after_step"),
    )


def _is_plain(optimizer: Optimizer) -> bool:
    """Return True if the optimiser's directions are the gradients; `bare` is the earlier name of its property."""
    if hasattr(optimizer, "bare"):
        warnings.warn(f"{type(optimizer).__name__}.bare is now called plain", FutureWarning, stacklevel=2)
        return bool(optimizer.bare)
    return optimizer.plain


def apply_gradients(
    plan: StepPlan,
    learner: Learner,
    names: list[str],
    parameters: Sequence[Tensor],
    found: Sequence[Tensor | None],
    batch: Any,
    clip: Callable[[list[Tensor], float], None] = clip_by_norm,
) -> None:
    """Move the parameters by one step of the learner's optimiser.

    Gradients stay with the learner until the next step: a method may ask for them when it sees the update.

    Args:
        plan: clipping, and the hooks that act.
        learner: has optimiser and rate; argument of the hooks.
        names: of the parameters.
        parameters: those that the step may move.
        found: their gradients; a parameter whose gradient is None took no part in the loss and does not move.
        batch: argument of `edit_gradients`.
        clip: scales gradients in place to a joint norm.
    """
    if any(gradient is None for gradient in found):
        used = [i for i, gradient in enumerate(found) if gradient is not None]
        names, parameters = [names[i] for i in used], [parameters[i] for i in used]
    gradients = [gradient for gradient in found if gradient is not None]
    with torch.no_grad():
        if plan.edit_gradients is not None:
            learner.gradients = dict(zip(names, gradients, strict=True))
            plan.edit_gradients(learner, batch)
            gradients = list(learner.gradients.values())
        if plan.clip_value is not None:
            clip_by_value(gradients, plan.clip_value)
        if plan.clip_norm is not None:
            clip(gradients, plan.clip_norm)
        directions = learner.optimizer.directions(names, list(parameters), gradients)
        if plan.edit_update is not None:
            copies = directions if plan.edit_in_place else [direction.clone() for direction in directions]
            updates = dict(zip(names, copies, strict=True))
            plan.edit_update(learner, updates)
            directions = [updates[name] for name in names]
        torch._foreach_add_(list(parameters), directions, alpha=-learner.lr)
        if plan.after_step is not None:
            plan.after_step(learner)
