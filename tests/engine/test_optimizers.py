"""Directions against torch.optim, step by step."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.engine.optimizers import SGD, Adam, clip_by_norm
from clbench.errors import ConfigError
from clbench.instantiate import instantiate
from clbench.method import Method
from clbench.testing import check_resumes
from tests.streams import blob_stream, learn, learner_for, same, weights


def run_both(ours, theirs, steps=6):
    """Move the same parameters by the same gradients; return both."""
    g = torch.Generator().manual_seed(0)
    start = [torch.randn(3, 4, generator=g), torch.randn(5, generator=g)]
    mine, other = [p.clone() for p in start], [p.clone().requires_grad_() for p in start]
    reference = theirs(other)
    for _ in range(steps):
        gradients = [torch.randn(p.shape, generator=g) for p in start]
        directions = ours.directions(["a", "b"], mine, [x.clone() for x in gradients])
        torch._foreach_add_(mine, directions, alpha=-ours.lr)
        for p, x in zip(other, gradients, strict=True):
            p.grad = x
        reference.step()
    return mine, [p.detach() for p in other]


@given(momentum=st.sampled_from([0.0, 0.5, 0.9]), decay=st.sampled_from([0.0, 0.1]), nesterov=st.booleans())
@settings(max_examples=12, deadline=None)
def test_sgd_is_torch_sgd(momentum, decay, nesterov):
    nesterov = nesterov and momentum > 0
    ours = SGD(0.1, momentum, decay, nesterov)
    mine, theirs = run_both(ours, lambda p: torch.optim.SGD(p, 0.1, momentum=momentum, weight_decay=decay, nesterov=nesterov))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_is_torch_adam(decay, decoupled):
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    ours = Adam(0.01, (0.9, 0.99), 1e-8, decay, decoupled)
    mine, theirs = run_both(ours, lambda p: kind(p, 0.01, betas=(0.9, 0.99), weight_decay=decay))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_parameter_that_joins_late_starts_its_own_moments():
    late = Adam(0.1, (0.9, 0.999), 1e-8)
    p, g = torch.ones(2), torch.tensor([1.0, -2.0])
    late.directions(["a"], [p], [g])
    joined = late.directions(["a", "b"], [p, p], [g, g])[1]
    torch.testing.assert_close(joined, Adam(0.1, (0.9, 0.999), 1e-8).directions(["b"], [p], [g])[0])


def test_reset_forgets_the_moments():
    optimizer = SGD(0.1, momentum=0.9)
    p, g = [torch.zeros(2)], [torch.ones(2)]
    first = optimizer.directions(["a"], p, g)[0].clone()
    assert not torch.equal(optimizer.directions(["a"], p, g)[0], first)
    optimizer.reset()
    assert torch.equal(optimizer.directions(["a"], p, g)[0], first)


def test_clipping_bounds_the_joint_norm_and_leaves_small_gradients():
    large, small = [torch.full((3,), 4.0), torch.full((4,), 3.0)], [torch.full((2,), 0.1)]
    clip_by_norm(large, 1.0)
    assert torch.linalg.vector_norm(torch.cat(large)).item() == pytest.approx(1.0, rel=1e-5)
    clip_by_norm(small, 1.0)
    assert torch.equal(small[0], torch.full((2,), 0.1))


@pytest.mark.parametrize(("key", "value"), [("lr", -0.1), ("lr", 0), ("momentum", 1.5), ("weight_decay", -1), ("lr", "fast")])
def test_a_bad_value_is_named(key, value):
    node = {"_target_": "clbench.engine.optimizers.SGD", "lr": 0.1, key: value}
    with pytest.raises(ConfigError, match=f"optimizer.{key}="):
        instantiate(node, "optimizer")


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ConfigError, match="nesterov"):
        instantiate({"_target_": "clbench.engine.optimizers.SGD", "lr": 0.1, "nesterov": True}, "optimizer")


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_moments_that_carry_over_are_those_of_one_torch_optimiser_for_all_tasks(optimizer):
    stream = blob_stream("domain")
    make = {
        "momentum": lambda carry: SGD(0.05, momentum=0.9, carry=carry),
        "adam": lambda carry: Adam(0.01, (0.9, 0.999), 1e-8, carry=carry),
    }[optimizer]
    steps = []

    class Watch(Method):
        def extend_batch(self, learner, batch):
            steps.append((batch.inputs, batch.labels))
            return batch

    learner = learner_for(stream, optimizer=make(True))
    model = copy.deepcopy(learner.model)
    learn(Watch(), stream, learner)
    kind = (
        torch.optim.SGD(model.parameters(), 0.05, 0.9) if optimizer == "momentum" else torch.optim.Adam(model.parameters(), 0.01)
    )
    for inputs, labels in steps:
        kind.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), labels).backward()
        kind.step()
    for ours, theirs in zip(learner.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-4, atol=1e-5)
    anew, _ = learn(Method(), stream, learner_for(stream, optimizer=make(False)))
    assert not same(weights(anew), weights(learner))


@pytest.mark.parametrize("optimizer", [["optimizer=adam"], ["optimizer=sgd", "optimizer.momentum=0.9"]])
def test_moments_that_carry_over_survive_an_interruption(optimizer):
    check_resumes("naive", [*optimizer, "optimizer.carry=true"], [])


def test_a_model_that_starts_anew_has_no_moments():
    learner, _ = learn(
        Method(), blob_stream(), learner_for(blob_stream(), optimizer=SGD(0.05, momentum=0.9, carry=True)), tasks=1
    )
    assert learner.optimizer.state()["velocity"]
    learner.reset_model()
    assert not learner.optimizer.state()["velocity"]
