"""Unlearning methods: the formulas, their data, and no effect without requests."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clbench.engine.learner.batch import Batch
from clbench.engine.learner.learner import Learner
from clbench.engine.optimizers import SGD
from clbench.engine.training.data_access import retained
from clbench.engine.training.loop import Training
from clbench.errors import ConfigError
from clbench.method import Method
from clbench.methods.naive import Naive
from clbench.models.classifier import Classifier
from tests.methods.shipped import shipped
from tests.streams import Blobs, learn, learner_for, same, stream_from, trainer, weights

LOSSES = ["ga", "gd", "kl_ga", "npo", "simnpo"]
ALL = [*LOSSES, "random_labels", "task_vector", "retrain", "bad_teacher"]


def stream_of(requests=({"classes": [1]}, {"samples": 0.2}, {"classes": [4]}), **said):
    own = {"datasets": {"blobs": Blobs()}, "requests": list(requests), "goal": "suppress", "claim_at": 0.8, "relearn_steps": 0}
    return stream_from("unlearn", **({"n_tasks": 1} | own | said))


def at_request(name, **changes):
    """Return (method, learner, training) after the first task, before the first request."""
    stream = stream_of()
    learner, method = learner_for(stream), shipped(name, **changes)
    method.setup(learner, stream)
    training = Training(learner, method, trainer())
    training.learn(stream.tasks[0])
    return method, learner, training


class Watch:
    """Replaces `train`: calls a step's hooks on the first batch, and takes no step."""

    def __init__(self, method, learner, task):
        self.method, self.learner, self.task = method, learner, task

    def __call__(self, split, epochs=None):
        self.epochs, self.split = epochs, split
        batch = self.learner.batch(split, torch.arange(8))
        batch.task = self.task.index
        self.batch = self.method.extend_batch(self.learner, batch) if self.method.overrides("extend_batch") else batch
        self.logits = self.learner.forward(self.batch).detach().requires_grad_()
        self.loss = self.method.criterion(self.learner, self.batch, self.logits)


def watched(name, **changes):
    method, learner, training = at_request(name, **changes)
    task = learner.stream.tasks[1]
    training.begin(task)
    watch = Watch(method, learner, task)
    method.fit(learner, task, watch, training.history(task))
    return watch


@pytest.mark.parametrize("name", ALL)
def test_without_requests_bitwise_the_base(name):
    stream = stream_of(requests=())
    learner, rows = learn(shipped(name), stream)
    plain, base = learn(Naive(), stream)
    assert rows == base
    assert same(weights(learner), weights(plain))


@pytest.mark.parametrize("name", ALL)
def test_the_base_is_the_same_for_every_method(name):
    _, learner, _ = at_request(name)
    _, plain, _ = at_request("naive")
    assert same(weights(learner), weights(plain))


def test_naive_passes_over_requests():
    stream = stream_of()
    moved = []
    before = {}
    learn(Naive(), stream, after=lambda task, learner: moved.append((before.get("w"), before.update(w=weights(learner)))[0]))
    assert all(same(each, before["w"]) for each in moved[1:])


@pytest.mark.parametrize(
    "name",
    ["ga", "npo", "random_labels", "task_vector"],
)
def test_nothing_is_handed_to_who_declares_nothing(name):
    method, learner, training = at_request(name)
    assert method.access == "current"
    assert all(training.history(task) == () for task in learner.stream.tasks)


@pytest.mark.parametrize("name", ["gd", "kl_ga", "simnpo", "retrain", "bad_teacher"])
def test_retained_data_comes_where_it_is_declared(name):
    method, learner, training = at_request(name)
    assert method.access == "retained"
    for task in learner.stream.requests:
        history = training.history(task)
        assert history
        gone = torch.cat([other.train.rows for other in learner.stream.requests if other.index <= task.index])
        assert not any(torch.isin(each.train.rows, gone).any() for each in history)
    assert training.history(learner.stream.tasks[0]) == ()


@pytest.mark.parametrize("retain", ["nll", "kl"])
def test_npo_beside_retained_data_declares_it(retain):
    assert shipped("npo", retain=retain).access == "retained"


def test_ascent_is_minus_the_cross_entropy():
    watch = watched("ga")
    assert len(watch.batch) == 8
    assert torch.equal(watch.loss, -F.cross_entropy(watch.logits, watch.batch.labels))


