"""Steps that are replayed, and forward passes that are compiled: the same steps, or a reason why not."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from clbench.engine.evaluation.accuracy import evaluate
from clbench.engine.fast.compile import Compiled
from clbench.engine.fast.cuda_graphs import WARM
from clbench.engine.optimizers import SGD, Adam
from clbench.engine.replicas.stacked_loop import StackedTraining
from clbench.engine.schedules import Cosine
from clbench.engine.training.acceleration import unsupported_reason
from clbench.engine.training.loop import Training
from clbench.methods.naive import Naive
from tests.engine.replicas.test_stacked_loop import replicas
from tests.methods.shipped import shipped
from tests.streams import blob_stream, learner_for, same, trainer, weights


class Tape:
    """Records as CUDA does: nothing happens when it is recorded, and a replay does it with what is in the recorded tensors."""

    def __init__(self):
        self.apart_steps = self.recorded = self.replayed = 0

    def apart(self, step, *tensors):
        self.apart_steps += 1
        return step(*tensors)

    def record(self, step, *tensors):
        self.recorded += 1
        result = torch.zeros(())

        def replay():
            nonlocal result
            self.replayed += 1
            found = step(*tensors)
            result.resize_(found.shape).copy_(found)

        return replay, result


def learned(method, how, optimizer, tape=None):
    stream = blob_stream()
    learner = learner_for(stream, optimizer=optimizer())
    method.setup(learner, stream)
    training = Training(learner, method, how())
    if tape is not None:
        training.accelerate(None, True, print, tape)
    rows = []
    for task in stream.tasks:
        training.learn(task)
        rows.append((evaluate(learner, method, stream.evaluation, 64), training.losses))
    return learner, rows


@pytest.mark.parametrize("name", ["naive", "ewc", "si", "mas"])
@pytest.mark.parametrize("optimizer", [lambda: SGD(0.05), lambda: SGD(0.05, momentum=0.9, weight_decay=1e-3)])
@pytest.mark.parametrize("schedule", [None, Cosine(0.1)])
def test_replayed_steps_are_the_steps(name, optimizer, schedule):
    def how():
        return trainer(epochs=3, schedule=schedule, clip_norm=1.0)

    tape = Tape()
    plain, rows = learned(shipped(name), how, optimizer)
    graphed, replayed = learned(shipped(name), how, optimizer, tape)
    assert rows == replayed
    assert same(weights(plain), weights(graphed))
    rates = 3 if schedule else 1
    assert tape.recorded == 3 * rates, "once per task and learning rate"
    assert tape.apart_steps == 3 * rates * WARM
    assert tape.replayed == 3 * (3 * 5 - rates * WARM)


def test_stacked_steps_are_replayed_too():
    one, other = (replicas(lambda: shipped("ewc", strength=1.0)) for _ in range(2))
    plain, graphed, tape = StackedTraining(one), StackedTraining(other), Tape()
    graphed.accelerate(None, True, print, tape)
    columns = [training.learner.stream.evaluation for training in one]
    for index in range(3):
        plain.learn(index)
        graphed.learn(index)
        assert plain.measure(columns, 32) == graphed.measure(columns, 32)
    for a, b in zip(one, other, strict=True):
        assert same(weights(a.learner), weights(b.learner))
    assert tape.replayed > 0


def test_what_cannot_be_replayed_says_why(monkeypatch):
    def why(name, optimizer=None):
        stream = blob_stream()
        learner = learner_for(stream, optimizer=optimizer)
        learner.device = torch.device("cuda")
        monkeypatch.setattr("clbench.engine.training.step.arithmetic", lambda *_: nullcontext())
        return unsupported_reason(learner, shipped(name), trainer()) or ""

    assert why("naive") == why("ewc") == why("si") == ""
    assert "counts its steps" in why("naive", Adam(1e-3, (0.9, 0.999), 1e-8))
    assert "ER has its own extend_batch" in why("er")
    assert "DER has its own" in why("derpp")
    assert "GPM does not declare stackable" in why("gpm")
    stream, told = blob_stream(), []
    training = Training(learner_for(stream), Naive(), trainer())
    training.accelerate(None, True, told.append)
    assert told == ["runner.graph: steps are not replayed: CUDA graphs need a CUDA device, and this is cpu"]
    training.learn(stream.tasks[0])


def test_what_does_not_compile_goes_on_and_says_why_once(monkeypatch):
    def broken(function, **options):
        def call(*arguments):
            raise RuntimeError("no compiler\nhere")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    told = []
    compiled = Compiled(nn.Identity(), "default", told.append)
    for _ in range(2):
        assert torch.equal(compiled(torch.ones(2)), torch.ones(2))
    assert told == ["runner.compile: not compiled: RuntimeError: no compiler here"]


def test_hooks_on_the_model_are_not_compiled_away(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **options: lambda *arguments: pytest.fail("compiled"))
    stream, told, seen = blob_stream(), [], []
    learner = learner_for(stream)
    training = Training(learner, Naive(), trainer())
    training.accelerate("default", False, told.append)
    next(part for part in learner.model.modules() if isinstance(part, nn.Linear)).register_forward_hook(lambda *_: seen.append(1))
    training.learn(stream.tasks[0])
    assert seen
    assert told == ["runner.compile: not compiled: the method has attached hooks to the model"]


@pytest.mark.slow
@pytest.mark.parametrize("stacked", [False, True])
def test_compiled_steps_learn_the_same(stacked):
    told = []
    one, other = (replicas(lambda: shipped("gpm", threshold=0.9)) for _ in range(2))
    for trainings, mode in ((one, None), (other, "default")):
        if stacked:
            together = StackedTraining(trainings)
            together.accelerate(mode, False, told.append)
            for index in range(2):
                together.learn(index)
        else:
            trainings[0].accelerate(mode, False, told.append)
            for task in trainings[0].learner.stream.tasks[:2]:
                trainings[0].learn(task)
    assert told == [] or "compiler" in told[0].lower()
    for name, value in one[0].learner.model.state_dict().items():
        torch.testing.assert_close(value, other[0].learner.model.state_dict()[name], rtol=1e-8, atol=1e-8)
