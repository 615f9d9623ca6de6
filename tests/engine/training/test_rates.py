"""The learning rate of every step: what a schedule says, from its beginning in every task."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from clbench.engine.optimizers import SGD
from clbench.engine.schedules import Constant, Cosine, Plateau, Step
from clbench.engine.training.loop import Training
from clbench.method import Method
from tests.streams import blob_stream, learner_for, trainer


class Rates(Method):
    """Keeps the rate of every step, and how far the step went relative to its direction, by task."""

    def setup(self, learner, stream):
        self.rates, self.moved = {}, {}

    def edit_update(self, learner, updates):
        self._name = next(iter(updates))
        self._before = learner.parameters[self._name].detach().clone()
        self._direction = updates[self._name].clone()

    def after_step(self, learner):
        step = (self._before - learner.parameters[self._name]).norm() / self._direction.norm()
        self.rates.setdefault(learner.task, []).append(learner.lr)
        self.moved.setdefault(learner.task, []).append(float(step))


def rates(schedule, losses=None, tasks=2, lr=0.08, stream=None, **options):
    """Return the rate of each step by task, one step per epoch; `losses` are the validation losses of every task."""
    stream = stream or blob_stream(valid_fraction=0.25)
    learner, method = learner_for(stream, optimizer=SGD(lr)), Rates()
    method.setup(learner, stream)
    training = Training(learner, method, trainer(batch_size=100, schedule=schedule, **{"epochs": 4} | options))
    if losses is not None:
        training.validation_loss = lambda: losses[len(training.losses) - 1]
    for task in stream.tasks[:tasks]:
        training.learn(task)
    for task, found in method.moved.items():
        assert found == pytest.approx(method.rates[task], rel=1e-3), "the step has the rate that the learner says"
    return method.rates


def test_a_step_schedule_begins_anew_in_every_task():
    found = rates(Step([1, 3], 4.0))
    assert found == {task: pytest.approx([0.08, 0.02, 0.02, 0.005]) for task in (0, 1)}


def test_a_cosine_takes_the_epochs_of_each_task():
    found = rates(Cosine(0.5), epochs=[2, 4])
    wanted = {task: [0.08 * (0.5 + 0.25 * (1 + math.cos(math.pi * e / n))) for e in range(n)] for task, n in ((0, 2), (1, 4))}
    assert found == {task: pytest.approx(values) for task, values in wanted.items()}


def test_a_cosine_is_half_a_cosine():
    """Not a straight line between the same ends."""
    found = rates(Cosine(0.0), epochs=4, tasks=1)
    assert found[0] == pytest.approx([0.08, 0.08 * (2 + math.sqrt(2)) / 4, 0.04, 0.08 * (2 - math.sqrt(2)) / 4])


def test_a_plateau_begins_every_task_with_its_rate_no_best_loss_and_full_patience():
    """In the first task the loss is best at once. In the second no loss is as low, and still the first is a new best."""
    schedule = Plateau(2.0, 2, 1e-9)
    first = rates(schedule, [1.0, 2.0, 2.0, 2.0])
    assert first == {task: pytest.approx([0.08, 0.08, 0.08, 0.04]) for task in (0, 1)}


def test_a_new_best_gives_the_whole_patience_again():
    found = rates(Plateau(2.0, 2, 1e-9), [2.0, 3.0, 1.0, 2.0, 2.0, 2.0], tasks=1, epochs=6)
    assert found == {0: pytest.approx([0.08] * 5 + [0.04])}


def test_a_plateau_still_uses_its_least_rate_and_stops_below_it():
    assert rates(Plateau(2.0, 1, 0.04), [1.0] * 9, epochs=9) == {task: [0.08, 0.08, 0.04] for task in (0, 1)}
    assert rates(Plateau(2.0, 1, 0.05), [1.0] * 9, epochs=9) == {task: [0.08, 0.08] for task in (0, 1)}


def test_a_loss_as_low_as_the_best_is_no_new_best():
    assert rates(Plateau(2.0, 1, 1e-9), [1.0, 1.0, 1.0, 1.0], tasks=1) == {0: pytest.approx([0.08, 0.08, 0.04, 0.02])}


def test_the_later_rate_is_for_later_tasks_only():
    assert rates(Constant(), tasks=3, epochs=1, later_lr=0.01) == {0: [0.08], 1: [0.01], 2: [0.01]}
    found = rates(Step([1], 2.0), epochs=2, later_lr=0.01)
    assert found == {0: pytest.approx([0.08, 0.04]), 1: pytest.approx([0.01, 0.005])}


def test_the_last_entry_of_epochs_holds_for_all_later_tasks():
    found = rates(Constant(), tasks=3, epochs=[3, 1])
    assert {task: len(values) for task, values in found.items()} == {0: 3, 1: 1, 2: 1}


def test_a_tasks_own_number_of_steps_comes_before_the_trainers():
    stream = blob_stream()
    own = replace(stream, tasks=(replace(stream.tasks[0], iterations=5), *stream.tasks[1:]))
    found = rates(Constant(), stream=own, epochs=2, iterations=3)
    assert {task: len(values) for task, values in found.items()} == {0: 5, 1: 3}


def test_a_share_of_the_work_is_a_share_of_the_steps():
    stream = blob_stream()
    learner, method = learner_for(stream), Rates()
    method.setup(learner, stream)
    training = Training(learner, method, trainer(epochs=4))  # five steps each
    for work, steps in ((1.0, 20), (0.5, 10), (0.01, 1)):
        learner.start(0)
        method.setup(learner, stream)
        training.start(stream.tasks[0], work=work)
        training.fit(stream.tasks[0].train)
        assert len(method.rates[0]) == steps
    assert torch.isfinite(torch.tensor(method.moved[0])).all()
