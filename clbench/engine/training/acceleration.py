"""Checks whether steps can be replayed as CUDA graphs, and gives their recorder."""

from __future__ import annotations

from collections.abc import Callable

from clbench.engine.fast.cuda_graphs import CudaRecorder, Recorder
from clbench.engine.learner.learner import Learner
from clbench.engine.optimizers import SGD
from clbench.engine.pace import per
from clbench.engine.training.trainer import Trainer
from clbench.method import Method


def unsupported_reason(learner: Learner, method: Method, trainer: Trainer) -> str | None:
    """Return why these steps cannot be replayed; None: they can."""
    name = type(method).__name__
    if learner.device.type != "cuda":
        return f"CUDA graphs need a CUDA device, and this is {learner.device.type}"
    if learner.stream.vocabulary is not None:
        return "answers differ in length, so that steps differ in shape"
    if trainer.micro_batch_size is not None:
        return "trainer.micro_batch_size splits a batch"
    if per(trainer.schedule) == "step":
        return "trainer.schedule.per=step changes the rate at every step, and a graph holds one rate"
    if not isinstance(learner.optimizer, SGD):
        return f"{type(learner.optimizer).__name__} counts its steps on the host"
    for hook in ("extend_batch", "criterion", "penalty", "reparametrize"):
        if method.overrides(hook):
            return f"{name} has its own {hook}, which may read more than tensors"
    if not method.stackable and any(method.overrides(hook) for hook in ("edit_gradients", "edit_update", "after_step")):
        return f"{name} does not declare stackable, so that its hooks may read more than tensors"
    return None


def graph_recorder(
    learner: Learner, method: Method, trainer: Trainer, tell: Callable[[str], None], recorder: Recorder | None = None
) -> Recorder | None:
    """Return a recorder of these steps (`recorder`, or torch's own); None if they cannot be replayed: `tell` gets the reason."""
    reason = unsupported_reason(learner, method, trainer) if recorder is None else None
    if reason is None:
        return recorder or CudaRecorder()
    tell(f"runner.graph: steps are not replayed: {reason}")
    return None
