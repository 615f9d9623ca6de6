"""What holds for every model in conf/model."""

from pathlib import Path

import pytest
import torch
from torch import nn

from clbench.errors import ConfigError
from clbench.instantiate import locate, parameters
from clbench.models import build_model

FILES = sorted((Path(__file__).parents[2] / "conf" / "model").glob("*.yaml"))
OF_TEXTS = [path.stem for path in FILES if any(sign in path.read_text() for sign in ("\nform:", "defaults: [biography"))]
"""They need a stream of tokens: tests/models/test_language.py and tests/test_biography.py."""
NAMES = [path.stem for path in FILES if path.stem not in OF_TEXTS]
SHIPPED = [name for name in NAMES if name != "custom"]
SHAPES = [(1, 28, 28), (3, 28, 28), (1, 32, 32), (3, 32, 32)]


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def resnet_parameters(f, channels, outputs):
    """Count a ResNet-18's parameters from the paper's table: convolutions without bias, 2 per normalised channel."""
    total = 9 * channels * f + 2 * f
    for a, b in [(1, 1), (1, 1), (1, 2), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8)]:
        a, b = a * f, b * f
        total += 9 * a * b + 9 * b * b + 4 * b
        if a != b:
            total += a * b + 2 * b
    return total + 8 * f * outputs + outputs


ALEXNET_BODY = 3 * 64 * 16 + 64 * 128 * 9 + 128 * 256 * 4 + 256 * 2 * 2 * 2048 + 2048 * 2048
ALEXNET_NORMS = 2 * (64 + 128 + 256 + 2048 + 2048)
COUNTS = [
    ("mlp", (1, 28, 28), 89_610),  # 784*100+100 + 100*100+100 + 100*10+10
    ("mlp_256", (1, 28, 28), 269_322),
    ("mlp_400", (1, 28, 28), 478_410),
    ("alexnet", (3, 32, 32), ALEXNET_BODY + ALEXNET_NORMS + 2048 * 10),
    ("lenet", (3, 32, 32), 3 * 20 * 25 + 20 * 50 * 25 + 50 * 8 * 8 * 800 + 800 * 500 + 500 * 10),
    ("resnet18_reduced", (3, 32, 32), resnet_parameters(20, 3, 10)),
    ("resnet18", (3, 32, 32), 11_173_962),  # as published for CIFAR-10
    ("preact_resnet18", (3, 32, 32), 11_218_340 - 9 * (512 * 10 + 10)),  # the authors' logs count ten heads
]


def test_the_table_of_counts_names_every_model():
    assert [name for name, _, _ in sorted(COUNTS)] == SHIPPED


@pytest.mark.parametrize(("name", "shape", "expected"), COUNTS)
def test_parameters_are_as_many_as_in_the_paper(node, stream, name, shape, expected):
    assert count(build_model(node(name), stream(shape), 0)) == expected


def test_hand_count_of_the_resnet_gives_the_published_number():
    assert resnet_parameters(64, 3, 10) == 11_173_962


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(node, stream, name, shape):
    model = build_model(node(name), stream(shape, (2, 3)), 0).eval()
    x = torch.randn(2, *shape)
    assert model.features(x).shape == (2, model.width)
    assert model(x, head=1).shape == (2, 3)
    assert torch.equal(model(x, head=1, outputs=2), model(x, head=1)[:, :2])
    assert model.input_shape == shape


@pytest.mark.parametrize("name", SHIPPED)
def test_keys_are_the_parameters_of_the_target(node, name):
    config = node(name)
    accepted, _ = parameters(locate(config["_target_"], "model"))
    assert set(config) - {"_target_", "head"} == set(accepted) - {"input_shape"}


