"""Unlearning by training on wrong labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clbench.engine.learner.learner import Learner
from clbench.method import Train
from clbench.methods.random_targets import with_random_targets
from clbench.methods.unlearning import Unlearner, check_requests
from clbench.stream import Stream, Task


@dataclass
class RandomLabels(Unlearner):
    """Train on the data to forget with wrong labels (Graves, Nagisetty, Ganesh, AAAI 2021).

    Once per request, each sample gets one of the other active outputs, or another label word as its answer, with equal
    probability.
    """

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Check the requests (`check_requests`)."""
        check_requests(learner, stream)

    def forget(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Draw the labels and train on them."""
        train(with_random_targets(task.train, learner, task, "other"), self.epochs)
