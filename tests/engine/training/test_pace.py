"""Schedules over epochs, steps and rounds: the rates of every step."""

from __future__ import annotations

import math
from typing import Any

import pytest

from clbench.engine.pace import Pace
from clbench.engine.schedules import Constant, Cosine, Plateau, Step
from clbench.engine.training.task_length import refuse_idle_schedule
from clbench.errors import ConfigError
from clbench.method import Method
from tests.streams import blob_stream, learn, trainer


class Noting(Method):
    """Notes the rate of every step."""

    def setup(self, learner, stream):
        self.rates: list[float] = []

    def edit_update(self, learner, updates):
        self.rates.append(learner.lr)


def rates(**how: Any) -> list[float]:
    method = Noting()
    learn(method, blob_stream(), tasks=1, how=trainer(**how))
    return method.rates


def cosine(count: int, lr: float) -> list[float]:
    return [lr * 0.5 * (1 + math.cos(math.pi * done / count)) for done in range(count)]


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_schedule_over_steps_changes_the_rate_at_every_step(epochs):
    found = rates(epochs=epochs, schedule=Cosine(0.0, "step"))
    assert found == pytest.approx(cosine(len(found), found[0]))
    assert len(set(found)) == len(found) > 2


def test_a_schedule_over_epochs_keeps_the_rate_within_each():
    found = rates(epochs=3, schedule=Cosine(0.0, "epoch"))
    each = len(found) // 3
    assert found == pytest.approx([rate for rate in cosine(3, found[0]) for _ in range(each)])


def test_steps_are_counted_where_iterations_cut_the_last_epoch_short():
    found = rates(iterations=4, schedule=Step([1, 3], 10.0, "step"))
    assert found == pytest.approx([found[0], found[0] / 10, found[0] / 10, found[0] / 100])


def test_a_schedule_over_rounds_keeps_its_rate_within_a_round():
    found = [Pace(Cosine(0.5, "round"), epochs=2, steps=8, round=number, rounds=4) for number in range(4)]
    firsts = [pace.start(0.2) for pace in found]
    assert firsts == pytest.approx([0.2 * (0.5 + 0.5 * share) for share in cosine(4, 1.0)])
    assert firsts[0] == 0.2
    assert [pace.after_epoch(0, None) for pace in found] == firsts
    assert not any(pace.by_step for pace in found)


def test_a_method_may_rescale_each_of_them():
    for per in ("epoch", "step", "round"):
        pace = Pace(Cosine(1.0, per), epochs=4, steps=8, round=1, rounds=4)
        pace.start(0.1)
        pace.rescale(0.5)
        assert pace.after_epoch(0, None) == pytest.approx(0.05)


ONE = {"epoch": [1, 1], "step": [1, 9]}
ROUNDS = {"epoch": [1], "step": [9], "round": [4]}


@pytest.mark.parametrize(
    ("schedule", "counts", "said"),
    [
        (Cosine(0.0), ONE, "epoch to epoch, and a task has one.*trainer.schedule.per=step"),
        (Cosine(0.0), ROUNDS, "trainer.schedule.per=round"),
        (Cosine(0.0, "round"), ONE, "per=round counts the rounds.*none"),
        (Step([3], 2.0), {"epoch": [3], "step": [9]}, r"after epoch 3, and a task has 3.*at=\[1\].*MORE=4"),
        (Step([1, 9], 2.0, "step"), {"epoch": [3], "step": [9]}, "after step 9"),
        (Plateau(2.0, 3, 1e-3), {"epoch": [4], "step": [9]}, "after 4 epochs at the earliest.*patience=2.*MORE=5"),
    ],
)
def test_what_never_acts_is_refused_with_what_would(schedule, counts, said):
    with pytest.raises(ConfigError, match=f"(?s){said}"):
        refuse_idle_schedule(schedule, counts, "", lambda unit, needed: f"MORE={needed}")


@pytest.mark.parametrize(
    ("schedule", "counts"),
    [
        (Constant(), ONE),
        (Cosine(0.0), {"epoch": [1, 2], "step": [9]}),
        (Cosine(0.0, "step"), ONE),
        (Cosine(0.0, "round"), ROUNDS),
        (Step([2], 2.0), {"epoch": [3], "step": [9]}),
        (Plateau(2.0, 3, 1e-3), {"epoch": [5], "step": [9]}),
    ],
)
def test_what_acts_in_one_task_is_taken(schedule, counts):
    refuse_idle_schedule(schedule, counts, "", lambda unit, needed: "")
