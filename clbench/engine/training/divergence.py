"""The error of a loss that is not finite."""

from __future__ import annotations

from clbench.engine.learner.learner import Learner
from clbench.errors import DivergedError
from clbench.stream import Task


def diverged(learner: Learner, task: Task, epoch: int, mean: float) -> DivergedError:
    """Return the error of an epoch whose `mean` loss is not finite; it names the key of the learning rate in use."""
    later = "method.lr" if task.kind == "forget" else "trainer.later_lr"
    key = "optimizer.lr" if learner.base_lr == learner.optimizer.lr else later
    where = f"task {task.index}, epoch {epoch} ({key}={learner.base_lr})"
    return DivergedError(f"the loss became {mean} in {where}", f"lower {key} or the method's strength, or set trainer.clip_norm")
