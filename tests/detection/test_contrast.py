"""The encoder's training: contrastive entropy, masks, and a key that follows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from clbench.detection import contrast
from clbench.detection.contrast import Contrast, contrastive_entropy, train
from clbench.detection.encoder import Encoder, layers_of, pooled
from clbench.detection.views import FillIn, mask

pytest.importorskip("peft")

HOW = Contrast(
    lr=1e-2, epochs=2, batch_size=8, weight_decay=0.0, warmup=0.0, momentum=0.5, masked=0.3, temperature=None, fill_in=1.0
)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


@given(n=st.integers(2, 9), layers=st.integers(1, 3), temperature=st.sampled_from([None, 0.1, 1.0]), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_entropy_lies_between_nothing_and_log_b_for_each_layer(n, layers, temperature, seed):
    g = draws(seed)
    views, keys = ([torch.randn(n, 5, generator=g) for _ in range(layers)] for _ in range(2))
    found = float(contrastive_entropy(views, keys, temperature))
    assert -1e-6 <= found <= layers * math.log(n) + 1e-5


def test_it_is_log_b_where_all_keys_are_equal_and_nothing_where_one_stands_out():
    views = [torch.randn(6, 4, generator=draws())]
    assert float(contrastive_entropy(views, [torch.ones(6, 4)], None)) == pytest.approx(math.log(6))
    apart = 100 * torch.eye(4)
    assert float(contrastive_entropy([apart], [apart], None)) == pytest.approx(0, abs=1e-6)


def test_no_gradient_reaches_the_keys():
    view, key = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    contrastive_entropy([view], [key], 0.5).backward()
    assert key.grad is None
    assert float(view.grad.abs().max()) > 0


def test_masked_tokens_are_replaced_and_padding_is_not():
    rows = torch.randint(1, 50, (200, 20), generator=draws())
    rows[:, 15:] = 0
    view, where = mask(rows, 0.15, draws(), 0, 50)
    assert not bool(where[:, 15:].any())
    assert bool((view[~where] == rows[~where]).all())
    assert float(where[:, :15].float().mean()) == pytest.approx(0.15, abs=0.03)
    assert float((view[where] != rows[where]).float().mean()) > 0.9


def test_masked_pixels_lose_all_channels():
    images = torch.rand(50, 3, 6, 6, generator=draws()) + 1
    view, where = mask(images, 0.3, draws(), None, 0)
    assert bool((view[where] == 0).all())
    assert bool((where == where[:, :1]).all())
    assert float(where.float().mean()) == pytest.approx(0.3, abs=0.05)


def test_filling_in_counts_what_was_masked_alone():
    head = FillIn(4, 6, None)
    inputs, features = torch.rand(3, 1, 2, 3), torch.rand(3, 4)
    where = torch.zeros(3, 1, 2, 3, dtype=torch.bool)
    assert float(head.loss(features, features, inputs, where)) == 0
    where[1, 0, 1, 2] = True
    expected = (head.head(features)[1, 5] - inputs[1, 0, 1, 2]) ** 2
    assert float(head.loss(features, features, inputs, where)) == pytest.approx(float(expected))


def test_padding_is_left_out_of_means():
    hidden = torch.rand(2, 4, 3)
    seen = torch.tensor([[True, True, False, False], [True] * 4])
    found = pooled(hidden, seen)
    assert torch.allclose(found[0], hidden[0, :2].mean(0))
    assert torch.allclose(found[1], hidden[1].mean(0))
    assert torch.equal(pooled(hidden[:, 0], None), hidden[:, 0])
    assert torch.allclose(pooled(torch.ones(2, 3, 4, 4), None), torch.ones(2, 3))


def encoder():
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 5))
    torch.manual_seed(0)
    for part in net:
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight)
    made = Encoder(net, layers_of(net, torch.rand(2, 1, 4, 4)), None, "all-linear", 2.0)
    made.adapters.add("detector0", 2, 0.0, lambda layer: draws(len(layer)))
    made.eval()
    return net, made


def test_the_key_moves_as_momentum_says(monkeypatch):
    seen = []
    follow = contrast._follow

    def watched(key, trained, momentum):
        before = [each.clone() for each in key]
        follow(key, trained, momentum)
        seen.append((before, [each.clone() for each in key], [each.detach().clone() for each in trained], momentum))

    monkeypatch.setattr(contrast, "_follow", watched)
    data = torch.rand(24, 1, 4, 4, generator=draws())
    train(encoder()[1], "detector0", 24, lambda positions: data[positions], HOW, draws())
    assert len(seen) == 1 + 2 * 3
    for before, after, trained, momentum in seen[1:]:
        assert momentum == 0.5
        for old, new, own in zip(before, after, trained, strict=True):
            assert torch.allclose(new, 0.5 * old + 0.5 * own)
    first, last = seen[0][1], seen[-1][1]
    assert not all(torch.equal(a, b) for a, b in zip(first, last, strict=True)), "the key encoder never moved"


def test_training_lowers_the_loss_and_leaves_the_backbone_alone():
    net, made = encoder()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    data = torch.rand(40, 1, 4, 4, generator=draws())
    losses = train(made, "detector0", 40, lambda positions: data[positions], replace(HOW, epochs=20), draws())
    assert len(losses) == 100
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    weights = dict(made.backbone.named_parameters())
    assert torch.equal(weights["1.base_layer.weight"], net[1].weight)
    assert float(weights["1.lora_B.detector0.weight"].abs().max()) > 0
    assert not [name for name in weights if contrast.KEY in name], "the key goes when training is over"
    assert not any(parameter.requires_grad for parameter in made.parameters())


def test_too_few_samples_are_not_trained_on():
    data = torch.rand(1, 1, 4, 4)
    assert train(encoder()[1], "detector0", 1, lambda positions: data[positions], HOW, draws()) == []
    assert train(encoder()[1], "detector0", 24, lambda positions: data[positions], replace(HOW, epochs=0), draws()) == []
