"""Bounds that see more data than a continual learner may: joint and cumulative training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from clbench.engine.learner.learner import Learner
from clbench.method import Access, Method, Train
from clbench.stream import Task


@dataclass
class Joint(Method):
    """Learn all tasks at once: the usual upper bound. There is one event, so nothing can be forgotten."""

    access: ClassVar[Access] = "all"
    answers = True

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Train on the union of all tasks."""
        train(learner.stream.union(sorted([*history, task], key=lambda t: t.index)))


@dataclass
class Cumulative(Method):
    """At each task learn again from all data seen so far.

    Args:
        reset: start each time from the initial weights (the usual bound); false: go on from the last ones.
    """

    reset: bool
    access: ClassVar[Access] = "seen"
    answers = True

    @property
    def resets(self) -> bool:  # type: ignore[override]
        """Whether each task starts anew."""
        return self.reset

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Train on the union of the tasks seen."""
        if self.reset:
            learner.reset_model()
        train(learner.stream.union([*history, task]))
