"""The projection core: rows against the layers' own forward, bases, projections."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from clbench import subspace

D = torch.float64


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"padding": 1},
        {"padding": (1, 2), "stride": (2, 1)},
        {"dilation": 2},
        {"groups": 2},
        {"groups": 4, "padding": 2, "stride": 2},
        {"padding": 1, "padding_mode": "reflect"},
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_convolution_rows_give_the_layers_own_forward(options, bias):
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 8, 3, bias=bias, dtype=D, **options)
    x = torch.randn(2, 4, 9, 8, dtype=D)
    out = layer(x)
    rows = subspace.rows(layer, x, bias=bias)
    weight = layer.weight.flatten(1)
    if bias:
        weight = torch.cat([weight, layer.bias.unsqueeze(1)], dim=1)
    groups = layer.groups
    positions = out.shape[2] * out.shape[3]
    by_group = rows.reshape(2, groups, positions, -1)
    mine = torch.stack([by_group[:, g] @ weight.chunk(groups)[g].mT for g in range(groups)], dim=1)
    torch.testing.assert_close(mine.permute(0, 1, 3, 2).reshape(out.shape), out)


def test_linear_rows_flatten_leading_axes_and_append_the_constant():
    layer = nn.Linear(5, 3, dtype=D)
    x = torch.randn(2, 4, 5, dtype=D)
    rows = subspace.rows(layer, x, bias=True)
    torch.testing.assert_close(rows @ torch.cat([layer.weight, layer.bias[:, None]], 1).mT, layer(x).reshape(-1, 3))


def test_other_layers_are_refused():
    with pytest.raises(TypeError, match="LSTM"):
        subspace.rows(nn.LSTM(2, 2), torch.zeros(1, 1, 2))


@given(d=st.integers(2, 12), n=st.integers(1, 30), threshold=st.floats(0.05, 1.0), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_the_energy_is_held_with_the_fewest_directions(d, n, threshold, seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g, dtype=D) * torch.logspace(0, -2, d, dtype=D)
    basis = subspace.extend(None, x, threshold)
    k = basis.shape[1]
    energy = (x @ basis).square().sum() / x.square().sum()
    assert energy >= threshold - 1e-9
    torch.testing.assert_close(basis.mT @ basis, torch.eye(k, dtype=D), atol=1e-9, rtol=0)
    singular = torch.linalg.svdvals(x).square()
    if k > 1 and threshold < 1:
        assert singular[: k - 1].sum() / singular.sum() < threshold


@given(seed=st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_extension_keeps_the_old_span_and_adds_only_what_is_new(seed):
    g = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(6, 10, generator=g, dtype=D) for _ in range(2))
    old = subspace.extend(None, first, 0.9)
    new = subspace.extend(old, second, 0.9)
    assert new.shape[1] >= old.shape[1]
    torch.testing.assert_close(new @ (new.mT @ old), old, atol=1e-9, rtol=0)
    assert torch.equal(subspace.extend(new, first @ old @ old.mT, 1.0), new)  # spanned inputs add nothing
    assert torch.equal(subspace.extend(new, second, 0.0), new)


def test_threshold_one_is_the_numerical_rank():
    g = torch.Generator().manual_seed(1)
    low = torch.randn(40, 3, generator=g, dtype=D) @ torch.randn(3, 12, generator=g, dtype=D)
    assert subspace.extend(None, low, 1.0).shape == (12, 3)
    assert subspace.extend(None, low[:2], 1.0).shape == (12, 2)


def test_a_basis_stays_orthonormal_and_within_its_layer_over_fifty_tasks():
    g = torch.Generator().manual_seed(2)
    basis = None
    for _ in range(50):
        basis = subspace.extend(basis, torch.randn(5, 64, generator=g), 0.95)
        assert (basis.mT @ basis - torch.eye(basis.shape[1])).abs().max() < 1e-6
    assert basis.shape[1] <= 64


def test_nothing_in_nothing_out():
    assert subspace.extend(None, torch.zeros(4, 6), 0.9).shape == (6, 0)


def test_projection_is_orthogonal_and_idempotent():
    g = torch.Generator().manual_seed(3)
    basis = subspace.extend(None, torch.randn(4, 9, generator=g, dtype=D), 1.0)
    update = torch.randn(7, 9, generator=g, dtype=D)
    once = subspace.project_out(update, basis)
    assert (once @ basis).abs().max() < 1e-12
    torch.testing.assert_close(subspace.project_out(once, basis), once)
