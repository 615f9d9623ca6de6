"""Heads, one's own networks, and the probe that finds the width of their features."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from clbench.errors import ConfigError
from clbench.models import build_model
from clbench.models.classifier import Classifier


class Own(nn.Module):
    """A user's network with everything a probe could disturb: BatchNorm, dropout, a counter, a frozen part."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(12, width), nn.BatchNorm1d(width), nn.Dropout(0.5))
        self.register_buffer("calls", torch.zeros(()))
        self.body[2].eval()

    def forward(self, x):
        self.calls += 1
        return self.body(x) + torch.rand(())


class Returns(nn.Module):
    """A network that returns whatever a function makes of its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def factory(input_shape, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(input_shape).numel(), width))


def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(5), nn.LazyBatchNorm1d())


def not_a_module():
    return "a string"


def fails():
    return nn.Linear(7, 7)


def test_probe_leaves_buffers_modes_and_generator_as_they_were():
    own = Own()
    buffers = {key: value.clone() for key, value in own.named_buffers()}
    modes = [part.training for part in own.modules()]
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    model = Classifier(own, [], (3, 2, 2))
    assert torch.equal(torch.rand(3), expected)
    assert model.width == 6
    assert all(torch.equal(buffers[key], value) for key, value in own.named_buffers())
    assert [part.training for part in own.modules()] == modes
    assert not all(modes), "the frozen part is still frozen"


@pytest.mark.parametrize(
    ("function", "seen"),
    [
        (lambda x: x, r"float32 of shape \[2, 3, 2, 2\]"),
        (lambda x: x.flatten(), r"float32 of shape \[24\]"),
        (lambda x: x.flatten(1).long(), r"int64 of shape \[2, 12\]"),
        (lambda x: x.flatten(1)[:1], r"float32 of shape \[1, 12\]"),
        (lambda x: x.flatten(1)[:, :0], r"float32 of shape \[2, 0\]"),
        (lambda x: (x.flatten(1), x), "returns tuple"),
    ],
)
def test_what_is_not_features_is_refused_with_its_shape(function, seen):
    with pytest.raises(ConfigError, match=rf"Returns returns .*{seen}|{seen}.*\[2, 3, 2, 2\]"):
        Classifier(Returns(function), [2], (3, 2, 2))


def test_forward_is_a_linear_head_on_the_features():
    model = Classifier(factory((3, 2, 2)), [2, 5], (3, 2, 2))
    x = torch.randn(7, 3, 2, 2)
    weights = dict(model.named_parameters())
    expected = model.features(x) @ weights["heads.1.weight"].T + weights["heads.1.bias"]
    torch.testing.assert_close(model(x, head=1), expected)
    torch.testing.assert_close(model(x, head=1, outputs=3), expected[:, :3])
    layers = ("backbone.1", "heads.0", "heads.1")
    assert list(weights) == [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


def test_outputs_not_in_play_get_no_gradient():
    model = Classifier(factory((12,)), [5], (12,))
    nn.functional.cross_entropy(model(torch.randn(4, 12), outputs=2), torch.tensor([0, 1, 0, 1])).backward()
    grad = model.heads[0].weight.grad
    assert torch.equal(grad[2:], torch.zeros(3, 4))
    assert grad[:2].abs().sum() > 0


def test_head_without_bias():
    assert all(head.bias is None for head in Classifier(factory((12,)), [2, 2], (12,), head_bias=False).heads)


def test_transductive_is_noticed_in_ones_own_network():
    assert not Classifier(Own(), [2], (3, 2, 2)).transductive
    own = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12, track_running_stats=False))
    assert Classifier(own, [2], (3, 2, 2)).transductive


@pytest.mark.parametrize("target", [f"{__name__}.Own", f"{__name__}.factory", f"{__name__}.lazy", "torch.nn.Flatten"])
def test_ones_own_network_class_or_factory(node, stream, target):
    config = node("custom", _target_=target)
    first, second = (build_model(config, stream((3, 2, 2), (2, 3)), 1) for _ in range(2))
    assert first.eval()(torch.zeros(2, 3, 2, 2), head=1).shape == (2, 3)
    assert [p.shape for p in first.parameters()] == [p.shape for p in second.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))


def test_arguments_reach_ones_own_network(node, stream):
    assert build_model(node("custom", _target_=f"{__name__}.factory", width=9), stream((12,)), 0).width == 9


@pytest.mark.parametrize(
    ("target", "what"),
    [
        (f"{__name__}.not_a_module", "makes a str, not a torch.nn.Module"),
        (f"{__name__}.fails", r"torch.nn.modules.linear.Linear fails on inputs of shape \[2, 3, 2, 2\]"),
        (f"{__name__}.missing", "has no missing"),
        ("no_such_package.Net", "no_such_package"),
        ("???", "not a dotted name"),
    ],
)
def test_what_is_no_network_is_refused(node, stream, target, what):
    with pytest.raises(ConfigError, match=what) as caught:
        build_model(node("custom", _target_=target), stream((3, 2, 2)), 0)
    assert caught.value.remedy


def test_keys_left_over_from_a_shipped_network_are_explained(node, stream):
    with pytest.raises(ConfigError, match="does not take hidden, bias, dropout") as caught:
        build_model(node("mlp", _target_=f"{__name__}.factory"), stream((12,)), 0)
    assert "model=custom" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("mlp", {}),
        ("lenet", {}),
        ("resnet18_reduced", {"filters": 4, "norm": "batch"}),
    ],
)
def test_replicas_run_side_by_side(node, stream, name, overrides):
    models = [build_model(node(name, **overrides), stream((1, 8, 8)), seed).double() for seed in range(3)]
    parameters, buffers = stack_module_state(models)
    x = torch.randn(3, 4, 1, 8, 8, dtype=torch.float64)
    stacked = vmap(lambda p, b, inputs: functional_call(models[0], (p, b), (inputs,)))(parameters, buffers, x)
    for model, inputs, expected in zip(models, x, stacked):
        torch.testing.assert_close(model(inputs), expected, rtol=1e-9, atol=1e-9)
