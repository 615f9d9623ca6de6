"""Earlier models: what they say, that they stay, that they come back."""

import copy

import pytest
import torch

from clbench.methods.naive import Naive
from tests.streams import blob_stream, learn, learner_for

SETTINGS = pytest.mark.parametrize("setting", ["task", "domain", "class"])


def shift(learner):
    """Move every parameter."""
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter.add_(0.5)


def inputs_of(learner):
    return learner.stream.preprocess(learner.stream.evaluation[0].split.raw())


def test_before_it_is_taken_there_is_none():
    teacher = learner_for(blob_stream()).teacher()
    assert not teacher
    assert teacher.state() == {}
    for ask in (teacher.logits, teacher.features):
        with pytest.raises(ValueError, match="no earlier model"):
            ask(torch.zeros(1, 1, 4, 4))


@SETTINGS
@pytest.mark.parametrize("outputs", ["seen", "all"])
def test_it_says_what_the_model_said_when_it_was_taken(setting, outputs):
    stream = blob_stream(setting, outputs)
    learner, _ = learn(Naive(), stream, tasks=2)
    inputs, teacher = inputs_of(learner), learner.teacher()
    teacher.take()
    with torch.no_grad():
        features = learner.features(inputs)
        heads = range(2) if setting == "task" else [None]
        logits = torch.cat([learner.logits(inputs, head) for head in heads], dim=1)
    learner.start(2)
    shift(learner)
    assert teacher
    assert torch.equal(teacher.features(inputs), features)
    assert torch.equal(teacher.logits(inputs), logits)
    assert not torch.equal(learner.features(inputs), features)


@SETTINGS
def test_its_outputs_are_those_in_play_at_that_time(setting):
    learner, _ = learn(Naive(), blob_stream(setting), tasks=2)
    teacher = learner.teacher()
    teacher.take()
    learner.start(2)
    assert teacher.logits(inputs_of(learner)).shape[1] == (2 if setting == "domain" else 4)


def test_it_is_in_evaluation_mode_and_has_no_gradient():
    stream = blob_stream()
    learner = learner_for(stream, hidden=(16,), dropout=0.5)
    learner.start(0)
    learner.model.train()
    teacher, inputs = learner.teacher(), inputs_of(learner)
    teacher.take()
    assert learner.model.training
    assert torch.equal(teacher.logits(inputs), teacher.logits(inputs))
    assert not teacher.logits(inputs.requires_grad_()).requires_grad
    assert all(parameter.requires_grad for parameter in learner.model.parameters())


def test_taking_again_replaces():
    learner, _ = learn(Naive(), blob_stream(), tasks=1)
    teacher, inputs = learner.teacher(), inputs_of(learner)
    teacher.take()
    first = teacher.features(inputs)
    shift(learner)
    teacher.take()
    assert not torch.equal(teacher.features(inputs), first)
    assert torch.equal(teacher.features(inputs), learner.features(inputs))


@SETTINGS
def test_state_brings_it_back(setting):
    stream = blob_stream(setting)
    learner, _ = learn(Naive(), stream, tasks=2)
    teacher, inputs = learner.teacher(), inputs_of(learner)
    teacher.take()
    state = copy.deepcopy(teacher.state())
    other = learner_for(stream, seed=9)
    other.start(2)
    twin = other.teacher()
    twin.load_state(state)
    assert twin.task == 1
    assert torch.equal(twin.logits(inputs), teacher.logits(inputs))
    shift(other)
    assert torch.equal(twin.logits(inputs), teacher.logits(inputs))


def test_an_empty_state_leaves_an_empty_snapshot():
    teacher = learner_for(blob_stream()).teacher()
    teacher.load_state({})
    assert not teacher
