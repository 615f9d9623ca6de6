"""Every measurement is of the model in evaluation mode: no dropout, no statistics of the batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from clbench.engine.evaluation.accuracy import evaluate
from clbench.engine.evaluation.drift import Drift, activations
from clbench.engine.evaluation.request_probes import LOSSES, detection, joint_row, losses, relearn
from clbench.engine.learner.learner import Learner
from clbench.engine.optimizers import SGD
from clbench.engine.training.loop import Training
from clbench.methods.naive import Naive
from clbench.metrics.unlearning import auc
from clbench.models.classifier import Classifier
from tests.engine.training.test_validation_loss import Moody
from tests.methods.test_unlearning import stream_of
from tests.streams import Blobs, blob_stream, learner_for, same, trainer, weights


def moody(stream, seed=0):
    """Return a learner in training mode whose model then says the opposite."""

    def initial():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Classifier(Moody(), list(stream.head_sizes), (1, 4, 4))

    learner = Learner(stream, initial, SGD(0.05), torch.device("cpu"), seed)
    learner.model.train()
    return learner


def scores(learner, split):
    """Return the logits of the model in evaluation mode, computed by hand."""
    backbone, head = learner.model.backbone, learner.model.heads[0]
    with torch.no_grad():
        return head(backbone.linear(learner.stream.preprocess(split.raw()).flatten(1)))


@pytest.mark.parametrize("setting", ["domain", "class"])
def test_accuracy_is_that_of_the_model_in_evaluation_mode(setting):
    stream = blob_stream(setting, "all")
    learner = moody(stream)
    wanted = [int((scores(learner, c.split).argmax(1) == c.split.labels).sum()) for c in stream.evaluation]
    opposite = [int((scores(learner, c.split).argmin(1) == c.split.labels).sum()) for c in stream.evaluation]
    assert wanted != opposite
    assert [hit for hit, _ in evaluate(learner, Naive(), stream.evaluation, 32)] == wanted


def test_accuracy_is_of_images_as_they_are():
    """Augmentation is for training only."""
    stream = blob_stream("class", "all", dataset=Blobs(crop=2, flip=True))
    learner = moody(stream)
    wanted = [int((scores(learner, c.split).argmax(1) == c.split.labels).sum()) for c in stream.evaluation]
    assert [hit for hit, _ in evaluate(learner, Naive(), stream.evaluation, 32)] == wanted


def test_activations_are_those_of_the_model_in_evaluation_mode():
    learner = moody(blob_stream())
    drift = Drift(learner)
    with torch.no_grad():
        wanted = learner.model.backbone.linear(learner.stream.preprocess(drift.probe.raw()).flatten(1))
    torch.testing.assert_close(activations(learner, drift.probe)["backbone.linear"], wanted)
    learner.model.backbone.dropout = torch.nn.Dropout(0.5)
    learner.model.backbone.forward = lambda x: learner.model.backbone.linear(learner.model.backbone.dropout(x.flatten(1)))
    torch.testing.assert_close(activations(learner, drift.probe)["backbone.linear"], wanted)


def test_the_probe_of_drift_is_spread_over_all_classes_of_the_first_task():
    stream = blob_stream(n_tasks=1, dataset=Blobs(per_class=100))
    probe = Drift(learner_for(stream)).probe
    assert len(probe) == 192
    assert set(probe.labels.tolist()) == set(range(6))


def test_losses_are_those_of_the_model_in_evaluation_mode():
    stream = stream_of()
    learner = moody(stream)
    split = stream.tasks[1].train
    wanted = F.cross_entropy(scores(learner, split), split.labels, reduction="none")
    assert losses(learner, Naive(), split, 7) == pytest.approx(wanted.tolist(), rel=1e-3)


def test_losses_are_of_samples_from_all_over_a_large_set():
    """Samples lie class by class: the first two hundred would be of some classes only."""
    stream = blob_stream("class", "all", n_tasks=1)
    learner, split = learner_for(stream), stream.tasks[0].train
    assert len(split) == 240 > LOSSES
    with torch.no_grad():
        logits = learner.logits(stream.preprocess(split.raw()))
    wanted = F.cross_entropy(logits, split.labels, reduction="none")[[i * 240 // LOSSES for i in range(LOSSES)]]
    assert losses(learner, Naive(), split, 64) == pytest.approx(wanted.tolist(), rel=1e-3)


class Tells(Naive):
    """Its score of an input depends on the model's mode."""

    def forget_score(self, learner, inputs):
        return learner.model.backbone(inputs)[:, :3]


