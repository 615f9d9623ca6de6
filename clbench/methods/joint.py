"""Upper bounds, which see more data than a continual learner may: joint and cumulative training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from clbench.engine.learner.learner import Learner
from clbench.method import Access, Method, Train, Trait
from clbench.stream import Task


@dataclass
class Joint(Method):
    """Learn all tasks at once: the usual upper bound. There is only one training, so nothing can be forgotten."""

    access: ClassVar[Access] = "all"
    supports_generation = True

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Train on the union of all tasks."""
        train(learner.stream.union(sorted([*history, task], key=lambda t: t.index)))


@dataclass
class Cumulative(Method):
    """At each task, train on all data seen so far.

    Args:
        reset: True: start each time from the initial weights (the usual bound). False: continue from the last ones.
    """

    reset: bool
    access: ClassVar[Access] = "seen"
    supports_generation = True

    @property
    def traits(self) -> frozenset[Trait]:  # type: ignore[override]
        """The model is reset at each task if `reset` says so."""
        return frozenset({Trait.RESETS} if self.reset else ())

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Train on the union of the tasks seen."""
        if self.reset:
            learner.reset_model()
        train(learner.stream.union([*history, task]))
