"""An epoch: all samples, modes of the model, counts and curves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clbench.engine.learner.batch import batch_sizes
from clbench.engine.learner.learner import Learner
from clbench.engine.optimizers import SGD
from clbench.engine.training.loop import Training
from clbench.method import Method
from clbench.methods.naive import Naive
from clbench.models.classifier import Classifier
from tests.engine.training.test_validation_loss import Moody
from tests.streams import blob_stream, learner_for, trainer


class Watch(Method):
    """Keeps rows, loss and the model's mode of every step."""

    def setup(self, learner, stream):
        self.rows, self.losses, self.training = [], [], []

    def criterion(self, learner, batch, logits):
        loss = super().criterion(learner, batch, logits)
        self.rows.append(batch.rows.tolist())
        self.losses.append(float(loss.detach()))
        self.training.append(learner.model.training)
        return loss


def watched(stream=None, learner=None, on_step=None, tasks=1, **how):
    stream = stream or blob_stream()
    learner, method = learner or learner_for(stream), Watch()
    method.setup(learner, stream)
    training = Training(learner, method, trainer(**how))
    for task in stream.tasks[:tasks]:
        training.learn(task, on_step and (lambda step: on_step(learner)))
    return training, method


@pytest.mark.parametrize("batch_size", [30, 79, 80, 81])
def test_no_sample_is_left_out_where_the_last_batch_is_a_part_of_one(batch_size):
    training, method = watched(batch_size=batch_size, epochs=1)
    assert sorted(row for rows in method.rows for row in rows) == sorted(training.task.train.rows.tolist())
    assert training.samples == 80


def test_batches_are_as_large_as_said_and_none_is_empty():
    plain = learner_for(blob_stream()).model
    for n in range(1, 40):
        for size in (1, 7, 16, 50):
            sizes = batch_sizes(n, size, plain)
            assert sum(sizes) == n
            assert max(sizes) <= size
            assert min(sizes) >= 1
            assert len(sizes) == -(-n // size)


def test_the_curve_is_the_mean_over_the_steps_of_each_epoch():
    training, method = watched(batch_size=30, epochs=3)
    assert len(method.losses) == 9
    by_hand = [sum(method.losses[3 * epoch : 3 * epoch + 3]) / 3 for epoch in range(3)]
    assert training.losses == pytest.approx(by_hand, rel=1e-5)


def test_samples_are_those_that_were_trained_on():
    training, method = watched(batch_size=30, epochs=1, iterations=4, tasks=2)  # 30, 30, 20 and 30 again
    assert training.samples == sum(len(rows) for rows in method.rows) == 220


def moody(stream):
    torch.manual_seed(0)
    return Learner(stream, lambda: Classifier(Moody(), [6], (1, 4, 4)), SGD(0.05), torch.device("cpu"), 0)


def test_steps_are_in_training_mode_whatever_was_measured_before():
    stream = blob_stream()
    learner = moody(stream)
    learner.model.eval()
    _, method = watched(stream, learner, on_step=lambda learner: learner.model.eval(), tasks=2)
    assert method.training == [True] * 20
    learner.model.eval()
    _, method = watched(stream, learner, tasks=2)
    assert method.training == [True] * 20


def test_frozen_modules_stay_in_evaluation_mode():
    stream = blob_stream()
    learner = moody(stream)
    learner.freeze(learner.model.backbone)
    modes = []

    class Look(Method):
        def after_step(self, learner):
            modes.append((learner.model.training, learner.model.backbone.training))

    Training(learner, Look(), trainer()).learn(stream.tasks[0], lambda step: learner.model.eval())
    assert modes == [(True, False)] * 10
    learner.freeze(learner.model.backbone, False)
    learner.train()
    assert learner.model.backbone.training


def test_frozen_parameters_do_not_move():
    stream = blob_stream()
    learner = learner_for(stream, optimizer=SGD(0.05, 0.9, 0.1))
    frozen = learner.parameters["backbone.layers.0.weight"]
    frozen.requires_grad_(False)
    before = frozen.detach().clone()
    head = learner.parameters["heads.0.weight"].detach().clone()
    Training(learner, Naive(), trainer()).learn(stream.tasks[0])
    assert torch.equal(frozen, before)
    assert not torch.equal(learner.parameters["heads.0.weight"], head)


def test_a_request_that_a_method_ignores_moves_nothing():
    stream = blob_stream()
    request = replace(stream.tasks[1], kind="forget")
    stream = replace(stream, tasks=(stream.tasks[0], request, stream.tasks[2]))
    learner = learner_for(stream)
    training = Training(learner, Naive(), trainer())
    training.learn(stream.tasks[0])
    before = {name: value.detach().clone() for name, value in learner.parameters.items()}
    training.learn(request)
    assert training.losses == []
    assert all(torch.equal(value, before[name]) for name, value in learner.parameters.items())
