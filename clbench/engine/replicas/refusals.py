"""Reasons why neither runs nor clients can share a step."""

from __future__ import annotations

from collections.abc import Sequence

from clbench.engine.learner.learner import Learner
from clbench.engine.training.trainer import Trainer
from clbench.method import Method

OWN_WAY = ("fit", "reparametrize", "on_epoch_end")
"""Hooks that change more of a task's training than its steps."""


def common_reason(learner: Learner, method: Method, trainer: Trainer, hooks: Sequence[str] = OWN_WAY) -> str | None:
    """Return why several of these cannot share every step; None: no reason is known.

    Args:
        learner: of one of them.
        method: of one of them.
        trainer: of all.
        hooks: those that the method must leave as they are.
    """
    name = type(method).__name__
    for hook in hooks:
        if method.overrides(hook):
            return f"{name} has its own {hook}"
    if learner.stream.vocabulary is not None or learner.model.sequential:
        return "models from transformers are not stacked"
    if trainer.micro_batch_size is not None:
        return "trainer.micro_batch_size splits a batch"
    if method.host_sync:
        return f"{name} waits for the host in every step"
    return None