def test_detection_is_that_of_the_model_in_evaluation_mode():
    stream = stream_of()
    learner = moody(stream)

    def by_hand(role, request, place):
        split = next(c for c in stream.evaluation if (c.role, c.request) == (role, request)).split
        with torch.no_grad():
            features = learner.model.backbone.linear(stream.preprocess(split.raw()).flatten(1))
        return (-features[:, place]).tolist()

    wanted = auc(by_hand("forget_test", 1, 0), by_hand("retain", None, 0))
    assert abs(wanted - 0.5) > 0.01
    assert detection(stream, learner, Tells(), 16)[0]["retain"] == pytest.approx(wanted, abs=1e-3)


def test_relearning_is_plain_training_at_the_optimisers_own_rate_from_no_moments():
    """As many steps on all tasks, counted from the model as it is: the accuracies are those of training it so."""
    stream = stream_of(relearn_steps=4)

    def forgotten(optimizer):
        learner = learner_for(stream, optimizer=optimizer)
        training = Training(learner, Naive(), trainer(later_lr=1e-6))
        training.learn(stream.tasks[0])
        with torch.no_grad():
            learner.model.heads[0].weight.zero_()
            learner.model.heads[0].bias.zero_()
        return learner

    learner = forgotten(SGD(0.3, momentum=0.9, carry=True))
    velocity = {name: torch.zeros_like(value) for name, value in learner.parameters.items()}
    velocity["heads.0.bias"] = torch.tensor([-30.0, 0, 0, 0, 0, 30.0])  # such a velocity shows at once
    learner.optimizer.load_state({"velocity": velocity})
    before = weights(learner)
    found = relearn(stream, learner, Naive(), trainer(later_lr=1e-6), 64)
    assert same(weights(learner), before)
    by_hand = learner_for(stream, optimizer=SGD(0.3, momentum=0.9))
    by_hand.model.load_state_dict(before)
    by_hand.start(stream.tasks[-1].index)
    measured = [evaluate(by_hand, Naive(), stream.evaluation, 64)]
    training = Training(by_hand, Naive(), trainer(iterations=4))
    training.start(stream.tasks[-1], lambda step: measured.append(evaluate(by_hand, Naive(), stream.evaluation, 64)))
    training.fit(stream.union(list(stream.learned)))
    columns = [
        next(
            i
            for role in ("forget_test", "forget_train")
            for i, c in enumerate(stream.evaluation)
            if (c.role, c.request) == (role, request.index)
        )
        for request in stream.requests
    ]
    wanted = [[measured[step][c][0] / measured[step][c][1] for c in columns] for step in (0, 1, 2, 4)]
    assert found == {"steps": [0, 1, 2, 4], "accuracy": wanted}
    assert wanted[0] != wanted[-1]


def test_joint_training_is_on_the_tasks_so_far_and_no_others():
    stream = blob_stream("domain")
    learner = learner_for(stream)
    row = joint_row(stream, learner, trainer(), stream.tasks[1], 64)
    fresh = learner_for(stream)
    training = Training(fresh, Naive(), trainer())
    training.begin(stream.tasks[1])
    training.fit(stream.union(stream.tasks[:2]))
    assert row == evaluate(fresh, Naive(), stream.evaluation, 64)
    assert training.samples == 2 * 160


def test_a_set_counts_its_own_samples_where_sets_share_batches():
    """Sets of 40, 13 and 5 samples, in batches that hold parts of two."""
    stream = blob_stream("domain")
    sizes = (40, 13, 5)
    places = [torch.arange(n) * 40 // n for n in sizes]
    columns = tuple(replace(c, split=c.split.select(some)) for c, some in zip(stream.evaluation, places, strict=True))
    learner = moody(stream)
    wanted = [(int((scores(learner, c.split).argmax(1) == c.split.labels).sum()), len(c.split)) for c in columns]
    assert len({hit for hit, _ in wanted}) == 3
    for batch_size in (1, 16, 100):
        assert evaluate(learner, Naive(), columns, batch_size) == wanted
