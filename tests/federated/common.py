"""Small federated trials on digits, and exchanges that break what passes through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from clbench.cells import Cell
from clbench.federated.messages import Reply
from clbench.federated.training import FederatedTraining
from clbench.testing.cells import make_cell
from clbench.trial import Trial, prepare

SMALL = ("scenario.setting=task", "federated.clients=4", "federated.rounds=2", "scenario.n_tasks=5")


def federated_cell(*overrides: str, method: str = "naive", partition: str = "iid", seed: int = 0, folder: Any = "runs") -> Cell:
    """Return a cell of `SMALL` and more."""
    return make_cell(method, [f"+federated={partition}", *SMALL, *overrides], seed=seed, results_dir=folder)


def ready(cell: Cell, told: list[str] | None = None) -> tuple[Trial, FederatedTraining]:
    """Return the trial of a cell, before anything is trained, and its training."""
    trial = prepare(cell, lambda event: told.append(event["text"]) if told is not None and "text" in event else None)
    assert isinstance(trial.training, FederatedTraining)
    return trial, trial.training


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


def model(trial: Trial) -> dict[str, torch.Tensor]:
    """Return copies of the weights as they stand."""
    return {name: value.detach().clone() for name, value in trial.learner.model.state_dict().items()}
