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
    snapshot = learner_for(blob_stream()).snapshot()
    assert not snapshot
    assert snapshot.state() == {}
    for ask in (snapshot.logits, snapshot.features):
        with pytest.raises(ValueError, match="no earlier model"):
            ask(torch.zeros(1, 1, 4, 4))


@SETTINGS
@pytest.mark.parametrize("outputs", ["seen", "all"])
def test_it_says_what_the_model_said_when_it_was_taken(setting, outputs):
    stream = blob_stream(setting, outputs)
    learner, _ = learn(Naive(), stream, tasks=2)
    inputs, snapshot = inputs_of(learner), learner.snapshot()
    snapshot.take()
    with torch.no_grad():
        features = learner.features(inputs)
        heads = range(2) if setting == "task" else [None]
        logits = torch.cat([learner.logits(inputs, head) for head in heads], dim=1)
    learner.start(2)
    shift(learner)
    assert snapshot
    assert torch.equal(snapshot.features(inputs), features)
    assert torch.equal(snapshot.logits(inputs), logits)
    assert not torch.equal(learner.features(inputs), features)


@SETTINGS
def test_its_outputs_are_those_in_play_at_that_time(setting):
    learner, _ = learn(Naive(), blob_stream(setting), tasks=2)
    snapshot = learner.snapshot()
    snapshot.take()
    learner.start(2)
    assert snapshot.logits(inputs_of(learner)).shape[1] == (2 if setting == "domain" else 4)


def test_it_is_in_evaluation_mode_and_has_no_gradient():
    stream = blob_stream()
    learner = learner_for(stream, hidden=(16,), dropout=0.5)
    learner.start(0)
    learner.model.train()
    snapshot, inputs = learner.snapshot(), inputs_of(learner)
    snapshot.take()
    assert learner.model.training
    assert torch.equal(snapshot.logits(inputs), snapshot.logits(inputs))
    assert not snapshot.logits(inputs.requires_grad_()).requires_grad
    assert all(parameter.requires_grad for parameter in learner.model.parameters())


def test_taking_again_replaces():
    learner, _ = learn(Naive(), blob_stream(), tasks=1)
    snapshot, inputs = learner.snapshot(), inputs_of(learner)
    snapshot.take()
    first = snapshot.features(inputs)
    shift(learner)
    snapshot.take()
    assert not torch.equal(snapshot.features(inputs), first)
    assert torch.equal(snapshot.features(inputs), learner.features(inputs))


@SETTINGS
def test_state_brings_it_back(setting):
    stream = blob_stream(setting)
    learner, _ = learn(Naive(), stream, tasks=2)
    snapshot, inputs = learner.snapshot(), inputs_of(learner)
    snapshot.take()
    state = copy.deepcopy(snapshot.state())
    other = learner_for(stream, seed=9)
    other.start(2)
    twin = other.snapshot()
    twin.load_state(state)
    assert twin.task == 1
    assert torch.equal(twin.logits(inputs), snapshot.logits(inputs))
    shift(other)
    assert torch.equal(twin.logits(inputs), snapshot.logits(inputs))


def test_an_empty_state_leaves_an_empty_snapshot():
    snapshot = learner_for(blob_stream()).snapshot()
    snapshot.load_state({})
    assert not snapshot
