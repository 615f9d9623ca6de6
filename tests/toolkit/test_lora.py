"""Adapters: target layers, initial values, outputs, folding."""

import importlib.util

import pytest
import torch
from torch import nn

from clbench.errors import ConfigError, RefusedError
from clbench.toolkit.lora import Adapters, principal_cosines, target_layers
from tests.streams import blob_stream, learner_for


def test_without_peft_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'clbench\[llm\]'"):
        Adapters(learner_for(blob_stream()), None, 1.0)


pytest.importorskip("peft")


class Wrapped(nn.Module):
    """A backbone that contains `part`."""

    def __init__(self, part):
        super().__init__()
        self.part = part


def model(backbone):
    return nn.ModuleDict({"backbone": backbone})


def tiny(kind="gpt2"):
    import transformers

    if kind == "gpt2":
        return transformers.GPT2Model(transformers.GPT2Config(vocab_size=20, n_positions=8, n_embd=8, n_layer=2, n_head=2))
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12, max_position_embeddings=8
    )
    return transformers.BertModel(config, add_pooling_layer=False)


def adapted(hidden=(16, 12), seed=0, scaling=2.0, targets="all-linear"):
    learner = learner_for(blob_stream(), seed, hidden=hidden)
    return learner, Adapters(learner, targets, scaling)


def draws(learner, task=0):
    return lambda layer: learner.generator("lora", task, layer)


def test_endings_match_whole_parts_of_names():
    net = nn.ModuleDict({"fc": nn.Linear(2, 2), "layer": nn.ModuleDict({"fc": nn.Linear(2, 2), "xfc": nn.Linear(2, 2)})})
    net["layers"] = nn.ModuleList(nn.Linear(2, 2) for _ in range(12))
    assert target_layers(model(net), ["fc"]) == ("fc", "layer.fc")
    assert target_layers(model(net), ["layer.fc"]) == ("layer.fc",)
    assert target_layers(model(net), ["layers.1"]) == ("layers.1",)
    assert len(target_layers(model(net), "all-linear")) == 15


def test_an_ending_that_matches_nothing_is_named_with_what_there_is():
    with pytest.raises(ConfigError, match=r"method\.targets=.*'valu'") as caught:
        target_layers(model(Wrapped(tiny("bert"))), ["query", "valu"])
    assert "attention.self.value" in str(caught.value)
    with pytest.raises(ConfigError, match=r"method\.targets=\[\]"):
        target_layers(model(Wrapped(tiny("bert"))), [])
    with pytest.raises(ConfigError, match="has no linear layer"):
        target_layers(model(nn.Flatten()), None)


def test_by_itself_it_adapts_what_peft_adapts_in_a_model_of_that_type():
    assert target_layers(model(Wrapped(tiny("bert"))), None) == tuple(
        f"part.encoder.layer.{i}.attention.self.{name}" for i in range(2) for name in ("query", "value")
    )
    assert target_layers(model(tiny("gpt2")), None) == ("h.0.attn.c_attn", "h.1.attn.c_attn")
    assert target_layers(model(nn.Sequential(nn.Linear(2, 2), nn.ReLU())), None) == ("0",)


def test_layers_that_are_not_called_are_not_adapted():
    net = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 8), nn.MultiheadAttention(8, 2), nn.Linear(8, 8))
    assert target_layers(model(net), "all-linear") == ("2",)


def test_a_shared_weight_is_refused_by_name_and_left_out_of_all():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    with pytest.raises(RefusedError, match="weight of 0 is another"):
        target_layers(model(net), ["0"])
    assert target_layers(model(net), "all-linear") == ("2",)


def test_it_starts_from_seed_task_and_layer_and_shifts_nothing():
    first, one = adapted()
    second, two = adapted(targets=["layers.1"])
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one.add("task0", 4, draws=draws(first))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    two.add("task0", 4, draws=draws(second))
    a, b = one.factors("task0")["layers.1"]
    assert torch.equal(a, two.factors("task0")["layers.1"][0])
    assert a.shape == (4, 16)
    assert b.shape == (12, 4)
    assert not bool(b.any())
    assert 0.9 / 16**0.5 < float(a.detach().abs().max()) <= 1 / 16**0.5
    two.add("task1", 4, draws=draws(second, 1))
    assert not torch.equal(a, two.factors("task1")["layers.1"][0])


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "mlp"])
def test_an_adapter_adds_its_product_and_folding_it_changes_nothing(double, kind):
    """For layers whose weight is stored transposed (GPT-2's), too."""
    torch.manual_seed(0)
    if kind == "mlp":
        learner, adapters = adapted()
        x, net = torch.randn(5, 1, 4, 4), learner.model.backbone
    else:
        learner = learner_for(blob_stream())
        learner.model.backbone = net = Wrapped(tiny(kind))
        net.forward = lambda x: net.part(x).last_hidden_state
        adapters, x = Adapters(learner, "all-linear", 2.0), torch.randint(0, 20, (3, 6))
    net.eval()
    weights = {layer: net.get_submodule(layer).weight.detach().clone() for layer in adapters.layers}
    with torch.no_grad():
        plain = net(x)
        adapters.add("one", 3, draws=draws(learner))
        assert torch.equal(net(x), plain)
        for _, b in adapters.factors("one").values():
            b.copy_(torch.randn(b.shape, generator=torch.Generator().manual_seed(1)))
        adapters.train("one")
        moved = net(x)
        assert not torch.allclose(moved, plain, atol=1e-2)
        products = {layer: 2.0 * b @ a for layer, (a, b) in adapters.factors("one").items()}
        adapters.fold("one")
        torch.testing.assert_close(net(x), moved, rtol=1e-10, atol=1e-10)
    assert adapters.present == {}
    for layer, before in weights.items():
        product = products[layer] if products[layer].shape == before.shape and kind != "gpt2" else products[layer].mT
        torch.testing.assert_close(net.get_submodule(layer).weight, before + product, rtol=1e-12, atol=1e-12)


def test_only_what_is_told_trains():
    learner, adapters = adapted()
    adapters.add("a", 2, draws=draws(learner))
    adapters.add("b", 2, draws=draws(learner, 1))
    adapters.train("b")
    learner.start(0)
    names, _ = learner.trainable()
    assert {name for name in names if name.startswith("backbone.")} == {
        f"backbone.layers.{i}.lora_{f}.b.weight" for i in range(2) for f in "AB"
    }
    assert {name for name in names if name.startswith("heads.")} == {"heads.0.weight", "heads.0.bias"}


def test_cosines_of_principal_angles():
    eye = torch.eye(5)
    torch.testing.assert_close(principal_cosines(eye[:2], eye[2:4]), torch.zeros(2).double())
    torch.testing.assert_close(principal_cosines(3 * eye[:2], eye[:3]), torch.ones(2).double())
    tilted = torch.stack([eye[0], (eye[1] + eye[4]) / 2**0.5])
    torch.testing.assert_close(principal_cosines(eye[:2], tilted), torch.tensor([1.0, 0.5**0.5]).double())
    assert principal_cosines(torch.randn(2, 5), torch.randn(9, 5)).tolist() == pytest.approx([1.0, 1.0])
