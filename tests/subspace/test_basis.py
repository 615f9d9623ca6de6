"""Bases: energy held with the fewest directions, only what is new, angles, null spaces."""

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clbench import subspace
from clbench.subspace.basis import _off

D = torch.float64


def overlap(basis):
    """Return how far `basis` is from orthonormal. Products in double measure the basis, not their own rounding."""
    return float((basis.to(D).mT @ basis.to(D) - torch.eye(basis.shape[1], dtype=D)).abs().max())


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


@given(d=st.integers(2, 60), n=st.integers(1, 80), threshold=st.floats(0.5, 0.9999), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_single_precision_holds_the_energy_too_and_takes_as_many_directions_as_double(d, n, threshold, seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g) * torch.logspace(0, -2, d)
    basis, double = subspace.extend(None, x, threshold), subspace.extend(None, x.to(D), threshold)
    energy = (x.to(D) @ basis.to(D)).square().sum() / x.to(D).square().sum()
    assert energy >= threshold - 1e-5
    assert abs(basis.shape[1] - double.shape[1]) <= 1  # one where the share lies within rounding of the threshold
    assert overlap(basis) < 1e-6


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
        assert overlap(basis) < 1e-6
    assert basis.shape[1] <= 64


def test_nothing_in_nothing_out():
    assert subspace.extend(None, torch.zeros(4, 6), 0.9).shape == (6, 0)


@given(threshold=st.floats(0.1, 0.9999), scale=st.floats(0.01, 100), seed=st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_a_known_share_stands_for_the_inputs_that_it_was_measured_on(threshold, scale, seed):
    g = torch.Generator().manual_seed(seed)
    old = subspace.extend(None, torch.randn(3, 9, generator=g, dtype=D), 0.9)
    x = torch.randn(30, 9, generator=g, dtype=D) * torch.logspace(0, -1, 9, dtype=D)
    rest = x - x @ old @ old.mT
    share = 1 - float(rest.square().sum() / x.square().sum())
    torch.testing.assert_close(subspace.extend(old, scale * rest, threshold, held=share), subspace.extend(old, x, threshold))
    assert torch.equal(subspace.extend(old, rest, threshold, held=1.0), old)
    least = subspace.extend(old, rest, threshold, held=0.99999, least=2)
    assert least.shape[1] == old.shape[1] + 2


def test_the_columns_there_stay_as_they_are():
    g = torch.Generator().manual_seed(4)
    old = subspace.extend(None, torch.randn(5, 20, generator=g), 0.9)
    new = subspace.extend(old, torch.randn(60, 20, generator=g), 0.99)
    assert new.shape[1] > old.shape[1]
    assert torch.equal(new[:, : old.shape[1]], old)


@given(n=st.integers(2, 30), threshold=st.floats(0.1, 0.999), seed=st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_stopping_short_takes_the_authors_count(n, threshold, seed):
    """GPM's program counts the directions whose cumulated energy is below the threshold (update_GPM in main_pmnist.py)."""
    x = torch.randn(n, 12, generator=torch.Generator().manual_seed(seed), dtype=D)
    energy = torch.linalg.svdvals(x).square()
    count = int((energy.cumsum(0) / energy.sum() < threshold).sum())
    short = subspace.extend(None, x, threshold, stop_short=True)
    assert short.shape[1] == count
    torch.testing.assert_close(short, subspace.extend(None, x, threshold)[:, :count])


@given(n=st.integers(1, 20), d=st.integers(2, 20), share=st.floats(0.0, 0.999), seed=st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_leading_directions_are_the_singular_ones(n, d, share, seed):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=D)
    _, s, vh = torch.linalg.svd(x, full_matrices=False)
    count = max(1, int((s.square().cumsum(0) / s.square().sum() < share).sum()) + 1)
    found = subspace.leading(x, share)
    assert found.shape == (d, count)
    torch.testing.assert_close(found @ found.mT, vh[:count].mT @ vh[:count], atol=1e-6, rtol=0)


def test_nothing_leads_in_zeros():
    assert subspace.leading(torch.zeros(4, 6), 0.9).shape == (6, 0)


@given(d=st.integers(1, 12), k=st.integers(0, 12), seed=st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_a_complement_completes_the_space(d, k, seed):
    k = min(k, d)
    basis = torch.linalg.qr(torch.randn(d, k, generator=torch.Generator().manual_seed(seed), dtype=D)).Q
    both = torch.cat([basis, subspace.complement(basis)], dim=1)
    torch.testing.assert_close(both.mT @ both, torch.eye(d, dtype=D), atol=1e-10, rtol=0)
    assert both.shape == (d, d)


def greedy(frozen, wanted, cosine):
    """ROGO's search as its program does it (update_space): the nearest direction, one after the other."""
    near = []
    while frozen.shape[1]:
        _, vectors = torch.linalg.eigh(frozen.mT @ wanted @ wanted.mT @ frozen)
        nearest = frozen @ vectors[:, -1:]
        if (wanted.mT @ nearest).norm() < cosine:
            break
        near.append(nearest)
        frozen = frozen @ vectors[:, :-1]
    return torch.cat(near, dim=1) if near else frozen[:, :0], frozen


@given(k=st.integers(1, 9), q=st.integers(1, 6), cosine=st.floats(0.2, 1.1), seed=st.integers(0, 80))
@settings(max_examples=60, deadline=None)
def test_relaxing_in_closed_form_finds_what_the_search_finds(k, q, cosine, seed):
    g = torch.Generator().manual_seed(seed)
    frozen, wanted = (torch.linalg.qr(torch.randn(10, n, generator=g, dtype=D)).Q for n in (k, q))
    angles = torch.linalg.svdvals(frozen.mT @ wanted)
    assume(bool((angles - cosine).abs().min() > 1e-9))  # at the cosine itself (1 where the spaces meet) rounding decides
    near, rest = subspace.relax(frozen, wanted, cosine)
    expected, left = greedy(frozen, wanted, cosine)
    assert near.shape == expected.shape
    torch.testing.assert_close(near @ near.mT, expected @ expected.mT, atol=1e-9, rtol=0)
    torch.testing.assert_close(rest @ rest.mT, left @ left.mT, atol=1e-9, rtol=0)
    both = torch.cat([near, rest], dim=1)
    torch.testing.assert_close(both @ both.mT, frozen @ frozen.mT, atol=1e-9, rtol=0)  # a split of the frozen space
    assert (near.mT @ rest).abs().sum() < 1e-9
    assert (torch.linalg.vector_norm(wanted.mT @ near, dim=0) >= cosine - 1e-9).all()
    assert (torch.linalg.vector_norm(wanted.mT @ rest, dim=0) < cosine + 1e-9).all()


def test_a_null_space_is_what_hardly_moves():
    g = torch.Generator().manual_seed(5)
    q = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=D)).Q
    moment = q @ torch.diag(torch.tensor([1.0, 5.0, 11.0, 20.0, 100.0, 500.0], dtype=D)) @ q.mT
    found = subspace.null_space(moment, 10.0)
    torch.testing.assert_close(found @ found.mT, q[:, :2] @ q[:, :2].mT, atol=1e-9, rtol=0)
    assert subspace.null_space(moment, 1e9).shape == (6, 6)
    singular = q[:, 3:] @ q[:, 3:].mT
    found = subspace.null_space(singular, 10.0)
    torch.testing.assert_close(found @ found.mT, q[:, :3] @ q[:, :3].mT, atol=1e-9, rtol=0)


def test_directions_that_depend_on_each_other_come_out_orthonormal_too():
    """A Cholesky factor does not exist then; reflections take its place."""
    generator = torch.Generator().manual_seed(0)
    old = torch.linalg.qr(torch.randn(20, 4, generator=generator, dtype=torch.float64)).Q
    direction = torch.randn(20, 1, generator=generator, dtype=torch.float64)
    directions = torch.cat(
        [direction, torch.zeros_like(direction), torch.randn(20, 1, generator=generator, dtype=torch.float64)], 1
    )
    found = torch.cat([old, _off(directions, old, False)], 1)
    torch.testing.assert_close(found.mT @ found, torch.eye(7, dtype=torch.float64), rtol=0, atol=1e-12)
