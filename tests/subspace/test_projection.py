"""Projections: what goes and what stays, by either way of computing it."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench import subspace
from clbench.subspace.projection import Projector

D = torch.float64


def case(d, k, seed):
    g = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(d, min(k, d), generator=g, dtype=D)).Q
    return basis, torch.randn(5, d, generator=g, dtype=D), torch.rand(basis.shape[1], generator=g, dtype=D)


def joined(projector, update, bias):
    weight, own = projector(*((update[:, :-1], update[:, -1]) if bias else (update, None)))
    assert (own is None) is not bias
    return torch.cat([weight, own.unsqueeze(1)], dim=1) if bias else weight


@given(d=st.integers(2, 12), k=st.integers(0, 12), bias=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_removing_is_the_projection_on_the_complement(d, k, bias, seed):
    basis, update, _ = case(d, k, seed)
    projector = subspace.remove(basis, bias)
    assert projector.keeps == (2 * basis.shape[1] > d)
    once = joined(projector, update, bias)
    torch.testing.assert_close(once, update - update @ basis @ basis.mT, atol=1e-12, rtol=0)
    torch.testing.assert_close(joined(projector, once, bias), once, atol=1e-12, rtol=0)
    assert (once @ basis).abs().sum() < 1e-10
    torch.testing.assert_close(joined(subspace.keep(basis, bias), update, bias), update @ basis @ basis.mT, atol=1e-12, rtol=0)


@given(d=st.integers(2, 12), k=st.integers(1, 12), held=st.integers(0, 12), bias=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_importance_says_how_much_of_a_direction_goes(d, k, held, bias, seed):
    basis, update, importance = case(d, k, seed)
    importance[:held] = 1
    expected = update - (update @ basis * importance) @ basis.mT
    torch.testing.assert_close(joined(subspace.remove(basis, bias, importance), update, bias), expected, atol=1e-12, rtol=0)


def test_a_full_basis_lets_nothing_through():
    for importance in (None, torch.ones(6, dtype=D)):
        projector = subspace.remove(torch.eye(6, dtype=D), True, importance)
        assert joined(projector, torch.randn(3, 6, dtype=D), True).abs().sum() == 0


def test_a_bias_that_is_not_trained_is_left_out():
    basis, update, _ = case(6, 2, 0)
    weight, bias = subspace.remove(basis, True)(update[:, :-1], None)
    assert bias is None
    assert weight.shape == (5, 5)
    assert isinstance(subspace.remove(basis, True), Projector)
