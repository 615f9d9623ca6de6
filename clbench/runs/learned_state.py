"""The part of a checkpoint that training continues from: model, method, optimiser and sample count, read and put back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clbench.engine.learner.learner import Learner
from clbench.engine.resumable import check_state
from clbench.errors import ConfigError
from clbench.run_spec import RunSpec
from clbench.runs import checkpoint
from clbench.runs.factory import AnyTraining
from clbench.stream import Stream


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


def refuse_foreign(tree: dict[str, Any], spec: RunSpec, stream: Stream) -> None:
    """Refuse a checkpoint of another run, or of other data.

    Raises:
        ConfigError: the checkpoint's names are not those of the run.
    """
    if tree["identity"] != spec.id or tree["stream"] != stream.fingerprint:
        raise ConfigError(
            f"the checkpoint in {spec.checkpoints} belongs to another run or other data",
            "delete that folder to train this run from its beginning",
        )


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
