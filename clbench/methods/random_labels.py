"""Unlearning by training on wrong labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clbench.engine.learner.learner import Learner
from clbench.method import Train
from clbench.methods.random_targets import relabelled
from clbench.methods.unlearning import Unlearner
from clbench.stream import Task


@dataclass
class RandomLabels(Unlearner):
    """Train on what is to be forgotten under other labels (the relabelling of Graves, Nagisetty, Ganesh, AAAI 2021).

    Each sample gets one of the other outputs in play, or another label word as its answer, all equally likely, once per request.
    """

    def forget(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Draw the labels and train on them."""
        train(relabelled(task.train, learner, task, "other"), self.epochs)
