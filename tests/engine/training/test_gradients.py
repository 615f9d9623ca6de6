"""Clipping and micro-batches: a step of a bounded or divided batch, against the gradient of the whole one."""

from __future__ import annotations

import pytest
import torch

from clbench.engine.learner.batch import Batch
from clbench.engine.training.loop import Training
from clbench.method import Method
from tests.methods.shipped import shipped
from tests.streams import blob_stream, learner_for, trainer


class Keeps(Method):
    """Keeps the update of the last step, by parameter."""

    def edit_update(self, learner, updates):
        self.update = {name: value.clone() for name, value in updates.items()}


class Regularised(Keeps):
    """With a penalty on a head that takes no part in the first samples' loss."""

    def penalty(self, learner, batch, logits):
        return 0.1 * sum(value.square().sum() for value in learner.parameters.values())


def step(method=None, stream=None, n=16, batch=None, **how):
    """Return the update of one step on the first `n` samples, and the loss."""
    stream = stream or blob_stream("class", "all")
    learner, method = learner_for(stream), method or Keeps()
    method.setup(learner, stream)
    learner.start(stream.tasks[-1].index)
    training = Training(learner, method, trainer(**how))
    training.start(stream.tasks[-1])
    learner.train()
    made = batch(learner) if batch else learner.batch(stream.tasks[-1].train, torch.arange(n))
    loss = training.step(made)
    return method.update, float(loss)


def norm(update):
    return float(torch.cat([value.flatten() for value in update.values()]).norm())


def test_a_norm_bounds_the_step_and_keeps_its_direction():
    free, _ = step()
    bound = norm(free) / 4
    clipped, _ = step(clip_norm=bound)
    assert norm(clipped) == pytest.approx(bound, rel=1e-3)
    for name, value in clipped.items():
        torch.testing.assert_close(4 * value, free[name], rtol=1e-3, atol=1e-6)
    loose, _ = step(clip_norm=2 * norm(free))
    for name, value in loose.items():
        torch.testing.assert_close(value, free[name], rtol=1e-5, atol=1e-7)


def test_both_bounds_hold_at_once_by_value_first():
    free, _ = step()
    value, limit = max(float(each.abs().max()) for each in free.values()) / 3, 0.05
    by_value, _ = step(clip_value=value)
    both, _ = step(clip_value=value, clip_norm=limit)
    assert norm(by_value) > limit
    assert norm(both) == pytest.approx(limit, rel=1e-3)
    share = limit / norm(by_value)
    for name, each in both.items():
        torch.testing.assert_close(each, share * by_value[name], rtol=1e-3, atol=1e-6)


def test_the_bound_is_on_what_the_method_made_of_the_gradients():
    class Thousandfold(Keeps):
        def edit_gradients(self, learner, batch):
            for name, gradient in learner.gradients.items():
                learner.gradients[name] = 1000 * gradient

    update, _ = step(Thousandfold(), clip_norm=0.5)
    assert norm(update) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("method", [Keeps, Regularised])
@pytest.mark.parametrize("size", [1, 5, 8])
def test_micro_batches_make_the_step_and_the_loss_of_the_whole(method, size):
    whole, loss = step(method())
    parts, sum_of_losses = step(method(), micro_batch_size=size)
    assert sum_of_losses == pytest.approx(loss, rel=1e-4)
    assert parts.keys() == whole.keys()
    for name, value in parts.items():
        torch.testing.assert_close(value, whole[name], rtol=1e-3, atol=1e-6)


def test_a_head_that_only_a_later_part_uses_gets_its_gradient():
    """In the task setting the first part holds samples of one task, the second those of another."""
    stream = blob_stream("task")

    def joined(learner):
        own = learner.batch(stream.tasks[2].train, torch.arange(4))
        memory = learner.memory(4)
        memory.offer(stream.tasks[0].train.rows[torch.tensor([0, 1, 40, 41])], 0)
        return learner.join(own, memory.read(torch.arange(4)))

    whole, loss = step(stream=stream, batch=joined)
    parts, sum_of_losses = step(stream=stream, batch=joined, micro_batch_size=4)
    assert float(whole["heads.0.weight"].norm()) > 0
    assert sum_of_losses == pytest.approx(loss, rel=1e-4)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-3, atol=1e-6)


def test_parts_of_a_batch_know_which_samples_are_its_own():
    rows = torch.arange(10)
    batch = Batch(rows.float().unsqueeze(1), rows % 3, rows, 1, 2, rows % 2, own=6)
    parts = batch.parts(4)
    assert [len(part) for part in parts] == [4, 4, 2]
    assert [part.own for part in parts] == [4, 2, 0]
    assert [(part.task, part.epoch) for part in parts] == [(1, 2)] * 3
    for name in ("inputs", "labels", "rows", "tasks"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))


def test_replay_in_micro_batches_is_replay():
    """The method draws once for the whole batch; its parts are cut afterwards."""
    stream, found = blob_stream(), []
    for size in (None, 5):
        learner, method = learner_for(stream), shipped("er", buffer_size=40)
        method.setup(learner, stream)
        training = Training(learner, method, trainer(epochs=1, micro_batch_size=size))
        for task in stream.tasks[:2]:
            training.learn(task)
        found.append((learner, method, training.losses))
    (one, kept, curve), (other, kept_in_parts, curve_in_parts) = found
    assert curve_in_parts == pytest.approx(curve, rel=1e-3)
    assert torch.equal(kept.memory.rows, kept_in_parts.memory.rows)
    for name, value in one.parameters.items():
        torch.testing.assert_close(value, other.parameters[name], rtol=1e-2, atol=1e-3)
