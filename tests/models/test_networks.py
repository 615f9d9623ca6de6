"""The shipped networks against forwards written out by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from clbench.errors import ConfigError
from clbench.models import build_model
from clbench.models.mlp import MLP
from clbench.models.resnet import PreActivationResNet18, ResNet18


@settings(max_examples=20, deadline=None)
@given(hidden=st.lists(st.integers(1, 7), max_size=3), bias=st.booleans(), side=st.integers(1, 4))
def test_mlp_is_matrix_products_and_relu(hidden, bias, side):
    model = MLP((2, side, side), hidden, bias, 0.0)
    x = torch.randn(3, 2, side, side)
    h = x.reshape(3, -1)
    weights = dict(model.named_parameters())
    for i in range(len(hidden)):
        h = (h @ weights[f"layers.{i}.weight"].T + (weights[f"layers.{i}.bias"] if bias else 0)).clamp(min=0)
    torch.testing.assert_close(model(x), h)
    assert len(weights) == len(hidden) * (2 if bias else 1)


def test_mlp_drops_in_training_only():
    model = MLP((50,), [40], False, 0.5)
    x = torch.randn(4, 50)
    dropped, kept = model.train()(x), model.eval()(x)
    alive = dropped != 0
    torch.testing.assert_close(dropped[alive], 2 * kept[alive])
    assert (dropped == 0).sum() > (kept == 0).sum()
    assert torch.equal(kept, model(x))


def test_alexnet_follows_the_paper(node, stream):
    model = build_model(node("alexnet", norm="batch"), stream((3, 32, 32), (10, 10)), 0).eval()
    w = dict(model.named_parameters())
    x = h = torch.randn(4, 3, 32, 32)
    for i in range(3):
        h = F.conv2d(h, w[f"backbone.convs.{i}.weight"])
        h = (h - h.mean((0, 2, 3), keepdim=True)) / (h.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
        h = F.max_pool2d(h.clamp(min=0), 2)
    assert h.shape == (4, 256, 2, 2)
    h = h.flatten(1)
    for i in range(2):
        h = h @ w[f"backbone.linears.{i}.weight"].T
        h = ((h - h.mean(0)) / (h.var(0, unbiased=False) + 1e-5).sqrt()).clamp(min=0)
    torch.testing.assert_close(model(x, head=1), h @ w["heads.1.weight"].T, rtol=1e-3, atol=1e-4)


def test_lenet_follows_the_paper(node, stream):
    model = build_model(node("lenet"), stream((3, 32, 32)), 0)
    w = dict(model.named_parameters())
    x = h = torch.randn(2, 3, 32, 32)
    for i in range(2):
        h = F.conv2d(h, w[f"backbone.convs.{i}.weight"], padding=2).clamp(min=0)
        h = F.max_pool2d(F.local_response_norm(h, 4, 0.001 / 9, 0.75, 1.0), 3, 2, 1)
    assert h.shape == (2, 50, 8, 8)
    h = h.flatten(1)
    for i in range(2):
        h = (h @ w[f"backbone.linears.{i}.weight"].T).clamp(min=0)
    torch.testing.assert_close(model(x), h @ w["heads.0.weight"].T, rtol=1e-4, atol=1e-5)


def test_kaiming_initialisation_has_its_bounds(node, stream):
    drawn = build_model(node("lenet"), stream((3, 32, 32)), 0)
    plain = build_model(node("lenet", init="default", head={"bias": False}), stream((3, 32, 32)), 0)
    for (key, a), b in zip(drawn.named_parameters(), plain.parameters()):
        fan_in = a[0].numel()
        assert 0.9 * (6 / fan_in) ** 0.5 < a.abs().max() <= (6 / fan_in) ** 0.5, key
        assert b.abs().max() <= (1 / fan_in) ** 0.5, key


def test_xavier_initialisation_has_its_bounds_and_no_bias(node, stream):
    model = build_model(node("mlp", init="xavier", head={"bias": True, "init": "xavier"}), stream((1, 28, 28)), 0)
    for key, value in model.named_parameters():
        if value.dim() == 1:
            assert not value.any(), key
        else:
            bound = (6 / sum(value.shape)) ** 0.5
            assert 0.95 * bound < value.abs().max() <= bound, key


def test_dropout_rates_belong_to_their_layers(node, stream):
    config = node("alexnet", norm="none", dropout=[0.0, 0.0, 0.0, 0.0, 0.99])
    backbone = build_model(config, stream((1, 28, 28)), 0).backbone.train()
    x = torch.rand(4, 1, 28, 28)
    before = [backbone.linears[1].register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))]
    seen = []
    backbone(x)
    backbone(x)
    before[0].remove()
    assert torch.equal(seen[0], seen[1]), "nothing random before the last layer"
    assert (backbone(x) == 0).float().mean() > 0.9


def test_resnet_halves_the_map_three_times_and_pools():
    model = ResNet18((3, 32, 32), 4, "running", None, "default").eval()
    maps = []
    for block in model.blocks:
        block.register_forward_hook(lambda _m, _i, out: maps.append(tuple(out.shape[1:])))
    x = torch.randn(2, 3, 32, 32)
    features = model(x)
    assert maps[1::2] == [(4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 4, 4)]
    assert features.shape == (2, 32)
    assert sum(isinstance(part, nn.Conv2d) for part in model.modules()) == 20  # 17 of 3x3 and 3 shortcuts


def test_resnet_global_pooling_is_the_mean_of_the_pooled_quarters():
    model = ResNet18((3, 32, 32), 4, "running", None, "default").eval()
    x = torch.randn(2, 3, 32, 32)
    whole = model(x)
    model.pool = 2  # as in GPM's program: 2x2 places remain
    quarters = model(x)
    assert quarters.shape == (2, 4 * 32)
    torch.testing.assert_close(quarters.view(2, 32, 4).mean(2), whole)


def test_block_adds_its_shortcut():
    block = ResNet18((3, 8, 8), 2, "none", None, "default").blocks[2]
    x = torch.randn(2, 2, 8, 8)
    y = F.conv2d(F.conv2d(x, block.conv1.weight, stride=2, padding=1).clamp(min=0), block.conv2.weight, padding=1)
    torch.testing.assert_close(block(x), (y + F.conv2d(x, block.shortcut.weight, stride=2)).clamp(min=0))


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 90), width=st.integers(1, 90), stride=st.integers(1, 3))
def test_resnet_knows_the_side_of_its_last_map(height, width, stride):
    """The side that `pool` is checked against is the one that the convolutions leave."""
    sides = []
    for side in (height, width):
        for step in (stride, 2, 2, 2):  # a 3x3 convolution with one pixel of padding
            side = (side + 2 - 3) // step + 1
        sides.append(side)
    ResNet18((1, height, width), 1, "none", min(sides), "default", stride)
    with pytest.raises(ConfigError):
        ResNet18((1, height, width), 1, "none", min(sides) + 1, "default", stride)


def test_resnet_of_miniimagenet_leaves_nine_places(node, stream):
    """As TRGP's program: a stem of stride 2, maps of 42, 21, 11 and 6 pixels, pooled over 2x2."""
    config = node("resnet18_reduced", stem_stride=2, pool=2, norm="batch", head={"bias": False})
    model = build_model(config, stream((3, 84, 84), (5, 5)), 0).eval()
    maps = []
    for block in model.backbone.blocks:
        block.register_forward_hook(lambda _m, _i, out: maps.append(tuple(out.shape[1:])))
    model(torch.randn(2, 3, 84, 84))
    assert maps[1::2] == [(20, 42, 42), (40, 21, 21), (80, 11, 11), (160, 6, 6)]
    assert model.heads[1].weight.shape == (5, 160 * 9)


def normalised(x, part):
    scale = part.weight / (x.var((0, 2, 3), unbiased=False) + part.eps).sqrt()
    return (x - x.mean((0, 2, 3))[:, None, None]) * scale[:, None, None] + part.bias[:, None, None]


def test_preactivation_resnet_written_out():
    model = PreActivationResNet18((3, 32, 32), 4, "batch", "default").eval()
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5)
                part.bias.uniform_(-0.5, 0.5)
    x = torch.randn(4, 3, 32, 32)
    h = F.conv2d(x, model.stem.weight, padding=1)
    for index, block in enumerate(model.blocks):
        stride = 2 if index in (2, 4, 6) else 1
        before = normalised(h, block.norm1).clamp(min=0)
        y = F.conv2d(before, block.conv1.weight, stride=stride, padding=1)
        y = F.conv2d(normalised(y, block.norm2).clamp(min=0), block.conv2.weight, padding=1)
        h = y + (h if stride == 1 else F.conv2d(before, block.shortcut.weight, stride=stride))
    assert h.shape == (4, 32, 4, 4)
    torch.testing.assert_close(model(x), normalised(h, model.last_norm).clamp(min=0).mean((2, 3)), rtol=1e-3, atol=1e-4)
