"""What cannot go side by side is found out, and says why."""

from dataclasses import dataclass

import pytest
import torch

from clbench.engine.replicas.stack import StackingError
from clbench.engine.replicas.stacked_loop import StackedTraining
from clbench.engine.schedules import Plateau
from clbench.method import Method
from clbench.methods.naive import Naive
from tests.engine.replicas.test_stacked_loop import Constant, Noisy, apart, assert_same, replicas, together, with_model
from tests.methods.shipped import shipped
from tests.streams import blob_stream, trainer


@pytest.mark.parametrize(("kind", "reason"), [(Noisy, "vmap"), (Constant, "other outputs")])
def test_a_model_that_means_something_else_side_by_side_is_found_out(kind, reason):
    trainings = with_model(kind)
    before = {name: value.clone() for name, value in trainings[0].learner.model.state_dict().items()}
    with pytest.raises(StackingError, match=reason):
        StackedTraining(trainings).learn(0)
    for name, value in trainings[0].learner.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_no_memory_for_the_check_is_no_fault_of_the_model(monkeypatch):
    def exhausted(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    stacked = StackedTraining(replicas(Naive))
    monkeypatch.setattr(stacked.stack, "logits", exhausted)
    with pytest.raises(torch.OutOfMemoryError):
        stacked.learn(0)


def test_when_all_diverge_all_fail():
    trainings = replicas(Naive)
    for training in trainings:
        with torch.no_grad():
            training.learner.model.heads[0].weight.fill_(float("nan"))
    stacked = StackedTraining(trainings)
    stacked.learn(0)
    assert sorted(stacked.failed) == [0, 1, 2]


@dataclass
class Direct(Method):
    """A penalty on the model itself, past the learner: autograd would not find the stacked weights."""

    def penalty(self, learner, batch, logits):
        return sum(parameter.square().sum() for parameter in learner.model.parameters())


@dataclass
class ThroughLearner(Method):
    """The same through the learner."""

    def penalty(self, learner, batch, logits):
        return 0.01 * sum(parameter.square().sum() for parameter in learner.parameters.values())


@dataclass
class Replaces(Method):
    """Gradients replaced by new tensors instead of changed in place."""

    def edit_gradients(self, learner, batch):
        learner.gradients = {name: 0.5 * value for name, value in learner.gradients.items()}


def test_a_loss_that_goes_past_the_stack_is_found_out():
    with pytest.raises(StackingError, match=r"learner\.model directly"):
        StackedTraining(replicas(Direct)).learn(0)


@pytest.mark.parametrize("kind", [ThroughLearner, Replaces])
def test_hooks_as_users_write_them(kind):
    one, other = (replicas(kind) for _ in range(2))
    assert together(one) == apart(other)
    assert_same(one, other)


def test_what_cannot_be_stacked_says_why():
    def sizes(seed):
        return blob_stream(seed=seed, n_tasks=2 + (seed == 1))

    cases = [
        (lambda: replicas(lambda: shipped("gdumb", buffer_size=10)), "its own fit"),
        (lambda: replicas(lambda: shipped("trgp"), "task"), "its own reparametrize"),
        (lambda: replicas(lambda: shipped("gem", buffer_size=30)), "waits for the host"),
        (lambda: replicas(Naive, how=lambda: trainer(schedule=Plateau(2.0, 1, 1e-4))), "validation loss"),
        (lambda: replicas(Naive, streams=sizes), "differ in size"),
    ]
    for make, reason in cases:
        with pytest.raises(StackingError, match=reason):
            StackedTraining(make())
