"""Sketches: linear in the inputs, independent of batches, and as good as the inputs where the spectrum has a gap."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench import subspace
from clbench.federated.sketch import Sketch, columns, extend, held, missed

D = torch.float64


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sketched(rows, random, basis=None, batch=1000):
    own = Sketch(basis)
    for start in range(0, len(rows), batch):
        own.add(rows[start : start + batch], random[start : start + batch])
    return own


def pooled(clients, randoms, basis=None):
    """Return the sums of sketches and of energies."""
    own = [sketched(rows, random, basis) for rows, random in zip(clients, randoms, strict=True)]
    return sum(each.matrix for each in own), sum(each.energies() for each in own)


def gapped(n, d, rank, seed, noise=1e-2, dtype=D):
    g = draw(seed)
    strong = torch.randn(n, rank, generator=g, dtype=dtype) @ torch.randn(rank, d, generator=g, dtype=dtype)
    return strong + noise * torch.randn(n, d, generator=g, dtype=dtype)


def sines(a, b):
    """Return the sines of the principal angles between two spans of the same dimension."""
    return (1 - torch.linalg.svdvals(a.mT @ b).clamp(max=1).square()).sqrt()


@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=5),
    d=st.integers(1, 12),
    m=st.integers(1, 40),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_the_sum_of_sketches_is_the_pooled_inputs_times_the_stacked_random_matrices(distribution, sizes, d, m, seed):
    clients = [torch.randn(n, d, generator=draw(seed + k), dtype=D) for k, n in enumerate(sizes)]
    randoms = [columns(n, m, distribution, draw(seed + 50 + k), clients[k]) for k, n in enumerate(sizes)]
    total, energies = pooled(clients, randoms)
    torch.testing.assert_close(total, torch.cat(clients).mT @ torch.cat(randoms))
    torch.testing.assert_close(energies[0], torch.tensor(float(sum(sizes)), dtype=D))
    torch.testing.assert_close(energies[1], torch.cat(clients).square().sum())
    torch.testing.assert_close(energies[2], energies[1])  # nothing is held yet


@given(n=st.integers(1, 30), batch=st.integers(1, 30), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_batches_change_nothing(n, batch, seed):
    rows = torch.randn(n, 7, generator=draw(seed), dtype=D)
    random = columns(n, 20, "normal", draw(seed + 1), rows)
    basis = subspace.extend(None, torch.randn(2, 7, generator=draw(seed + 2), dtype=D), 1.0)
    whole, parts = sketched(rows, random, basis), sketched(rows, random, basis, batch)
    torch.testing.assert_close(parts.matrix, whole.matrix)
    torch.testing.assert_close(parts.energies(), whole.energies())


def test_what_the_server_holds_is_left_out():
    rows = gapped(50, 9, 3, 0)
    basis = subspace.extend(None, gapped(20, 9, 2, 1), 0.99)
    random = columns(50, 30, "normal", draw(2), rows)
    own = sketched(rows, random, basis)
    torch.testing.assert_close(own.matrix, (torch.eye(9, dtype=D) - basis @ basis.mT) @ rows.mT @ random)
    assert float(own.energies()[2]) == pytest.approx(float((rows - rows @ basis @ basis.mT).square().sum()))
    assert torch.equal(missed(rows, basis[:, :0]), rows)


def test_the_energy_held_is_measured_and_the_norm_ratio_holds_less():
    basis = subspace.extend(None, gapped(20, 9, 2, 1), 0.99)
    clients = [torch.randn(n, 9, generator=draw(n), dtype=D) for n in (10, 30)]
    _, energies = pooled(clients, [columns(len(x), 5, "normal", draw(7), x) for x in clients], basis)
    x = torch.cat(clients)
    assert held(energies, "energy") == pytest.approx(float((x @ basis).square().sum() / x.square().sum()))
    ratios = [float(missed(x, basis).norm() / x.norm()) for x in clients]
    assert held(energies, "norm") == pytest.approx(1 - (10 * ratios[0] + 30 * ratios[1]) / 40)
    assert held(energies, "norm") < held(energies, "energy")


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_angles_to_the_exact_subspace_are_small_where_the_spectrum_has_a_gap(distribution):
    directions = torch.randn(6, 40, generator=draw(3), dtype=D)
    clients = [torch.randn(n, 6, generator=draw(n), dtype=D) @ directions for n in (30, 80, 11, 200)]
    clients = [x + 1e-3 * torch.randn(len(x), 40, generator=draw(4), dtype=D) for x in clients]
    total, energies = pooled(clients, [columns(len(x), 200, distribution, draw(9 + len(x)), x) for x in clients])
    exact = subspace.extend(None, torch.cat(clients), 0.999)
    found = extend(None, total, energies, 0.999)
    assert found.shape == exact.shape == (40, 6)
    assert sines(found, exact).max() < 1e-2
    torch.testing.assert_close(found.mT @ found, torch.eye(6, dtype=D), atol=1e-9, rtol=0)


@pytest.mark.parametrize("start", [False, True])
def test_one_client_and_many_columns_give_the_basis_of_gpm(start):
    g = draw(4)
    x = torch.randn(60, 12, generator=g, dtype=D) * torch.logspace(0, -2, 12, dtype=D)
    old = subspace.extend(None, x[:, torch.randperm(12, generator=g)][:8], 0.9) if start else None
    total, energies = pooled([x], [columns(60, 200_000, "normal", g, x)], old)
    exact, found = subspace.extend(old, x, 0.95), extend(old, total, energies, 0.95)
    assert found.shape == exact.shape
    assert start is False or found.shape[1] > old.shape[1]
    assert sines(found, exact).max() < 0.05


def test_nothing_new_adds_nothing_but_what_is_asked_for():
    basis = subspace.extend(None, gapped(30, 10, 3, 5, noise=0.0), 1.0)
    spanned = gapped(40, 10, 1, 6) @ basis @ basis.mT
    for rows, threshold in ((spanned, 1.0), (spanned + 1e-3 * gapped(40, 10, 1, 8), 0.99), (gapped(40, 10, 2, 8), 0.0)):
        total, energies = pooled([rows], [columns(40, 50, "normal", draw(7), rows)], basis)
        assert torch.equal(extend(basis, total, energies, threshold), basis)
    rows = spanned + 1e-3 * gapped(40, 10, 1, 8)
    total, energies = pooled([rows], [columns(40, 50, "normal", draw(7), rows)], basis)
    more = extend(basis, total, energies, 0.99, at_least_one=True)
    assert more.shape == (10, 4)
    assert torch.equal(more[:, :3], basis)
    torch.testing.assert_close(more.mT @ more, torch.eye(4, dtype=D), atol=1e-9, rtol=0)


def test_single_precision_leftovers_are_not_taken_for_directions():
    basis = subspace.extend(None, gapped(30, 10, 3, 5, noise=0.0, dtype=torch.float32), 1.0)
    assert basis.shape == (10, 3)
    rows = gapped(40, 10, 1, 6, dtype=torch.float32) @ basis @ basis.mT
    total, energies = pooled([rows], [columns(40, 50, "normal", draw(7), rows)], basis)
    assert torch.equal(extend(basis, total, energies, 1.0), basis)


def test_zeros_and_a_full_space_stay():
    zeros = torch.zeros(5, 4, dtype=D)
    total, energies = pooled([zeros], [columns(5, 8, "normal", draw(0), zeros)])
    assert extend(None, total, energies, 0.9, at_least_one=True).shape == (4, 0)
    full = torch.eye(4, dtype=D)
    x = torch.randn(9, 4, generator=draw(1), dtype=D)
    total, energies = pooled([x], [columns(9, 8, "normal", draw(0), x)], full)
    assert torch.equal(extend(full, total, energies, 1.0, at_least_one=True), full)


def authors(basis, sketches, ratios, samples, epsilon):
    """The extension of the authors' program, step by step (expand_orth_set of its FedAVGAggregator.py)."""
    weights = torch.tensor(samples, dtype=D) / sum(samples)
    ratio = float((weights * torch.tensor(ratios, dtype=D)).sum())
    share = (ratio - (1 - epsilon)) / ratio
    total = sum(sketches)
    u, s, _ = torch.linalg.svd(total, full_matrices=False)
    count = next((i for i in range(len(s)) if s[: i + 1].square().sum() / total.square().sum() > share), len(s) - 1) + 1
    joined = u[:, :count] if basis is None else torch.cat([basis, u[:, :count]], dim=1)
    return torch.linalg.qr(joined).Q


@given(epsilon=st.floats(0.5, 0.99), seed=st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_the_authors_variants_are_those_of_their_program(epsilon, seed):
    ours = theirs = None
    for task in range(3):
        clients = [gapped(n, 15, 3, 10 * seed + task, noise=0.3) for n in (9, 25, 14)]
        own = [sketched(x, columns(len(x), 15, "uniform", draw(seed + len(x)), x), ours) for x in clients]
        energies = [each.energies() for each in own]
        ratios = [float(missed / whole) ** 0.5 for _, whole, missed, _ in energies]
        theirs = authors(theirs, [each.matrix for each in own], ratios, [len(x) for x in clients], epsilon)
        ours = extend(ours, sum(e.matrix for e in own), sum(energies), epsilon, "norm", at_least_one=True)
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours @ ours.mT, theirs @ theirs.mT, atol=1e-6, rtol=0)
