"""Passes of a single sample through a model that normalises by batch statistics: avoided, or refused before training."""

from __future__ import annotations

from collections.abc import Sequence

from torch.nn.modules.instancenorm import _InstanceNorm

from clbench.engine.learner.batch import batch_sizes, cut
from clbench.engine.learner.learner import Learner
from clbench.engine.learner.single_sample import Fault
from clbench.engine.training.trainer import Trainer
from clbench.errors import ConfigError
from clbench.method import Method
from clbench.stream import EvaluationSet, Task

OTHER_MODEL = "choose a model without such a layer (model.norm=none, if the model has that key)"
TORCH = ("Expected more than 1 value per channel", "Expected more than 1 spatial element")
"""How torch's own errors of one sample begin."""


def epoch_sizes(learner: Learner, n: int, size: int) -> list[int]:
    """Return the sizes of an epoch's batches over `n` samples (`batch_sizes`).

    A last single sample that the model cannot take joins the batch before it.
    """
    sizes = batch_sizes(n, size, learner.model)
    if len(sizes) > 1 and size > 1 and sizes[-1] == 1 and learner.single_fault() is not None:
        sizes[-2:] = [size + 1]
    return sizes


def check_sizes(learner: Learner, method: Method, trainer: Trainer, task: Task, sizes: list[int], first: bool) -> None:
    """Refuse batches or micro-batches of one sample that the model cannot take.

    Args:
        learner: has the model.
        method: batches that it extends may be larger than `sizes`.
        trainer: says how batches are cut.
        task: that is learned.
        sizes: of the batches, before the method extends them.
        first: True if the method has stored nothing yet with which to extend a batch.

    Raises:
        ConfigError: with the key or the task, and the layer.
    """
    whole = first or not method.overrides("extend_batch")
    if trainer.micro_batch_size != 1 and not (whole and 1 in sizes):
        return
    fault = learner.single_fault()
    if fault is None:
        return
    if trainer.micro_batch_size == 1:
        raise ConfigError(f"trainer.micro_batch_size=1: {needs_two(fault)}", f"give 2 or more, or null; or {OTHER_MODEL}")
    if trainer.batch_size == 1:
        raise ConfigError(
            f"trainer.batch_size=1: {needs_two(fault)}",
            f"give 2 or more (with scenario.online=true: trainer.online_batch_size); or {OTHER_MODEL}",
        )
    kind = "task" if task.kind == "learn" else "request"
    held = getattr(method, "buffer_size", None) if method.overrides("fit") else None
    memory, remedy = ("", "larger tasks") if held is None else (f"method.buffer_size={held}: ", "a larger method.buffer_size")
    raise ConfigError(
        f"{memory}{kind} {task.index} ({task.name}) trains on a single sample: {needs_two(fault)}",
        f"give {remedy}; or {OTHER_MODEL}",
    )


def check_single_samples(learner: Learner, method: Method, trainer: Trainer) -> None:
    """Check all tasks before the first one is learned, if the method trains on the tasks' own data as they are.

    With a `fit` or a `begin_task` of its own, it may train on other data, or freeze such layers: each task is then checked when
    it begins.

    Raises:
        ConfigError: as of `check_sizes`; or a layer that can take no sample at all.
    """
    if any(isinstance(part, _InstanceNorm) for part in learner.model.modules()):
        fault = learner.single_fault()
        if fault is not None and fault.always:
            raise ConfigError(
                f"model: the layer {fault.layer} cannot train: {fault.reason}", f"give larger inputs, or {OTHER_MODEL}"
            )
    if method.overrides("fit") or method.overrides("begin_task"):
        return
    for task in learner.stream.tasks:
        if task.kind == "learn":
            sizes = epoch_sizes(learner, len(task.train), trainer.batch_size)
            check_sizes(learner, method, trainer, task, sizes, first=task.index == 0)
            valid = task.valid if trainer.schedule.needs_validation else None
            if valid is not None and len(valid) == 1:
                fault = learner.single_fault(training=False)
                if fault is not None:
                    raise ConfigError(
                        f"task {task.index} ({task.name}) has a single validation sample: {needs_two(fault)}",
                        f"give a larger scenario.valid_fraction; or {OTHER_MODEL}",
                    )


def check_evaluation(learner: Learner, columns: Sequence[EvaluationSet], batch_size: int) -> None:
    """Check that no evaluation set needs a pass of one sample, where the model cannot take it.

    Raises:
        ConfigError: `eval.batch_size` is 1, or an evaluation set has one sample.
    """
    single = [column for column in columns if 1 in cut(len(column.split), batch_size, least=2)]
    fault = learner.single_fault(training=False) if single else None
    if fault is None:
        return
    if batch_size == 1:
        raise ConfigError(f"eval.batch_size=1: {needs_two(fault)}", f"give 2 or more; or model.norm=running; or {OTHER_MODEL}")
    raise ConfigError(
        f"the evaluation set {single[0].name} has a single sample: {needs_two(fault)}",
        f"give more test data; or model.norm=running; or {OTHER_MODEL}",
    )


def check_shares(learner: Learner, method: Method, trainer: Trainer) -> None:
    """Check that clients can train on every task of a federated stream.

    With a `begin_task` of its own, a method is checked when a task begins.

    Raises:
        ConfigError: no client of a task owns two samples, or batches have one, and the model cannot take a single sample.
    """
    for task in () if method.overrides("begin_task") else learner.stream.tasks:
        largest = max((len(positions) for positions in task.clients or ()), default=0)
        if largest == 1 and (fault := learner.single_fault()) is not None:
            raise ConfigError(
                f"no client owns two samples of task {task.index} ({task.name}): {needs_two(fault)}",
                f"give fewer federated.clients; or {OTHER_MODEL}",
            )
        if largest > 1:
            sizes = epoch_sizes(learner, largest, trainer.batch_size)
            check_sizes(learner, method, trainer, task, sizes, first=True)


def needs_two(fault: Fault) -> str:
    """Return a fault as half a sentence."""
    if not any(text in fault.reason for text in TORCH):
        return f"the layer {fault.layer} fails on one sample: {fault.reason}"
    return f"the layer {fault.layer} normalises by the statistics of its batch, and one sample has none"


def explained(error: Exception, learner: Learner) -> ConfigError | None:
    """Return an error with layer and remedy for torch's own error of a pass of one sample; None: it is another one."""
    if isinstance(error, ConfigError) or not any(text in str(error) for text in TORCH):
        return None
    fault = learner.single_fault() or learner.single_fault(training=False)
    what = f"{type(learner.model.backbone).__name__}: {error}" if fault is None else needs_two(fault)
    return ConfigError(
        f"a pass through the model had a single sample: {what}",
        f"give more samples to that pass (method.buffer_size, the method's own batch, trainer.batch_size); or {OTHER_MODEL}",
    )
