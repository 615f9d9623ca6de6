"""Initial weights: drawn from the run's seed, whatever was drawn before; the same at every call."""

from __future__ import annotations

import torch

from clbench.models import build_model
from tests.streams import blob_stream, same

NODE = {"_target_": "clbench.models.mlp.MLP", "hidden": [16], "bias": True, "dropout": 0.0, "head": {"bias": True}}


def test_each_seed_has_its_own_initial_weights():
    stream = blob_stream()
    one, again, other = (build_model(NODE, stream, seed).state_dict() for seed in (0, 0, 1))
    assert same(one, again)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_they_depend_on_nothing_that_was_drawn_before():
    stream = blob_stream()
    one = build_model(NODE, stream, 0).state_dict()
    torch.manual_seed(123)
    before = torch.get_rng_state()
    assert same(one, build_model(NODE, stream, 0).state_dict())
    assert torch.equal(torch.get_rng_state(), before)