@pytest.mark.parametrize("name", SHIPPED)
def test_same_seed_gives_the_same_bits_and_the_global_generator_is_untouched(node, stream, name):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = build_model(node(name), stream((1, 28, 28)), 3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    second, other = build_model(node(name), stream((1, 28, 28)), 3), build_model(node(name), stream((1, 28, 28)), 4)
    pairs = list(zip(first.named_parameters(), second.parameters(), other.parameters()))
    assert all(torch.equal(a, b) for (_, a), b, _ in pairs)
    assert all(not torch.equal(a, c) for (key, a), _, c in pairs if a.dim() > 1), "another seed gives other weights"


@pytest.mark.parametrize("name", SHIPPED)
def test_every_weight_matrix_belongs_to_a_plain_layer(node, stream, name):
    model = build_model(node(name), stream((3, 32, 32), (5, 5)), 0)
    plain = {f"{key}.weight" for key, part in model.named_modules() if type(part) in (nn.Conv2d, nn.Linear)}
    assert {key for key, parameter in model.named_parameters() if parameter.dim() > 1} == plain
    assert {"heads.0.weight", "heads.1.weight"} <= plain
    assert all(key.startswith(("backbone.", "heads.")) for key in plain)


@pytest.mark.parametrize("name", SHIPPED)
def test_training_moves_nothing_of_an_idle_head_and_everything_else(node, stream, name):
    model = build_model(node(name), stream((1, 28, 28), (2, 2)), 0).train()
    model(torch.randn(4, 1, 28, 28), head=0).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert (parameter.grad is None) == key.startswith("heads.1."), key


def without_bias(config):
    return config | ({"bias": False} if "bias" in config else {}) | {"head": {"bias": False}, "norm": "none"}


@pytest.mark.parametrize("name", SHIPPED)
def test_bias_off_leaves_no_bias_anywhere(node, stream, name):
    config = without_bias(node(name))
    if name.startswith("mlp"):
        del config["norm"]
    model = build_model(config, stream((1, 28, 28)), 0)
    assert all(parameter.dim() > 1 for parameter in model.parameters())
    assert all(getattr(part, "bias", None) is None for part in model.modules())


NORMED = [name for name in SHIPPED if not name.startswith("mlp")]


@pytest.mark.parametrize("name", NORMED)
def test_running_statistics_make_predictions_independent_of_the_batch(node, stream, name):
    model = build_model(node(name, norm="running"), stream((1, 28, 28)), 0)
    model.train()(torch.randn(8, 1, 28, 28))
    model.eval()
    x = torch.randn(6, 1, 28, 28)
    assert not model.transductive
    torch.testing.assert_close(model(x)[:2], model(x[:2]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NORMED)
def test_batch_statistics_are_transductive_and_keep_no_buffers(node, stream, name):
    model = build_model(node(name, norm="batch"), stream((1, 28, 28)), 0).eval()
    x = torch.cat([torch.randn(2, 1, 28, 28), 5 + torch.randn(4, 1, 28, 28)])
    assert model.transductive
    assert not list(model.buffers())
    assert not torch.allclose(model(x)[:2], model(x[:2]), rtol=1e-2)


@pytest.mark.parametrize("name", NORMED)
def test_without_normalisation(node, stream, name):
    model = build_model(node(name, norm="none"), stream((1, 28, 28)), 0)
    assert not model.transductive
    assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules())


@pytest.mark.parametrize(
    ("name", "overrides", "named"),
    [
        ("mlp", {"hidden": 100}, "model.hidden=100"),
        ("mlp", {"hidden": [100, 0]}, "model.hidden=[100, 0]"),
        ("mlp", {"hidden": [1.5]}, "model.hidden.0=1.5"),
        ("mlp", {"dropout": 1.0}, "model.dropout=1.0"),
        ("mlp", {"bias": "no"}, "model.bias='no'"),
        ("mlp", {"widths": [3]}, "model.widths"),
        ("mlp", {"head": {"bais": False}}, "bais"),
        ("mlp", {"head": {"bias": 1}}, "model.head.bias=1"),
        ("alexnet", {"norm": "layer"}, "model.norm='layer'"),
        ("alexnet", {"kernels": [3]}, "model.kernels"),
        ("alexnet", {"channels": []}, "model.channels"),
        ("alexnet", {"dropout": [0.1]}, "1 rates for 5 layers"),
        ("alexnet", {"pool_padding": 2}, "pool_padding"),
        ("alexnet", {"pool_stride": 0}, "pool_stride"),
        ("lenet", {"response_norm": {"size": 4}}, "response_norm"),
        ("lenet", {"init": "he"}, "model.init='he'"),
        ("lenet", {"head": {"init": "he"}}, "model.head.init='he'"),
        ("resnet18_reduced", {"filters": 0}, "model.filters=0"),
        ("resnet18_reduced", {"pool": 5}, "model.pool=5"),
        ("resnet18_reduced", {"stem_stride": 0}, "model.stem_stride=0"),
        ("resnet18_reduced", {"stem_stride": 2, "pool": 3}, "model.pool=3"),
        ("preact_resnet18", {"filters": 0}, "model.filters=0"),
        ("preact_resnet18", {"norm": "layer"}, "model.norm='layer'"),
    ],
)
def test_values_that_cannot_be_used_are_refused_by_name(node, stream, name, overrides, named):
    with pytest.raises(ConfigError) as caught:
        build_model(node(name, **overrides), stream((1, 28, 28)), 0)
    assert named in caught.value.what
    assert caught.value.remedy


def test_images_too_small_for_the_network_are_refused(node, stream):
    with pytest.raises(ConfigError, match="8x8 pixels are too small: convolution 1"):
        build_model(node("alexnet"), stream((1, 8, 8)), 0)


@pytest.mark.parametrize("name", ["lenet", "resnet18_reduced", "preact_resnet18", "alexnet"])
def test_features_instead_of_images_are_refused(node, stream, name):
    with pytest.raises(ConfigError, match=r"takes images .* shape \[64\]"):
        build_model(node(name), stream((64,)), 0)
