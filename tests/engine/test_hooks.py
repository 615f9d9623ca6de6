"""Hooks for weights that are functions of parameters, and for what happens between epochs."""

from dataclasses import dataclass

import torch

from clbench.engine.optimizers import SGD, Adam
from clbench.engine.schedules import Constant, Cosine, Plateau, Step
from clbench.engine.training.loop import Training
from clbench.method import Method
from clbench.methods.compose import Compose
from clbench.methods.naive import Naive
from tests.streams import blob_stream, learn, learner_for, same, trainer, weights


@dataclass
class Shifted(Method):
    """The first layer's weight is W + D; D is trained, W is not moved; folded after the task."""

    name = "backbone.layers.0.weight"

    def begin_task(self, learner, task):
        self._name = next(name for name in learner.parameters if name.endswith("weight"))
        learner.add(self._name, torch.zeros_like(learner.parameters[self._name]))

    def reparametrize(self, learner, task_id):
        added = learner.added(self._name) if hasattr(self, "_name") else None
        return {} if added is None else {self._name: learner.parameters[self._name] + added}

    def edit_update(self, learner, updates):
        updates[self._name].zero_()

    def end_task(self, learner, task, history):
        with torch.no_grad():
            for name, value in self.reparametrize(learner, None).items():
                learner.parameters[name].copy_(value)
        learner.drop_added()


def test_training_a_stand_in_is_training_the_weight():
    for setting in ("domain", "class", "task"):
        for optimizer in (lambda: SGD(0.05, 0.9), lambda: Adam(0.01, (0.9, 0.999), 1e-8)):
            stream = blob_stream(setting)
            plain, rows = learn(Naive(), stream, learner_for(stream, optimizer=optimizer()))
            other, found = learn(Shifted(), stream, learner_for(stream, optimizer=optimizer()))
            assert rows == found
            assert not hasattr(other.model, "added")
            for name, value in weights(plain).items():
                torch.testing.assert_close(weights(other)[name], value, atol=1e-5, rtol=1e-4)


def test_stand_ins_reach_predictions_features_and_compositions():
    stream = blob_stream("domain")
    learner, method = learner_for(stream), Shifted()
    Training(learner, Compose({"shift": method, "plain": Naive()}), trainer())
    learner.start(0)
    method.begin_task(learner, stream.tasks[0])
    inputs = learner.batch(stream.tasks[0].train, torch.arange(4)).inputs
    before, features = learner.logits(inputs), learner.features(inputs)
    with torch.no_grad():
        learner.added(method._name).add_(1.0)
    assert not torch.allclose(learner.logits(inputs), before)
    assert not torch.allclose(learner.features(inputs), features)
    assert torch.equal(learner.model(inputs)[:, :2], before), "the model's own weights are as they were"


def test_the_best_model_of_a_task_may_lack_what_was_added_since():
    stream = blob_stream("domain")
    learner = learner_for(stream)
    learner.start(0)
    bare = weights(learner)
    learner.add("a.b", torch.ones(2, 2))
    small = weights(learner)
    learner.add("a.b", torch.full((3, 3), 5.0))
    assert "added.a/b" in learner.trainable()[0]
    learner.restore(small)
    assert torch.equal(learner.added("a.b"), torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 0]]))
    learner.restore(bare)
    assert learner.added("a.b").abs().sum() == 0
    learner.drop_added()
    assert same(weights(learner), bare)
    assert learner.added("a.b") is None


@dataclass
class Watching(Method):
    factor: float = 1.0

    def on_epoch_end(self, learner, task, rate, decayed):
        self._seen = [*getattr(self, "_seen", []), (task.index, round(rate, 6), decayed)]
        return self.factor


def test_a_method_acts_between_epochs_and_scales_the_rate():
    stream, method = blob_stream("domain"), Watching(0.5)
    learn(method, stream, learner_for(stream), how=trainer(epochs=3))
    assert method._seen == [(t, rate, False) for t in range(3) for rate in (0.05, 0.025)]
    plain, _ = learn(Naive(), stream, learner_for(stream), how=trainer(epochs=3))
    for factor, equal in ((1.0, True), (0.5, False)):
        other, _ = learn(Compose({"a": Watching(factor), "b": Naive()}), stream, learner_for(stream), how=trainer(epochs=3))
        assert same(weights(plain), weights(other)) is equal


def test_it_is_told_when_the_schedule_lowers_the_rate():
    stream, method = blob_stream("domain"), Watching()
    learn(method, stream, tasks=1, how=trainer(epochs=4, schedule=Step([1], 2.0)))
    assert method._seen == [(0, 0.025, True), (0, 0.025, False), (0, 0.025, False)]


def test_all_schedules_can_be_rescaled():
    for schedule in (Constant(), Plateau(2.0, 1, 1e-9), Step([5], 2.0), Cosine(1.0)):
        schedule.start(0.1, 4)
        schedule.after_epoch(0, 1.0)
        schedule.rescale(0.5)
        assert schedule.after_epoch(1, 0.5) == 0.05
