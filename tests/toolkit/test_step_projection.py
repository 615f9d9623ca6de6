"""Projection of a layer's inputs gives the same step as projection of the step."""

import pytest
import torch
from torch import nn

from clbench.engine.optimizers import SGD, Adam
from clbench.engine.training.loop import Training
from clbench.method import Method
from clbench.methods.compose import Compose
from clbench.models.classifier import Classifier
from clbench.models.mlp import MLP
from tests.methods.shipped import shipped
from tests.streams import blob_stream, doubled, learner_for, trainer, weights

WIDE = {"hidden": (48, 40)}
SMALL = 4  # samples per step: less than half of the layers' outputs


class Twice(nn.Module):
    """A linear layer that is called twice, the second time with three axes."""

    def __init__(self):
        super().__init__()
        self.first, self.again = nn.Linear(16, 40), nn.Linear(40, 40)

    def forward(self, x):
        h = torch.relu(self.again(torch.relu(self.first(x.flatten(1)))))
        return self.again(torch.stack([h, h * h], dim=1)).mean(1)


class Own(MLP):
    """A perceptron of another's making: its steps go through a graph."""


def weights_after(method, plain=True, optimizer=None, model=None, clip=None, bias=True, batch=SMALL, epochs=1):
    """Return the weights after three tasks in double precision, and how many layers a step projected at their inputs."""
    torch.set_default_dtype(torch.float64)
    try:
        stream = doubled(blob_stream("domain", kind="permuted"))
        own = {"_target_": f"{__name__}.Own"} if model is Own else {}
        learner = learner_for(stream, optimizer=optimizer or SGD(0.05), bias=bias, **WIDE, **own)
        assert (learner.mlp is None) == bool(own)
        if model is Twice:
            torch.manual_seed(0)
            learner.model = Classifier(model(), stream.head_sizes, (1, 4, 4))
        learner.start(0)
        method.setup(learner, stream)
        training = Training(learner, method, trainer(epochs=epochs, batch_size=batch, clip_norm=clip))
        if not plain:
            training.project_no_inputs()
        gpm = method.parts["gpm"] if isinstance(method, Compose) else method
        edit, counts = gpm.edit_update, []

        def edit_update(lrn, updates):
            counts.append(len(gpm._projection._done))
            edit(lrn, updates)

        gpm.edit_update = edit_update
        for task in stream.tasks:
            training.learn(task)
    finally:
        torch.set_default_dtype(torch.float32)
    return weights(learner), max(counts)


def close(a, b):
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize("model", [None, Own])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["gpm", "sgp"])
@pytest.mark.parametrize("threshold", [0.6, 0.999])
def test_at_the_inputs_or_at_the_step(name, bias, threshold, model):
    make = lambda: shipped(name, threshold=threshold, samples=60)  # noqa: E731
    early, layers = weights_after(make(), bias=bias, model=model)
    late, none = weights_after(make(), plain=False, bias=bias, model=model)
    assert layers == 2, "both hidden layers; the head is too narrow"
    assert none == 0
    assert close(early, late) < 1e-10


def test_a_layer_that_is_called_twice():
    make = lambda: shipped("gpm", threshold=0.8, samples=60)  # noqa: E731
    early, layers = weights_after(make(), model=Twice)
    late, _ = weights_after(make(), plain=False, model=Twice)
    assert layers == 2
    assert close(early, late) < 1e-10


def test_relaxed_layers_are_projected_at_the_step():
    make = lambda: shipped("rogo", threshold=0.9, samples=60, cosine=0.2, strength=0.1)  # noqa: E731
    early, late = weights_after(make(), epochs=2)[0], weights_after(make(), plain=False, epochs=2)[0]
    assert close(early, late) < 1e-10


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": SGD(0.05, momentum=0.9)},
        {"optimizer": SGD(0.05, weight_decay=0.1)},
        {"optimizer": Adam(0.01, (0.9, 0.999), 1e-8)},
        {"clip": 0.1},
        {"batch": 64},
    ],
)
def test_where_a_step_is_more_than_the_gradient_or_the_batch_is_large_it_is_the_step(options):
    assert weights_after(shipped("gpm", threshold=0.9, samples=60), **options)[1] == 0


def test_beside_a_part_that_edits_gradients_it_is_the_step():
    parts = {"gpm": shipped("gpm", threshold=0.9, samples=60), "ewc": shipped("ewc", strength=1.0)}
    assert weights_after(Compose(parts))[1] == 0
    parts = {"gpm": shipped("gpm", threshold=0.9, samples=60), "naive": shipped("naive")}
    assert weights_after(Compose(parts))[1] == 2


class Again(Method):
    """A penalty with a forward pass of its own."""

    def penalty(self, learner, batch, logits):
        return learner.forward(batch).square().mean()


def test_a_penaltys_own_forward_pass_is_projected_too():
    parts = lambda: {"gpm": shipped("gpm", threshold=0.8, samples=60), "again": Again()}  # noqa: E731
    for model, at_inputs in ((Twice, 2), (None, 0)):  # of an MLP, the step is projected where the loss has other ways
        early, layers = weights_after(Compose(parts()), model=model)
        assert layers == at_inputs
        assert close(early, weights_after(Compose(parts()), plain=False, model=model)[0]) < 1e-10


def test_two_projections_act_one_after_the_other():
    parts = lambda: {name: shipped(name, threshold=0.7, samples=60) for name in ("gpm", "sgp")}  # noqa: E731
    first, layers = weights_after(Compose(parts()))
    assert layers == 0
    assert close(first, weights_after(Compose(parts()), plain=False)[0]) == 0
    assert close(first, weights_after(shipped("sgp", threshold=0.7, samples=60))[0]) > 1e-6, "GPM is not lost"


def test_nothing_else_sees_projected_gradients():
    """Outside a step, gradients are the loss's own: those that a method asks for, and Fisher information."""
    stream = blob_stream("domain", kind="permuted")
    learner = learner_for(stream, **WIDE)
    method = shipped("gpm", threshold=0.9, samples=60)
    method.setup(learner, stream)
    training = Training(learner, method, trainer(epochs=1, batch_size=SMALL))
    for task in stream.tasks[:2]:
        training.learn(task)
    learner.start(2)
    method.begin_task(learner, stream.tasks[2])
    method._projection.at_inputs = True
    batch = learner.batch(stream.tasks[2].train, torch.arange(SMALL))
    learner.gradients = dict(learner.parameters)
    watched = learner.gradient(batch)
    method._projection.release()
    plain = learner.gradient(batch)
    assert all(torch.equal(watched[name], plain[name]) for name in plain)
