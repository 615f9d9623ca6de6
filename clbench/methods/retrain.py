"""Retraining without what is to be forgotten: the standard that unlearning is measured by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from clbench.engine.learner.learner import Learner
from clbench.method import Access, Method, Requests, Train
from clbench.stream import Task


@dataclass
class Retrain(Method):
    """At each request learn the tasks again, from the initial weights, without all data asked to be forgotten so far.

    Exact unlearning by definition, at the price of a whole training run per request. Batches are drawn anew for each request.
    """

    access: ClassVar[Access] = "retained"
    requests: ClassVar[Requests] = "met"
    answers: ClassVar[bool] = True
    resets: ClassVar[bool] = True

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Learn a task plainly, or start over."""
        if task.kind == "learn":
            train(task.train)
            return
        learner.reset_model()
        for earlier in history:
            learner.start(earlier.index)  # the outputs in play are those of that time
            train(earlier.train)
        learner.start(task.index)
