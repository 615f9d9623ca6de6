"""Small federated runs on digits, and exchanges that break what passes through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from clbench.federated.federated_training import FederatedTraining
from clbench.federated.messages import Reply
from clbench.run_spec import RunSpec
from clbench.runs.run import Run, prepare
from clbench.testing.make_run import make_spec

SMALL = ("scenario.setting=task", "federated.clients=4", "federated.rounds=2", "scenario.n_tasks=5")


def federated_spec(
    *overrides: str, method: str = "naive", partition: str = "iid", seed: int = 0, folder: Any = "runs"
) -> RunSpec:
    """Return a cell of `SMALL` and more."""
    return make_spec(method, [f"+federated={partition}", *SMALL, *overrides], seed=seed, results_dir=folder)


def ready(spec: RunSpec, told: list[str] | None = None) -> tuple[Run, FederatedTraining]:
    """Return the run of a description, before anything is trained, and its training."""
    prepared = prepare(spec, lambda event: told.append(event["text"]) if told is not None and "text" in event else None)
    assert isinstance(prepared.training, FederatedTraining)
    return prepared, prepared.training


class Broken:
    """An exchange whose replies go through a function on their way to the server."""

    def __init__(self, inner: Any, change: Callable[[int, Reply], Reply | None]) -> None:
        self.inner, self.change = inner, change

    def train(self, task: Any, round: int, *more: Any) -> Iterator[Reply]:
        for reply in self.inner.train(task, round, *more):
            changed = self.change(round, reply)
            if changed is not None:
                yield changed

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def model(prepared: Run) -> dict[str, torch.Tensor]:
    """Return copies of the weights as they stand."""
    return {name: value.detach().clone() for name, value in prepared.learner.model.state_dict().items()}
