"""The layers of a backbone, in the order of the forward pass."""

import pytest
import torch
from torch import nn

from clbench.models.convnets import ConvNet
from clbench.models.mlp import MLP
from clbench.models.resnet import ResNet18
from clbench.toolkit.layer_discovery import find_layers
from tests.tokens import LENGTH, Encoder, build

LISTS = {"llama": "model.layers", "gpt2": "model.h", "bert": "model.encoder.layer", "opt": "model.decoder.layers"}


def tokens(backbone):
    return find_layers(backbone, lambda: backbone(torch.zeros(2, LENGTH)))


@pytest.mark.parametrize("kind", LISTS)
def test_blocks_of_transformers_by_their_order(kind):
    found = tokens(Encoder(build(kind, layers=12)))
    assert found.names == [f"{LISTS[kind]}.{n}" for n in range(12)]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("llama", {"model.embed_tokens"}),
        ("gpt2", {"model.wte", "model.wpe", "model.drop"}),
        (
            "bert",
            {f"model.embeddings.{n}_embeddings" for n in ("word", "position", "token_type")} | {"model.embeddings.LayerNorm"},
        ),
        ("opt", {"model.decoder.embed_tokens", "model.decoder.embed_positions"}),
    ],
)
def test_what_comes_before_the_first_is_the_inputs(kind, names):
    found = tokens(Encoder(build(kind)))
    assert names <= set(found.inputs)
    late = [name for name in found.inputs if any(part in name for part in ("norm", "ln_f", "pooler"))]
    assert not late, "a norm after the last block, though OPT lists it first, is none of the inputs"


def test_an_encoder_comes_before_its_decoder():
    found = tokens(Encoder(build("t5", layers=3)))
    assert found.names == [f"model.{part}.block.{n}" for part in ("encoder", "decoder") for n in range(3)]
    assert "model.encoder.dropout" in found.inputs


def images(backbone, *shape):
    return find_layers(backbone, lambda: backbone(torch.zeros(2, *shape)))


def test_a_plain_network_has_its_weighted_layers():
    assert images(MLP((1, 4, 4), [8, 8, 8], True, 0.0), 1, 4, 4).names == ["layers.0", "layers.1", "layers.2"]


def test_norms_belong_to_the_layer_they_follow():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(8, 4), nn.LayerNorm(4))
    found = images(net, 1, 4, 4)
    assert [list(layer) for layer in found.layers] == [["0", "1", "2"], ["4", "5"]]
    assert not found.inputs


def test_a_residual_network_has_a_stem_and_blocks():
    net = ResNet18((3, 8, 8), 4, "running", None, "default")
    found = images(net, 3, 8, 8)
    assert found.names == [f"blocks.{n}" for n in range(8)]
    assert {"stem", "stem_norm"} <= set(found.inputs)


def test_lists_of_blocks_one_after_the_other():
    torchvision = pytest.importorskip("torchvision")
    net = torchvision.models.resnet18()
    found = images(net, 3, 32, 32)
    assert found.names == [f"layer{stage}.{n}" for stage in range(1, 5) for n in range(2)]
    assert list(found.inputs) == ["conv1", "bn1"]


def test_nothing_is_changed():
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    net.train()
    net[1].eval()
    find_layers(net, lambda: net(torch.randn(2, 4, generator=torch.Generator().manual_seed(0))))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [part.training for part in net] == [True, False, True]
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(part._forward_pre_hooks for part in net)


def test_a_module_with_others_within_it_is_known():
    class Prefixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.prefix = nn.Parameter(torch.zeros(4))
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4)) for _ in range(3))

        def forward(self, x):
            x = x + self.prefix
            for block in self.blocks:
                x = block(x)
            return x

    found = images(Prefixed(), 4)
    assert list(found.inputs) == [""]
    assert found.holds_others("")
    assert not found.holds_others("blocks.1")


@pytest.mark.parametrize("norm", ["none", "running"])
def test_a_convolutional_network_in_the_order_of_calls_not_of_names(norm):
    net = ConvNet((1, 8, 8), [2, 3], [3, 3], 1, 2, 2, 0, [5, 4], 0.0, norm, None, True, "default")
    found = images(net, 1, 8, 8)
    assert found.names == ["convs.0", "convs.1", "linears.0", "linears.1"]
    assert [len(layer) for layer in found.layers] == ([1] * 4 if norm == "none" else [2] * 4)
