"""Gradients of an MLP without a graph are autograd's; hooks and other models make the step build a graph."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from clbench.engine.fast import mlp_layers
from clbench.engine.fast.mlp_backward import differentiate
from clbench.engine.training.loop import Training
from clbench.method import Method
from clbench.methods.naive import Naive
from clbench.models.mlp import MLP
from clbench.utils import cpu_matmul
from tests.methods.shipped import shipped
from tests.streams import blob_stream, doubled, learn, learner_for, trainer, weights


def started(setting="class", outputs="seen", task=1, **options):
    """Return a learner in double precision at a task, and a batch of it; `replayed` samples of the first task join it."""
    replayed = options.pop("replayed", 0)
    stream = doubled(blob_stream(setting, outputs))
    learner = learner_for(stream, **options)
    learner.model.double()
    learner.start(0)
    memory = learner.memory(9)
    memory.add(learner.batch(stream.tasks[0].train, torch.arange(9)))
    learner.start(task)
    batch = learner.batch(stream.tasks[task].train, torch.arange(7))
    return learner, learner.join(batch, memory.sample(replayed)) if replayed else batch


def by_graph(learner, batch, parameters, loss=F.cross_entropy):
    value = loss(learner.forward(batch), batch.labels)
    return torch.autograd.grad(value, parameters, allow_unused=True), value


def assert_same(found, wanted):
    for a, b in zip(found[0], wanted[0], strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found[1], wanted[1].detach(), rtol=1e-12, atol=0)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([("class", "seen"), ("class", "all"), ("domain", "seen"), ("task", "seen"), ("task", "all")]),
    st.lists(st.integers(1, 9), max_size=3),
    st.booleans(),
    st.sampled_from([0, 5]),
    st.sampled_from([None, F.cross_entropy, lambda logits, labels: 3 * F.multi_margin_loss(logits.clamp(min=-9), labels)]),
    st.data(),
)
def test_gradients_are_autograds(kind, hidden, bias, replayed, loss, data):
    learner, batch = started(*kind, hidden=tuple(hidden), bias=bias, replayed=replayed)
    names, parameters = learner.trainable(learner.needs_all_heads(batch))
    frozen = data.draw(st.sets(st.sampled_from(names), max_size=len(names) - 1))
    parameters = [p for name, p in zip(names, parameters, strict=True) if name not in frozen]
    wanted = by_graph(learner, batch, parameters, loss or F.cross_entropy)
    joint = batch.joint
    batch.joint = None
    found = differentiate(learner.mlp, learner, batch, parameters, loss and (lambda logits: loss(logits, batch.labels)))
    assert_same(found, wanted)
    assert (joint is None) == (batch.joint is None)
    if joint is not None:
        torch.testing.assert_close(batch.joint, joint)


def test_a_loss_that_depends_on_parameters_in_other_ways_has_both_parts():
    learner, batch = started()
    parameters = learner.trainable()[1]
    other = learner.batch(learner.stream.tasks[1].train, torch.arange(7, 20))

    def loss(logits, labels):
        return F.cross_entropy(logits, labels) + learner.forward(other).square().mean() + parameters[0].square().sum()

    wanted = by_graph(learner, batch, parameters, loss)
    assert_same(differentiate(learner.mlp, learner, batch, parameters, lambda logits: loss(logits, batch.labels)), wanted)


def test_a_loss_without_the_logits_has_the_rest():
    learner, batch = started()
    parameters = learner.trainable()[1]
    found, _ = differentiate(learner.mlp, learner, batch, parameters, lambda logits: parameters[0].square().sum())
    torch.testing.assert_close(found[0], 2 * parameters[0])
    assert not any(gradient.any() for gradient in found[1:])


class Watching(Method):
    """A method with a loss and a penalty of its own."""

    def criterion(self, learner, batch, logits):
        return F.cross_entropy(logits, batch.labels, label_smoothing=0.2)

    def penalty(self, learner, batch, logits):
        return 0.01 * sum(p.square().sum() for p in learner.trainable(learner.needs_all_heads(batch))[1])


@pytest.mark.parametrize("method", [Naive, Watching, lambda: shipped("er"), lambda: shipped("derpp"), lambda: shipped("ewc")])
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
@pytest.mark.parametrize("micro", [None, 5])
def test_a_stream_ends_where_it_ends_with_a_graph(monkeypatch, method, setting, micro):
    stream = blob_stream(setting, kind="permuted" if setting == "domain" else "split")
    how = trainer(batch_size=8, micro_batch_size=micro)
    taken = []
    monkeypatch.setattr("clbench.engine.training.gradients.differentiate", lambda *a: taken.append(1) or differentiate(*a))
    ours = weights(learn(method(), stream, how=how)[0])
    assert taken
    monkeypatch.setattr("clbench.engine.learner.weights.mlp_layers", lambda model: None)
    taken.clear()
    theirs = weights(learn(method(), stream, how=how)[0])
    assert not taken
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-6)


class Own(MLP):
    """A perceptron that does something else."""

    def forward(self, x):
        return super().forward(x) * 2


def test_models_that_are_no_mlp(monkeypatch):
    stream = blob_stream()
    assert mlp_layers.mlp_layers(learner_for(stream).model) is not None
    assert mlp_layers.mlp_layers(learner_for(stream, dropout=0.5).model) is None
    assert mlp_layers.mlp_layers(learner_for(stream, _target_="tests.engine.fast.test_mlp_backward.Own").model) is None
    model = learner_for(stream).model
    nn.utils.parametrizations.weight_norm(model.backbone.layers[0])
    assert mlp_layers.mlp_layers(model) is None
    assert mlp_layers.mlp_layers(nn.Sequential(nn.Linear(2, 2))) is None


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
@pytest.mark.parametrize("place", ["backbone.layers.0", "heads.0", "backbone", ""])
def test_what_is_attached_is_met(kind, place):
    stream = blob_stream()
    learner = learner_for(stream)
    training = Training(learner, Naive(), trainer())
    training.begin(stream.tasks[0])
    assert learner.mlp_without_graph() is not None
    met = []
    register = getattr(learner.model.get_submodule(place), f"register_{kind}_hook")
    handle = register(lambda *_: met.append(1) and None)
    training.step(learner.batch(stream.tasks[0].train, torch.arange(8)))
    assert met
    handle.remove()
    assert learner.mlp_without_graph() is not None


def test_hooks_of_parameters_and_of_all_modules_are_met():
    stream = blob_stream()
    learner = learner_for(stream)
    training = Training(learner, Naive(), trainer())
    training.begin(stream.tasks[0])
    batch = learner.batch(stream.tasks[0].train, torch.arange(8))
    before = weights(learner)
    handle = learner.parameters["backbone.layers.0.weight"].register_hook(torch.zeros_like)
    training.step(batch)
    assert torch.equal(weights(learner)["backbone.layers.0.weight"], before["backbone.layers.0.weight"])
    handle.remove()
    met = []
    handle = nn.modules.module.register_module_forward_hook(lambda *_: met.append(1) and None)
    training.step(batch)
    handle.remove()
    assert met


def test_reparametrized_weights_and_other_arithmetic_go_by_the_graph():
    stream = blob_stream()
    learner = learner_for(stream)
    Training(learner, Naive(), trainer())
    assert learner.mlp_without_graph() is not None
    Training(learner, Naive(), trainer(precision="bf16"))
    assert learner.mlp_without_graph() is None
    Training(learner, shipped("rogo"), trainer())
    assert learner.mlp_without_graph() is None


def test_parts_of_a_batch_that_differ_in_size_are_projected_alike():
    """A last part so small that projecting its inputs would be the cheaper must not count as projected for the others."""
    stream = blob_stream("domain", kind="permuted")
    ends = []
    for micro in (None, 13):  # 16 samples: parts of 13 and 3, and a layer of 8 outputs
        method = shipped("gpm", threshold=0.9, samples=60)
        learner, _ = learn(method, stream, learner_for(stream, hidden=(8,)), how=trainer(batch_size=16, micro_batch_size=micro))
        ends.append(weights(learner))
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], rtol=1e-4, atol=1e-5)


@pytest.fixture
def _as_before():
    before = cpu_matmul.taken()
    yield
    cpu_matmul.use(before)


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize("choice", ["mkl", "onednn"])
def test_large_products_of_either_library(choice):
    cpu_matmul.use(choice)
    stream = blob_stream()
    learner = learner_for(stream, hidden=(1500, 1400))
    learner.start(1)
    batch = learner.batch(stream.tasks[1].train, torch.arange(20))
    parameters = learner.trainable()[1]
    wanted, loss = by_graph(learner, batch, parameters)
    found, value = differentiate(learner.mlp, learner, batch, parameters)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        assert choice != "mkl" or torch.equal(a, b)
    torch.testing.assert_close(value, loss.detach())


@pytest.mark.parametrize("kind", [("class", "seen"), ("class", "all"), ("task", "seen"), ("task", "all")])
def test_predictions_and_an_earlier_model_without_a_graph(monkeypatch, kind):
    learner, batch = started(*kind)
    asked = 1 if learner.stream.own_heads else None
    teacher = learner.teacher()
    teacher.take()
    again = learner.teacher()
    again.load_state(teacher.state())
    taken = []
    monkeypatch.setattr(mlp_layers, "layer_inputs", lambda *a, own=mlp_layers.layer_inputs: taken.append(1) or own(*a))
    with torch.no_grad():
        ours = [learner.logits(batch.inputs, asked), learner.features(batch.inputs), learner.forward(batch)]
    ours += [teacher.logits(batch.inputs), again.logits(batch.inputs)]
    assert len(taken) == 5 - learner.needs_all_heads(batch)
    taken.clear()
    theirs = [learner.logits(batch.inputs, asked), learner.features(batch.inputs), learner.forward(batch)]
    monkeypatch.setattr(mlp_layers, "mlp_layers", lambda model: None)
    for _ in range(2):
        other = learner.teacher()
        other.take()
        theirs.append(other.logits(batch.inputs))
    assert not taken
    for a, b in zip(ours, theirs, strict=True):
        assert a.requires_grad is False
        assert torch.equal(a, b)


def test_the_gradient_that_methods_ask_for_is_autograds():
    learner, batch = started()
    learner.gradients = dict(zip(*learner.trainable(), strict=True))
    wanted, _ = by_graph(learner, batch, list(learner.gradients.values()))
    with torch.no_grad():
        found = learner.gradient(batch)
    for a, b in zip(found.values(), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_a_module_whose_forward_was_replaced_is_no_mlp():
    model = learner_for(blob_stream()).model
    model.backbone.forward = lambda x: x
    assert mlp_layers.mlp_layers(model) is None


def test_the_loss_of_a_step_has_no_graph():
    learner, batch = started()
    for loss in (None, lambda logits: logits.square().sum()):
        gradients, value = differentiate(learner.mlp, learner, batch, learner.trainable()[1], loss)
        assert not value.requires_grad
        assert not any(gradient.requires_grad for gradient in gradients)
