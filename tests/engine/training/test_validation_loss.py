"""The validation loss: on the validation split, of the model as it predicts, each sample alike."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import clbench.engine.training.loop as engine
from clbench.engine.learner.learner import Learner
from clbench.engine.optimizers import SGD
from clbench.engine.schedules import Plateau
from clbench.engine.training.loop import Training
from clbench.method import Method
from clbench.methods.naive import Naive
from clbench.models.classifier import Classifier
from tests.streams import Blobs, blob_stream, learner_for, same, trainer, weights


class Moody(nn.Module):
    """In training mode it says the opposite of what it says in evaluation."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(16, 8)

    def forward(self, x):
        features = self.linear(x.flatten(1))
        return -features if self.training else features


def made(method=None, batch_size=16, **options):
    """Return a training in the middle of its second task, in training mode."""
    stream = blob_stream(valid_fraction=0.3, **options)
    torch.manual_seed(0)
    learner = Learner(stream, lambda: Classifier(Moody(), [6], (1, 4, 4)), SGD(0.05), torch.device("cpu"), 0)
    training = Training(learner, method or Naive(), trainer(batch_size=batch_size, schedule=Plateau(2.0, 2, 1e-9)))
    learner.start(1)
    training.start(stream.tasks[1])
    learner.train()
    return training


def by_hand(training):
    """Return the mean cross-entropy on the validation split, in one batch, of the model in evaluation mode."""
    learner, valid = training.learner, training.task.valid
    learner.model.eval()
    with torch.no_grad():
        logits = learner.model(learner.stream.preprocess(valid.raw()))[:, :4]
    return float(nn.functional.cross_entropy(logits, valid.labels))


@pytest.mark.parametrize("gather", [10, 1024])
def test_it_is_the_mean_over_the_validation_split_in_evaluation_mode(monkeypatch, gather):
    monkeypatch.setattr(engine, "GATHER", gather)
    training = made()
    assert len(training.task.valid) == 24, "parts of 16 and 8 samples"
    found = training.validation_loss()
    assert found == pytest.approx(by_hand(training), rel=1e-4)


def test_it_is_of_images_as_they_are():
    training = made(dataset=Blobs(crop=2, flip=True))
    found = training.validation_loss()
    assert found == pytest.approx(by_hand(training), rel=1e-4)


def test_it_is_without_the_methods_own_loss():
    """A penalty says nothing about validation data."""

    class Doubled(Method):
        def criterion(self, learner, batch, logits):
            return 2 * super().criterion(learner, batch, logits)

        def penalty(self, learner, batch, logits):
            return logits.new_ones(())

    training = made(Doubled())
    found = training.validation_loss()
    assert found == pytest.approx(by_hand(training), rel=1e-4)


def scripted(losses, patience, **options):
    """Return weights after each epoch and at the end; `losses` are the validation losses."""
    stream = blob_stream(valid_fraction=0.25)
    learner = learner_for(stream)
    training = Training(learner, Naive(), trainer(epochs=len(losses), schedule=Plateau(2.0, patience, 1e-9), **options))
    after = []

    def scripted_loss():
        after.append(weights(learner))
        return losses[len(after) - 1]

    training.validation_loss = scripted_loss
    training.learn(stream.tasks[0])
    return after, weights(learner)


def test_the_best_epoch_is_the_one_of_the_lowest_loss():
    after, end = scripted([3.0, 1.0, 2.0, 1.5], 9)
    assert same(end, after[1])


def test_of_equal_losses_the_first_is_the_best():
    after, end = scripted([1.0, 1.0, 2.0], 9)
    assert same(end, after[0])
