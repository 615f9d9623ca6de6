"""The plan of a step, made once per task."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class StepPlan:
    """The plan of a step. `engine.training.step.step_plan` makes it; the learner and the step follow it.

    Hooks are None where the method does not override them. Their arguments are those of `clbench.method.Method`.

    Args:
        arithmetic: context of each forward pass: its precision (`engine.learner.precision`).
        reparametrize: returns the tensors that replace parameters in forward passes, by task; None: never.
        plain_step: True if a step is the gradient times the rate, and at most one method edits or reads the update. The update
            can then be projected at the inputs of layers (`toolkit.step_projection`).
        own_loss: True if the method overrides criterion or penalty.
        edit_in_place: True if `edit_update` may change the gradients themselves: nothing else reads them.
        micro_batch_size: samples of one forward and backward pass; None: the whole batch.
        least: 2 if micro-batches of one sample are to be avoided, because the model cannot take them; else 1.
        clip_value: bound on the absolute value of gradients' entries, or None.
        clip_norm: bound on the joint norm of the gradients, or None.
        extend_batch: returns the batch to train on.
        penalty: is added to the loss.
        edit_gradients: changes the gradients after the backward pass.
        edit_update: changes the update about to be applied.
        after_step: acts on the parameters after they moved.
    """

    arithmetic: AbstractContextManager[Any] = field(default_factory=nullcontext)
    reparametrize: Callable[[int | None], dict[str, Tensor]] | None = None
    plain_step: bool = False
    own_loss: bool = False
    edit_in_place: bool = False
    micro_batch_size: int | None = None
    least: int = 1
    clip_value: float | None = None
    clip_norm: float | None = None
    extend_batch: Callable[..., Any] | None = None
    penalty: Callable[..., Tensor] | None = None
    edit_gradients: Callable[..., None] | None = None
    edit_update: Callable[..., None] | None = None
    after_step: Callable[..., None] | None = None