def test_gradient_difference_adds_what_is_retained():
    watch = watched("gd", forget_weight=0.5, retain_weight=3.0)
    labels = watch.batch.labels
    assert (watch.batch.own, len(watch.batch)) == (8, 16)
    expected = 3 * F.cross_entropy(watch.logits[8:], labels[8:]) - 0.5 * F.cross_entropy(watch.logits[:8], labels[:8])
    assert torch.allclose(watch.loss, expected)
    assert 1 not in labels[8:].tolist(), "the class to be forgotten is not retained"


def test_the_earlier_model_agrees_with_itself():
    watch = watched("kl_ga", forget_weight=0.0)
    assert float(watch.loss.detach()) == pytest.approx(0, abs=1e-6)
    disturbed = (watch.logits + torch.randn(watch.logits.shape, generator=torch.Generator().manual_seed(0))).detach()
    earlier = watch.logits.log_softmax(1)[8:]
    later = disturbed.log_softmax(1)[8:]
    assert float((earlier.exp() * (earlier - later)).sum(1).mean()) > 0


def test_npo_starts_at_its_middle_and_tends_to_ascent():
    """At the reference the loss is 2/beta log 2 and its gradient that of ascent (Zhang et al., 2024, section 3)."""
    watch = watched("npo", beta=0.1)
    assert float(watch.loss.detach()) == pytest.approx(2 / 0.1 * math.log(2), rel=1e-5)
    (npo,) = torch.autograd.grad(watch.loss, watch.logits)
    (ascent,) = torch.autograd.grad(-F.cross_entropy(watch.logits, watch.batch.labels), watch.logits)
    assert torch.allclose(npo, ascent, atol=1e-6)


def test_npo_lets_go_of_what_is_forgotten():
    method, learner, _ = at_request("npo", beta=2.0)
    method._before = learner.teacher()
    method._before.take()
    learner.task = 1
    batch = learner.batch(learner.stream.tasks[1].train, torch.arange(4))
    logits = learner.forward(batch).detach()
    logits[torch.arange(4), batch.labels] -= 50
    logits.requires_grad_()
    loss = method._forgetting(learner, batch, logits, 4)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert float(torch.autograd.grad(loss, logits)[0].abs().max()) < 1e-6


def test_simnpo_formula():
    watch = watched("simnpo", retain="none", forget_weight=1.0, beta=2.0, margin=0.5)
    each = F.cross_entropy(watch.logits, watch.batch.labels, reduction="none")
    assert torch.allclose(watch.loss, -(torch.sigmoid(2.0 * (each - 0.5)).log()).mean())


def test_answers_count_by_sample_not_by_token():
    from clbench.methods.unlearning import per_sample

    rows = torch.tensor([[5, ~1, ~2, 0], [5, 6, ~1, 0], [7, ~3, ~3, ~2]])
    losses = torch.tensor([1.0, 2.0, 4.0, 10.0, 20.0, 30.0])
    batch = Batch(rows, torch.tensor([1, 2, 1, 3, 3, 2]), torch.arange(3), 1, own=3)
    sums, tokens = per_sample(losses, batch)
    assert sums.tolist() == [3.0, 4.0, 60.0]
    assert tokens.tolist() == [2.0, 1.0, 3.0]
    part = replace(batch, own=2)
    assert per_sample(losses[:3], part)[0].tolist() == [3.0, 4.0]


def test_random_labels_are_wrong_and_stay():
    watch = watched("random_labels")
    true = watch.task.train.labels
    assert not bool((watch.split.labels == true).any())
    assert set(watch.split.labels.tolist()) == {0, 2, 3, 4, 5}
    assert torch.equal(watched("random_labels").split.labels, watch.split.labels)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_task_vector_goes_the_other_way(scale):
    method, learner, training = at_request("task_vector", scale=scale)
    before = weights(learner)
    training.begin(learner.stream.tasks[1])
    seen = {}

    def train(split, epochs=None):
        training.fit(split, epochs)
        seen.update(weights(learner))

    method.fit(learner, learner.stream.tasks[1], train, ())
    after = weights(learner)
    assert not same(seen, before)
    for name, value in before.items():
        assert torch.allclose(after[name], value - scale * (seen[name] - value), atol=1e-6)


def test_retraining_never_meets_what_is_forgotten():
    """Its weights are those of a model trained on retained data from the start."""
    _, learner, training = at_request("retrain")
    task = learner.stream.tasks[1]
    training.learn(task)
    (kept,) = retained(learner.stream, task)
    fresh = learner_for(learner.stream)
    other = Training(fresh, Method(), trainer())
    other.begin(task)
    other.fit(kept.train)
    assert same(weights(learner), weights(fresh))


