"""Random draws of training: order of batches, augmentation, dropout. Each has a key of its own, and none repeats."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import clbench.engine.training.loop as engine
from clbench.engine.learner.learner import Learner
from clbench.engine.optimizers import SGD
from clbench.engine.training.loop import Training
from clbench.method import Method
from clbench.models.classifier import Classifier
from tests.streams import Blobs, blob_stream, learner_for, trainer


class OneImage(Blobs):
    """All samples are the same image, so that a batch shows its draws of augmentation."""

    def load(self, search, download):
        made = super().load(search, download)
        image = torch.arange(16, dtype=torch.uint8).view(1, 4, 4)
        for pool in (made.train, made.test):
            pool.inputs[:] = image
        return SimpleNamespace(train=made.train, test=made.test)


class Watch(Method):
    """Keeps rows and inputs of every batch, by (task, epoch)."""

    def setup(self, learner, stream):
        self.rows, self.inputs = {}, {}

    def extend_batch(self, learner, batch):
        key = batch.task, batch.epoch
        self.rows.setdefault(key, []).append(batch.rows)
        self.inputs.setdefault(key, []).append(batch.inputs)
        return batch


def watched(stream, seed=0, tasks=2, fits=1, **start):
    """Return a method that watched two epochs of each task; with several `fits`, the last one's."""
    learner, method = learner_for(stream, seed), Watch()
    method.setup(learner, stream)
    training = Training(learner, method, trainer())
    for task in stream.tasks[:tasks]:
        learner.start(task.index)
        training.start(task, **start)
        for fit in range(fits):
            if fit:
                method.setup(learner, stream)
            training.fit(task.train)
    return method


def images(method, key=(0, 0)):
    return torch.cat(method.inputs[key])


def places(method, key=(0, 0)):
    """Return the order of an epoch, as positions in the task's rows."""
    rows = torch.cat(method.rows[key])
    return torch.argsort(torch.argsort(rows))


def all_differ(tensors):
    return not any(torch.equal(one, other) for one, other in combinations(tensors, 2))


def test_the_order_of_batches_follows_seed_task_epoch_and_pass():
    stream = blob_stream()
    first = watched(stream)
    assert all_differ([places(first, key) for key in ((0, 0), (0, 1), (1, 0), (1, 1))])
    assert torch.equal(places(first), places(watched(stream)))
    others = [watched(stream, seed=1), watched(stream, tasks=1, fits=2), watched(stream, tasks=1, first_epoch=5)]
    assert all_differ([places(each) for each in (first, *others)])


def test_the_order_goes_on_where_the_epochs_before_ended():
    """A federated round of one epoch is the epoch with its number."""
    stream = blob_stream()
    assert torch.equal(places(watched(stream, tasks=1, first_epoch=1)), places(watched(stream, tasks=1), (0, 1)))


@pytest.mark.parametrize("changes", [{"crop": 2}, {"flip": True}])
def test_augmentation_follows_seed_task_epoch_and_pass(changes):
    stream = blob_stream(dataset=OneImage(**changes))
    plain = stream.preprocess(stream.tasks[0].train.raw())
    first = watched(stream)
    others = [watched(stream, seed=1), watched(stream, tasks=1, fits=2), watched(stream, tasks=1, first_epoch=5)]
    drawn = [images(first, key) for key in ((0, 0), (0, 1), (1, 0), (1, 1))] + [images(each) for each in others]
    assert all_differ([plain, *drawn])
    assert torch.equal(images(first), images(watched(stream)))


def test_augmentation_goes_on_where_the_epochs_before_ended():
    stream = blob_stream(dataset=OneImage(crop=2))
    assert torch.equal(images(watched(stream, tasks=1, first_epoch=1)), images(watched(stream, tasks=1), (0, 1)))


def test_no_two_groups_of_an_epoch_are_augmented_alike(monkeypatch):
    monkeypatch.setattr(engine, "GATHER", 16)
    batches = watched(blob_stream(dataset=OneImage(crop=2))).inputs[0, 0]
    assert len(batches) == 5
    assert all_differ(batches)


class Dropping(nn.Module):
    """Shows which units dropout leaves; `left` has one entry per forward pass in training."""

    def __init__(self):
        super().__init__()
        self.linear, self.left = nn.Linear(16, 32), []

    def forward(self, x):
        left = nn.functional.dropout(torch.ones(len(x), 32), 0.5, self.training)
        if self.training:
            self.left.append(left)
        return self.linear(x.flatten(1)) * left


def dropped(stream, seed=0, draws=0, **start):
    """Return the masks of every step: two tasks of two epochs of five steps each."""
    backbone = Dropping()
    learner = Learner(stream, lambda: Classifier(backbone, [6], (1, 4, 4)), SGD(0.05), torch.device("cpu"), seed)
    training = Training(learner, Method(), trainer())
    for task in stream.tasks[:2]:
        torch.rand(draws)  # whatever was drawn before changes nothing
        learner.start(task.index)
        training.start(task, **start)
        training.fit(task.train)
    return backbone.left


def test_dropout_follows_seed_task_epoch_and_step():
    stream = blob_stream()
    first = dropped(stream)
    assert len(first) == 20
    assert all_differ(first)
    assert all_differ([first[0], dropped(stream, seed=1)[0], dropped(stream, first_epoch=5)[0]])
    assert all(torch.equal(one, other) for one, other in zip(first, dropped(stream, draws=3), strict=True))


def test_dropout_goes_on_where_the_epochs_before_ended():
    stream = blob_stream()
    assert torch.equal(dropped(stream, first_epoch=1)[0], dropped(stream)[5])


def test_clients_draw_their_own():
    """Several learn with one model: each has its own name in every draw."""
    stream, found = blob_stream(dataset=OneImage(crop=2)), {}
    for client in (None, 0, 1):
        learner, method = learner_for(stream), Watch()
        method.setup(learner, stream)
        training = Training(learner, method, trainer())
        learner.start(0)
        training.start(stream.tasks[0])
        with learner.acting(learner.plan, () if client is None else ("client", client)):
            training.fit(stream.tasks[0].train)
        found[client] = method
    assert all_differ([places(each) for each in found.values()])
    assert all_differ([images(each) for each in found.values()])
