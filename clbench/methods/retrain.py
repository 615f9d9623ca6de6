"""Retraining without the data to forget: the reference for unlearning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from clbench.engine.learner.learner import Learner
from clbench.method import Access, Method, Requests, Train, Trait
from clbench.stream import Task


@dataclass
class Retrain(Method):
    """At each request, learn the tasks again from the initial weights, without all data to forget so far.

    This is exact unlearning by definition, at the cost of a whole training per request. Each request draws new batches.
    """

    access: ClassVar[Access] = "retained"
    requests: ClassVar[Requests] = "handled"
    supports_generation: ClassVar[bool] = True
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.RESETS})

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Learn a task plainly, or start over."""
        if task.kind == "learn":
            train(task.train)
            return
        learner.reset_model()
        for earlier in history:
            learner.start(earlier.index)  # the active outputs are those of that time
            train(earlier.train)
        learner.start(task.index)
