"""The part of a checkpoint that training continues from: model, method, optimiser and sample count, read and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from clbench.engine.learner.learner import Learner
from clbench.engine.resumable import check_state
from clbench.errors import ClbenchError, ConfigError, StoreError
from clbench.run_spec import RunSpec
from clbench.runs import checkpoint
from clbench.runs.factory import AnyTraining
from clbench.stream import Stream
from clbench.utils.safe_json import brief


def read(spec: RunSpec, stream: Stream, learner: Learner, training: AnyTraining) -> dict[str, Any]:
    """Return what training continues from, with the names of the run and of its stream.

    Raises:
        ClbenchError: a value cannot be stored; the message names the attribute.
    """
    model = dict(learner.model.state_dict())  # a foreign module may add values of its own (get_extra_state)
    check_state(learner.model, model)
    optimizer = learner.optimizer.state() if learner.optimizer.carry else {}
    check_state(learner.optimizer, optimizer)
    return {
        "identity": spec.id,
        "stream": stream.fingerprint,
        "model": model,
        "method": training.state(),
        "optimizer": optimizer,
        "samples": training.samples,
    }


def refuse_foreign(tree: dict[str, Any], spec: RunSpec, stream: Stream, task: int) -> None:
    """Refuse a checkpoint of another run, of other data, or of another task.

    Args:
        tree: the checkpoint.
        spec: the run.
        stream: of the run.
        task: number in the file's name.

    Raises:
        ConfigError: the checkpoint's names are not those of the run, or its events do not end with the task.
        LookupError, TypeError, ValueError: a part is missing, or parts contradict each other; see `complete`.
    """
    if tree["identity"] != spec.id or tree["stream"] != stream.fingerprint:
        raise ConfigError(
            f"the checkpoint in {spec.checkpoints} belongs to another run or other data",
            checkpoint.beginning(spec.checkpoints),
        )
    if not all(isinstance(tree[key], list) for key in ("events", "losses", "diagnostics")):
        raise TypeError("events, losses and diagnostics must be lists")
    ends = [event["task"] for event in tree["events"] if event["kind"] in ("task", "request")]
    if ends[-1:] != [task] or len(tree["matrix"]) != len(tree["events"]):
        raise ConfigError(
            f"the checkpoint task-{task:04d}.pt in {spec.checkpoints} was stored after task {ends[-1] if ends else 'none'}",
            checkpoint.beginning(spec.checkpoints),
        )
    if not len(ends) == len(tree["losses"]) == len(tree["diagnostics"]):
        raise ValueError(f"{len(ends)} tasks with {len(tree['losses'])} losses and {len(tree['diagnostics'])} diagnostics")


@contextmanager
def complete(spec: RunSpec) -> Iterator[None]:
    """Within the block, a value that a checkpoint lacks or that has another type or shape is an error of the checkpoint.

    Raises:
        StoreError: such a value, with the reason.
    """
    try:
        yield
    except (ClbenchError, torch.OutOfMemoryError):
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise StoreError(
            f"the checkpoint in {spec.checkpoints} does not fit this run ({brief(reason, 300)})",
            checkpoint.beginning(spec.checkpoints),
        ) from error


def restore(tree: dict[str, Any], task: int, learner: Learner, training: AnyTraining) -> None:
    """Put back what `read` returned after `task`."""
    learner.start(task)
    training.load_state(tree["method"])
    learner.model.load_state_dict(tree["model"])
    if learner.optimizer.carry:
        learner.optimizer.load_state(tree["optimizer"])
    training.count(samples=tree["samples"])


def keep_model(spec: RunSpec, task: int, model: dict[str, Any]) -> None:
    """Store the model after `task` for later use, if the run says so (`save_models`)."""
    if spec.execution.save_models:
        models = Path(spec.results_dir) / "models" / spec.id
        checkpoint.write_model(models / f"task-{task:04d}.pt", model)
