"""The loop: order of batches, independence of random streams, divergence, schedules, validation."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import clbench.engine.training.loop as engine
from clbench.engine.optimizers import SGD
from clbench.engine.schedules import Constant, Cosine, Plateau, Step
from clbench.engine.training.loop import Training
from clbench.errors import ConfigError, DivergedError
from clbench.method import Method
from clbench.methods.naive import Naive
from tests.methods.shipped import shipped
from tests.streams import blob_stream, learn, learner_for, same, trainer, weights


def test_a_step_is_the_textbook_step():
    stream = blob_stream("class", "all")
    learner = learner_for(stream)
    learner.start(0)
    model = copy.deepcopy(learner.model)
    batch = learner.batch(stream.tasks[0].train, torch.arange(16))
    training = Training(learner, Naive(), trainer())
    loss = training.step(batch)
    reference = torch.nn.functional.cross_entropy(model(batch.inputs), batch.labels)
    reference.backward()
    assert torch.equal(loss, reference.detach())
    for ours, theirs in zip(learner.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach() - 0.05 * theirs.grad, rtol=0, atol=1e-7)


def test_every_sample_is_visited_once_per_epoch_in_another_order():
    stream = blob_stream()
    seen = []

    class Watch(Method):
        def extend_batch(self, learner, batch):
            seen.append((batch.epoch, batch.rows.tolist()))
            return batch

    learn(Watch(), stream, tasks=1)
    epochs = [[row for epoch, rows in seen if epoch == e for row in rows] for e in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(stream.tasks[0].train.rows.tolist())
    assert epochs[0] != epochs[1]


def test_a_method_that_draws_numbers_shifts_nothing():
    class Gambler(Method):
        def extend_batch(self, learner, batch):
            torch.rand(3, generator=learner.generator("gambler", batch.epoch))
            torch.rand(5)  # even the global generator
            return batch

    stream = blob_stream()
    a, _ = learn(Naive(), stream)
    b, _ = learn(Gambler(), stream)
    assert same(weights(a), weights(b))


def test_gathering_many_batches_at_once_changes_nothing(monkeypatch):
    stream = blob_stream()
    results = []
    for gather in (1, 40, 10_000):
        monkeypatch.setattr(engine, "GATHER", gather)
        results.append(weights(learn(Naive(), stream)[0]))
    assert same(results[0], results[1])
    assert same(results[0], results[2])


def test_an_exploding_loss_ends_with_a_reason():
    stream = blob_stream()
    with pytest.raises(DivergedError, match=r"task 0, epoch \d.*optimizer.lr=1e\+20"):
        learn(Naive(), stream, learner_for(stream, optimizer=SGD(1e20)), how=trainer(epochs=6))


def test_edit_update_sees_the_whole_step():
    """Momentum and weight decay are in what the method edits: setting it to zero stops every parameter."""

    class Stop(Method):
        def edit_update(self, learner, updates):
            for update in updates.values():
                update.zero_()

    stream = blob_stream()
    learner = learner_for(stream, optimizer=SGD(0.1, 0.9, 0.1))
    before = weights(learner)
    learn(Stop(), stream, learner)
    assert same(before, weights(learner))


def test_editing_the_update_leaves_the_moments_alone():
    """The velocity keeps the unedited gradient: an edit that restores the step gives the plain run."""

    class Undo(Method):
        def edit_update(self, learner, updates):
            for name, update in updates.items():
                updates[name] = (update * 0) + update

    stream = blob_stream()
    runs = [learn(m, stream, learner_for(stream, optimizer=SGD(0.1, 0.9)))[0] for m in (Naive(), Undo())]
    assert same(*(weights(run) for run in runs))


def test_a_schedule_that_needs_validation_says_so():
    with pytest.raises(ConfigError, match=r"scenario.valid_fraction"):
        learn(Naive(), blob_stream(), how=trainer(schedule=Plateau(2.0, 2, 1e-3)))


def test_plateau_restores_the_best_weights():
    stream = blob_stream(valid_fraction=0.25)
    learner = learner_for(stream)
    record = []

    class Watch(Method):
        pass

    training = Training(learner, Watch(), trainer(epochs=8, schedule=Plateau(2.0, 1, 1e-9)))
    original = training.validation_loss

    def noisy():
        record.append((original() if len(record) != 2 else -1.0, weights(learner)))  # the third epoch counts as best
        return record[-1][0]

    training.validation_loss = noisy
    learner.start(0)
    training.start(stream.tasks[0])
    training.fit(stream.tasks[0].train)
    assert same(weights(learner), record[2][1])


def test_plateau_divides_and_stops():
    schedule = Plateau(factor=2.0, patience=2, min_lr=0.2)
    assert schedule.start(1.0, 100) == 1.0
    rates = [schedule.after_epoch(e, loss) for e, loss in enumerate([1.0, 2.0, 2.0, 2.0, 0.5, 2.0, 2.0, 2.0])]
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert schedule.after_epoch(8, 2.0) is None


@given(epochs=st.integers(1, 50), lr=st.floats(1e-4, 10))
@settings(max_examples=30, deadline=None)
def test_cosine_falls_from_the_base_to_its_end(epochs, lr):
    schedule = Cosine(final=0.1)
    rates = [schedule.start(lr, epochs), *(schedule.after_epoch(e, None) for e in range(epochs))]
    assert rates[0] == lr
    assert all(a >= b for a, b in pairwise(rates))
    assert math.isclose(rates[-1], 0.1 * lr, rel_tol=1e-9)


def test_step_divides_at_its_marks():
    schedule = Step(at=[2, 4], factor=10.0)
    assert schedule.start(1.0, 5) == 1.0
    assert [schedule.after_epoch(e, None) for e in range(5)] == [1.0, 0.1, 0.1, 0.01, 0.01]


def test_constant_is_constant():
    schedule = Constant()
    assert {schedule.start(0.3, 9), schedule.after_epoch(0, None)} == {0.3}


def test_callbacks_count_steps_within_the_task():
    stream = blob_stream()
    learner, steps = learner_for(stream), []
    training = Training(learner, Naive(), trainer(epochs=2))
    for task in stream.tasks[:2]:
        learner.start(task.index)
        training.start(task, steps.append)
        training.fit(task.train)
    assert steps == [*range(1, 11), *range(1, 11)]


def test_iterations_are_as_many_steps_whatever_the_size_of_the_task():
    stream = blob_stream()
    for iterations in (3, 5, 12):  # a pass over a task has five batches
        steps = []

        class Count(Method):
            def extend_batch(self, learner, batch, steps=steps):
                steps.append((batch.epoch, len(batch)))
                return batch

        learn(Count(), stream, tasks=1, how=trainer(epochs=1, batch_size=16, iterations=iterations))
        assert len(steps) == iterations
        assert steps == [(i // 5, 16) for i in range(iterations)]


def test_five_iterations_are_one_epoch_bit_for_bit():
    stream = blob_stream()
    one, _ = learn(Naive(), stream, how=trainer(epochs=1))
    five, _ = learn(Naive(), stream, how=trainer(epochs=7, iterations=5))
    assert same(weights(one), weights(five))


def test_clipping_by_value_bounds_every_entry_of_the_step():
    stream = blob_stream()
    moved = []

    class Watch(Method):
        def edit_update(self, learner, updates):
            moved.append(max(float(update.abs().max()) for update in updates.values()))

    learn(Watch(), stream, tasks=1)
    free = list(moved)
    moved.clear()
    learn(Watch(), stream, tasks=1, how=trainer(clip_value=0.01))
    assert max(free) > 0.01
    assert max(moved) == pytest.approx(0.01)


def test_a_method_that_acts_between_epochs_needs_two():
    stream = blob_stream("domain")
    for how in (trainer(epochs=1), trainer(epochs=5, iterations=3)):
        with pytest.raises(ConfigError, match=r"ROGO acts between epochs.*one"):
            learn(shipped("rogo"), stream, how=how)
    learn(shipped("rogo"), stream, how=trainer(epochs=2))
