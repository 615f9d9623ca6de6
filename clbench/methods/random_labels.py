"""Unlearning by training on wrong labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from clbench.engine.learner import Learner
from clbench.methods.base import Train
from clbench.methods.unlearning import Unlearner
from clbench.stream import Task


@dataclass
class RandomLabels(Unlearner):
    """Train on what is to be forgotten under other labels (the relabelling of Graves, Nagisetty, Ganesh, AAAI 2021).

    Each sample gets one of the other outputs in play, all equally likely, once per request.
    """

    answers: ClassVar[bool] = False

    def forget(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Draw the labels and train on them."""
        outputs, labels = learner.stream.active_outputs(task.index), task.train.labels
        draws = learner.generator("random_labels", task.index)
        shift = torch.randint(1, outputs, (len(labels),), generator=draws).to(labels.device)
        train(replace(task.train, labels=(labels + shift) % outputs), self.epochs)
