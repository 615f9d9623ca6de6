"""Methods that promise to hold the outputs of earlier tasks do so, whatever outputs the loss of a later task covers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from clbench.engine.learner.learner import Learner
from clbench.engine.optimizers import SGD, Adam, Optimizer
from clbench.engine.replicas.stacked_loop import StackedTraining
from clbench.engine.training.loop import Training
from clbench.method import Method
from clbench.methods.compose import Compose
from tests.methods.shipped import shipped
from tests.streams import Blobs, blob_stream, learner_for, trainer

WHOLE: dict[str, dict[str, Any]] = {
    "gpm": {"threshold": 1.0, "samples": 1000},
    "sgp": {"threshold": 1.0, "samples": 1000, "scale": 1e12},
    "rogo": {"threshold": 1.0, "samples": 1000, "cosine": 2.0},
    "trgp": {"threshold": 1.0, "samples": 1000, "trust": 2.0},
    "owm": {"alpha": 1e-9},
    "adam_nscl": {"ratio": 1.0},
    "osft": {"schedule": "fixed", "fraction": 1.0, "others": "freeze", "from_task": 1},
    "freeze": {"layers": 2, "embeddings": True, "from_task": 1},
}
"""Methods that promise to hold old outputs, each with values at which the promise is exact."""
EXACT = 1e-3
"""Largest change of an old output, relative to the largest one. Rounding alone is near 1e-7."""


def make(name: str) -> Method:
    return shipped(name, **WHOLE.get(name, {}))


def beside_lwf() -> Method:
    """GPM with a method that distils the outputs of old heads, and so moves these heads by itself."""
    return Compose({"lwf": shipped("lwf"), "gpm": make("gpm")})


def narrow(outputs: str, seed: int, optimizer: Optimizer) -> Learner:
    """Return a learner of tasks with ten samples: they leave directions to each layer in which a later task can learn."""
    stream = blob_stream("task", outputs, seed=seed, dataset=Blobs(per_class=5))
    return learner_for(stream, seed, optimizer, hidden=(24, 16))


def learn(
    method: Callable[[], Method], outputs: str, stacked: bool, optimizer: Callable[[], Optimizer]
) -> list[tuple[float, Any]]:
    """Learn two tasks with two seeds; return each one's change of task 0's outputs in task 1, and the learner.

    The change is the largest one, relative to the largest output.
    """
    learners = [narrow(outputs, seed, optimizer()) for seed in (0, 1)]
    trainings = []
    for learner in learners:
        made = method()
        made.setup(learner, learner.stream)
        trainings.append(Training(learner, made, trainer(epochs=2)))
    together = StackedTraining(trainings) if stacked else None
    before: list[torch.Tensor] = []
    for index in (0, 1):
        for training in trainings:
            if together is None:
                training.learn(training.learner.stream.tasks[index])
        if together is not None:
            together.learn(index)
        if index == 0:
            before = [old_outputs(training) for training in trainings]
    pairs = [(was, old_outputs(training)) for was, training in zip(before, trainings, strict=True)]
    return [
        (float((now - was).abs().max() / was.abs().max()), learner) for (was, now), learner in zip(pairs, learners, strict=True)
    ]


@torch.no_grad()
def old_outputs(training: Training) -> torch.Tensor:
    """Return the outputs of task 0's own head on its training samples, where the promise is exact."""
    learner = training.learner
    learner.model.eval()
    split = learner.stream.tasks[0].train
    return training.method.predict(learner, learner.stream.preprocess(split.raw()), 0).clone()


OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "sgd": lambda: SGD(0.05),  # an MLP's step is then projected at the inputs of layers
    "momentum": lambda: SGD(0.05, momentum=0.5, weight_decay=1e-3),
    "adam": lambda: Adam(1e-3, (0.9, 0.999), 1e-8),
}
ALONE = ("rogo", "trgp")
"""Methods whose seeds are never trained side by side."""


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("outputs", ["seen", "all"])
@pytest.mark.parametrize("name", WHOLE)
def test_old_outputs_stay(name: str, outputs: str, optimizer: str) -> None:
    for change, _ in learn(lambda: make(name), outputs, False, OPTIMIZERS[optimizer]):
        assert change <= EXACT


@pytest.mark.parametrize("outputs", ["seen", "all"])
@pytest.mark.parametrize("name", [name for name in WHOLE if name not in ALONE])
def test_old_outputs_stay_where_seeds_train_side_by_side(name: str, outputs: str) -> None:
    for change, _ in learn(lambda: make(name), outputs, True, OPTIMIZERS["momentum"]):
        assert change <= EXACT


@pytest.mark.parametrize("outputs", ["seen", "all"])
def test_old_outputs_stay_beside_a_method_that_distils_into_old_heads(outputs: str) -> None:
    for change, _ in learn(beside_lwf, outputs, False, OPTIMIZERS["sgd"]):
        assert change <= EXACT


@pytest.mark.parametrize("name", [*WHOLE, "ogd"])  # OGD holds old outputs to first order, and its heads by the same rule
def test_later_tasks_move_their_own_head_and_no_earlier_one(name: str) -> None:
    _, learner = learn(lambda: make(name), "all", False, OPTIMIZERS["adam"])[0]
    assert [[p.requires_grad for p in head.parameters()] for head in learner.model.heads] == [[False] * 2, [True] * 2, [True] * 2]


def test_plain_training_moves_old_outputs() -> None:
    """The tests above could therefore fail."""
    for optimizer in OPTIMIZERS.values():
        for change, _ in learn(Method, "all", False, optimizer):
            assert change > 10 * EXACT
