"""Linear layers as products of factors."""

import copy

import pytest
import torch
from torch import nn

from clbench.toolkit.svd_linear import FACTORS, FactoredLinear, put


def layer(kind, out=10, inputs=6, bias=True):
    torch.manual_seed(0)
    if kind == "linear":
        return nn.Linear(inputs, out, bias=bias)
    made = pytest.importorskip("transformers.pytorch_utils").Conv1D(out, inputs)
    nn.init.normal_(made.weight)
    nn.init.normal_(made.bias)
    return made


@pytest.mark.parametrize("kind", ["linear", "conv1d"])
@pytest.mark.parametrize("shape", [(10, 6), (6, 10), (6, 6)])
@pytest.mark.parametrize("rebuild", [True, False])
def test_outputs_are_those_of_the_plain_layer_and_all_factors_learn(monkeypatch, kind, shape, rebuild):
    monkeypatch.setattr(FactoredLinear, "rebuilds", lambda *_: rebuild)
    plain = layer(kind, *shape).double()
    x = torch.randn(3, 5, shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    expected = plain(x)
    (slope,) = torch.autograd.grad(expected.square().sum(), x)
    made = FactoredLinear(copy.deepcopy(plain), 2)
    found = made(x)
    assert torch.allclose(found, expected, atol=1e-12)
    loss = found.square().sum()
    gradients = torch.autograd.grad(loss, [x, *(made.get_parameter(name) for name in (*FACTORS, "bias"))])
    assert torch.allclose(gradients[0], slope, rtol=1e-10, atol=1e-10)
    assert all(float(gradient.abs().max()) > 1e-3 for gradient in gradients)
    assert torch.allclose(made.weight, plain.weight, atol=1e-12)


def test_both_ways_have_the_same_gradients(monkeypatch):
    made = FactoredLinear(layer("linear").double(), 2)
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = []
    for way in (True, False):
        monkeypatch.setattr(FactoredLinear, "rebuilds", lambda *_, way=way: way)
        found.append(torch.autograd.grad(made(x).square().sum(), list(made.parameters())))
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-10) for a, b in zip(*found))


def test_many_inputs_pay_for_making_the_weight_and_few_do_not():
    made = FactoredLinear(nn.Linear(64, 64), 32)
    assert made.rebuilds(1000, True)
    assert made.rebuilds(1000, False)
    assert not made.rebuilds(4, True)
    assert not made.rebuilds(4, False)


@pytest.mark.parametrize("kind", ["linear", "conv1d"])
def test_what_is_restored_is_the_same_module_under_the_same_names(kind):
    net = nn.Sequential(layer(kind), nn.ReLU())
    plain, before = net[0], {name: value.clone() for name, value in net.state_dict().items()}
    put(net, "0", FactoredLinear(net[0], 3))
    assert "0.weight" not in net.state_dict()
    assert plain.weight is None, "no dense copy beside the factors"
    assert [name for name, _ in net.named_buffers()] == ["0.U_high", "0.S_high", "0.V_high"]
    with torch.no_grad():
        net[0].bias += 1
    put(net, "0", net[0].restore())
    assert net[0] is plain
    assert net.state_dict().keys() == before.keys()
    assert torch.allclose(net[0].weight, before["0.weight"], atol=1e-5)
    assert torch.equal(net[0].bias, before["0.bias"] + 1)
    assert net[0].weight.is_contiguous()


def test_weights_of_half_precision_keep_factors_in_single():
    plain = layer("linear").bfloat16()
    before = plain.weight.detach().clone()
    made = FactoredLinear(plain, 2)
    assert made.U_low.dtype == torch.float32
    assert made(torch.zeros(2, 6, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert torch.equal(made.restore().weight, before)


def test_autocast_computes_in_half_precision_and_factors_stay():
    made = FactoredLinear(layer("linear"), 2)
    with torch.autocast("cpu", torch.bfloat16):
        y = made(torch.zeros(2, 6))
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert made.U_low.grad.dtype == torch.float32


def test_a_copy_restores_itself_alone():
    made = FactoredLinear(layer("linear"), 2)
    other = copy.deepcopy(made)
    with torch.no_grad():
        other.S_low += 1
    assert not torch.allclose(made.restore().weight, other.restore().weight)