def test_retraining_learns_task_after_task():
    stream = stream_of(n_tasks=2, requests=[{"classes": [1]}])
    calls = []
    learner, method = learner_for(stream), shipped("retrain")
    task = stream.tasks[2]
    method.fit(learner, task, lambda split: calls.append((learner.task, len(split))), retained(stream, task))
    assert calls == [(0, 80), (1, 120)]
    assert learner.task == 2


def test_two_teachers():
    watch = watched("bad_teacher")
    chosen = watch.batch.tasks == 1
    assert bool(chosen.all()), "what is to be forgotten comes first, before batches are mixed"
    split = watch.split
    assert len(split) == 40 + round(0.3 * 200)
    assert int((split.tasks == 1).sum()) == 40
    method, learner, _ = at_request("bad_teacher")
    learner.task = 1
    method._good, method._bad = learner.teacher(), learner.teacher()
    method._good.take()
    learner.reset_model()
    method._bad.take()
    batch = learner.batch(split, torch.arange(30, 60))
    inputs = batch.inputs
    ideal = torch.where((batch.tasks == 1).unsqueeze(1), method._bad.logits(inputs), method._good.logits(inputs))
    assert 0 < int((batch.tasks == 1).sum()) < 30
    assert float(method.criterion(learner, batch, ideal)) == pytest.approx(0, abs=1e-6)
    assert float(method.criterion(learner, batch, method._good.logits(inputs))) > 0.01
    assert float(method.criterion(learner, batch, method._bad.logits(inputs))) > 0.01


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("ga", {"epochs": 6}),
        ("gd", {"epochs": 6}),
        ("kl_ga", {"epochs": 6}),
        ("npo", {"epochs": 6}),
        ("simnpo", {"forget_weight": 1.0, "epochs": 20}),
        ("random_labels", {"epochs": 4}),
        ("task_vector", {"scale": 3.0, "epochs": 6}),
        ("retrain", {}),
        ("bad_teacher", {"epochs": 40}),
    ],
)
def test_a_class_is_forgotten(name, changes):
    """On six easy classes; the test set of class 1, 20 images, before and after the first request."""
    stream = stream_of()
    _, rows = learn(shipped(name, **changes), stream, tasks=2)
    place = next(i for i, c in enumerate(stream.evaluation) if c.role == "forget_test")
    assert rows[0][place] == 20
    assert rows[1][place] <= 10


def test_a_rate_and_passes_of_its_own():
    method, learner, training = at_request("ga", lr=0.003, epochs=7)
    task = learner.stream.tasks[1]
    training.begin(task)
    watch = Watch(method, learner, task)
    method.fit(learner, task, watch, ())
    assert learner.base_lr == 0.003
    assert watch.epochs == 7
    training.start(learner.stream.tasks[2])
    assert learner.base_lr == learner.optimizer.lr


def test_nothing_of_a_request_is_kept():
    for name in ALL:
        method, learner, training = at_request(name, **({"lr": 0.001} if name not in ("retrain",) else {}))
        training.learn(learner.stream.tasks[1])
        assert method.state() == {}, name
        assert not [key for key in vars(method) if key[0] == "_"], name


def normed(stream):
    """Return a learner with BatchNorm."""
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(stream.input_shape), 8), nn.BatchNorm1d(8))
    model = Classifier(backbone, stream.head_sizes, stream.input_shape)
    return Learner(stream, lambda: model, SGD(0.05), torch.device("cpu"), 0)


@pytest.mark.parametrize(
    ("name", "values"),
    [("ga", {}), ("npo", {"retain": "none"}), ("simnpo", {"retain": "none"}), ("random_labels", {}), ("task_vector", {})],
)
def test_a_request_of_one_sample_is_refused_before_training_where_the_model_needs_two(name, values):
    stream = stream_of()
    request = stream.requests[1]
    tasks = [replace(task, train=task.train.select(torch.arange(1))) if task is request else task for task in stream.tasks]
    stream = replace(stream, tasks=tuple(tasks))
    with pytest.raises(ConfigError, match=rf"request {request.index} \(.*\) has a single sample to train on, and the layer"):
        shipped(name, **values).setup(normed(stream), stream)
    for other, learner in (("gd", normed(stream)), ("retrain", normed(stream)), (name, learner_for(stream))):
        shipped(other).setup(learner, stream)
