"""The end of a step: one learner, seeds side by side, and federated clients take it alike."""

from dataclasses import dataclass

import pytest
import torch

from clbench.engine.optimizers import SGD, Adam
from clbench.engine.replicas.stacked_loop import StackedTraining
from clbench.engine.training import step
from clbench.engine.training.loop import Training
from clbench.federated.servers.fedavg import FedAvg
from clbench.method import Method
from clbench.methods.compose import Compose
from clbench.methods.naive import Naive
from tests.engine.replicas.test_stacked_loop import replicas
from tests.federated.servers.rounds import federate, federated_stream
from tests.methods.shipped import shipped
from tests.streams import blob_stream, learner_for, trainer, weights

DECAY = 0.9


def updated(average, parameters):
    """Return the exponential moving average after one more step; a parameter of another shape starts anew."""
    found = {}
    for name, value in parameters.items():
        known = average.get(name)
        new = known is None or known.shape != value.shape
        found[name] = value.detach().clone() if new else DECAY * known + (1 - DECAY) * value.detach()
    return found


@dataclass
class Average(Method):
    """Keeps an exponential moving average of the weights."""

    data_free = True

    def setup(self, learner, stream):
        self.average = {}

    def after_step(self, learner):
        assert not torch.is_grad_enabled()
        self.average = updated(self.average, learner.parameters)


class StackableAverage(Average):
    stackable = True

    def begin_task(self, learner, task):
        self.average = updated({}, learner.parameters)


@dataclass
class Bounded(Method):
    """Keeps every weight between -0.1 and 0.1."""

    stackable = True
    data_free = True

    def after_step(self, learner):
        for value in learner.parameters.values():
            value.clamp_(-0.1, 0.1)


def largest(learner):
    return max(float(value.abs().max()) for value in weights(learner).values())


def assert_equal(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("optimizer", [lambda: SGD(0.05), lambda: Adam(0.01, (0.9, 0.999), 1e-8)])
@pytest.mark.parametrize("other", [Naive, lambda: shipped("gpm", samples=60), lambda: shipped("ewc")])
def test_an_average_of_weights_follows_every_step(optimizer, other):
    stream, method = blob_stream(), Average()
    learner = learner_for(stream, optimizer=optimizer())
    both = Compose({"other": other(), "average": method})
    both.setup(learner, stream)
    training, by_hand, steps = Training(learner, both, trainer()), {}, []

    def on_step(number):
        by_hand.update(updated(by_hand, learner.parameters))
        steps.append(number)

    for task in stream.tasks[:2]:
        training.learn(task, on_step)
    assert len(steps) == 20
    assert_equal(method.average, by_hand)
    assert not torch.equal(by_hand["heads.0.weight"], weights(learner)["heads.0.weight"])


@pytest.mark.parametrize("make", [Average, StackableAverage])
def test_it_does_so_for_seeds_side_by_side(make):
    trainings = replicas(make)
    stacked, by_hand = StackedTraining(trainings), [{} for _ in trainings]

    def on_step(number):
        for index, training in enumerate(trainings):
            by_hand[index] = updated(by_hand[index], training.learner.parameters)

    for index in range(2):
        if make is StackableAverage:
            by_hand = [updated({}, training.learner.parameters) for training in trainings]
        stacked.learn(index, on_step)
        for training, wanted in zip(trainings, by_hand, strict=True):
            assert_equal(training.method.average, wanted)


@pytest.mark.parametrize(("chunk", "room"), [(1, "clbench.engine.training.loop"), (4, "clbench.federated.stacked_clients")])
def test_it_does_so_for_federated_clients(monkeypatch, chunk, room):
    by_hand, steps = {}, []

    def followed(plan, learner, *rest):
        step.apply_gradients(plan, learner, *rest)
        by_hand.update(updated(by_hand, learner.parameters))
        steps.append(learner)

    monkeypatch.setattr(f"{room}.apply_gradients", followed)
    make = Average if chunk == 1 else StackableAverage
    learner = learner_for(federated_stream(blob_stream(), 4))
    task = learner.stream.tasks[0]
    by_hand.update(updated({}, learner.parameters) if chunk > 1 else {})
    run = federate(FedAvg("samples"), learner.stream, make, learner=learner, tasks=1, rounds=2, chunk=chunk)
    counts = [-(-len(part) // 16) for part in task.clients]
    assert len(steps) == 2 * (sum(counts) if chunk == 1 else max(counts))
    assert_equal(run.clients.method.average, by_hand)


@pytest.mark.parametrize("chunk", [1, 4])
def test_a_bound_on_weights_holds_after_every_step(chunk):
    learner = learner_for(federated_stream(blob_stream(), 4))
    assert largest(learner) > 0.1
    run = federate(FedAvg("samples"), learner.stream, Bounded, learner=learner, tasks=1, chunk=chunk)
    assert largest(run.learner) == pytest.approx(0.1)


def test_seeds_side_by_side_hold_the_bound_as_each_does_alone():
    stacked, alone = replicas(Bounded), replicas(Bounded)
    together = StackedTraining(stacked)
    for index in range(2):
        together.learn(index)
        for training in alone:
            training.learn(training.learner.stream.tasks[index])
    for one, other in zip(stacked, alone, strict=True):
        assert_equal(weights(one.learner), weights(other.learner))
        assert largest(one.learner) == pytest.approx(0.1)


def test_a_plan_says_what_a_step_does():
    stream = blob_stream()

    def plan(method, optimizer=None, **options):
        learner = learner_for(stream, optimizer=optimizer)
        method.setup(learner, stream)
        return Training(learner, method, trainer(**options)).plan

    naive, gpm = plan(Naive()), plan(shipped("gpm"))
    assert naive.plain_step
    assert gpm.plain_step
    assert gpm.edit_in_place
    assert naive.after_step is naive.edit_update is naive.penalty is None
    assert plan(Bounded()).after_step is not None
    assert not plan(Naive(), SGD(0.05, momentum=0.9)).plain_step
    assert not plan(Naive(), clip_norm=1.0).plain_step
    assert not plan(Naive(), micro_batch_size=4).plain_step
    assert not plan(Naive(), precision="bf16").plain_step
    assert not plan(shipped("agem")).plain_step
    assert plan(shipped("derpp")).own_loss
    assert plan(shipped("rogo")).reparametrize is not None
