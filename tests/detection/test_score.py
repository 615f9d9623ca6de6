"""Scores of likeness: the Gaussian, the nearest centre, and what they are scaled by."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.detection.score import Scoring, nearest, reference, scores

OURS = Scoring("shrunk", 4, True, 1.0)
THEIRS = Scoring("empirical", None, False, -1000.0)


def cloud(n, d, seed=0, shift=0.0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g, dtype=torch.float64) @ torch.randn(d, d, generator=g, dtype=torch.float64) + shift


@given(n=st.integers(12, 40), d=st.integers(1, 6), seed=st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_of_the_mean_the_distance_is_nothing_and_of_a_sample_the_cosine_is_one(n, d, seed):
    z = cloud(n, d, seed, shift=3.0)
    kept = reference([z], [z], replace(THEIRS, cosine_weight=0.0), 0)
    assert float(scores([z.mean(0, keepdim=True)], kept, replace(THEIRS, cosine_weight=0.0))) == pytest.approx(0, abs=1e-6)
    assert nearest(z, kept.centres[0]).tolist() == pytest.approx([1.0] * n)


@pytest.mark.parametrize("how", [OURS, THEIRS])
def test_the_order_of_samples_does_not_matter(how):
    z, x = cloud(30, 5), cloud(8, 5, 1)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    how = replace(how, centres=None)
    one, other = (scores([x], reference([each], [x], how, 0), how) for each in (z, z[order]))
    assert torch.allclose(one, other)


def test_the_authors_form_is_their_formula():
    """`get_unsup_Mah_score`: -1/2 of the squared distance, by the empirical precision, less 1000 times the greatest cosine."""
    z, x = cloud(40, 4), cloud(7, 4, 1)
    found = scores([x], reference([z], [x], THEIRS, 0), THEIRS)[:, 0]
    apart = (x - z.mean(0)).numpy()
    precision = np.linalg.inv(np.cov(z.numpy().T, bias=True))
    unit = [each.numpy() / np.linalg.norm(each.numpy(), axis=1, keepdims=True) for each in (x, z)]
    expected = -0.5 * np.einsum("nd,de,ne->n", apart, precision, apart) - 1000 * (unit[0] @ unit[1].T).max(1)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_scaled_scores_of_held_out_samples_are_standard():
    z, held = [cloud(60, 5), cloud(60, 3)], [cloud(50, 5, 1), cloud(50, 3, 1)]
    how = replace(OURS, cosine_weight=0.0)
    found = scores(held, reference(z, held, how, 0), how)
    assert found.mean(0).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert found.std(0, correction=0).tolist() == pytest.approx([1, 1])


def test_what_is_unlike_scores_lower():
    z, near, far = cloud(60, 5), cloud(20, 5, 1), cloud(20, 5, 1, shift=15.0)
    for how in (OURS, replace(OURS, cosine_weight=0.0)):
        kept = reference([z], [near], how, 0)
        assert float(scores([near], kept, how).mean()) > float(scores([far], kept, how).mean()) + 2


def test_fewer_samples_than_dimensions_leave_unseen_directions_to_the_shrunk_form_alone():
    """The pseudo-inverse of a singular covariance calls everything alike that differs where no sample differed."""
    g = torch.Generator().manual_seed(0)
    z = torch.randn(5, 20, generator=g, dtype=torch.float64)
    basis = torch.linalg.svd(z - z.mean(0)).Vh
    unseen = z.mean(0) + 100 * basis[-1]
    how = replace(THEIRS, cosine_weight=0.0)
    assert float(scores([unseen[None]], reference([z], [z], how, 0), how)) == pytest.approx(0, abs=1e-3)
    how = replace(how, covariance="shrunk")
    assert float(scores([unseen[None]], reference([z], [z], how, 0), how)) < -10


def test_no_sample_is_kept_where_there_are_centres():
    z = cloud(200, 6)
    kept = reference([z], [z], OURS, 0)
    assert kept.centres[0].shape == (4, 6)
    assert kept.centres[0].norm(dim=1).tolist() == pytest.approx([1] * 4)
    unit = z / z.norm(dim=1, keepdim=True)
    assert float((unit @ kept.centres[0].mT).max()) < 1 - 1e-6
    assert reference([z[:3]], [z[:3]], OURS, 0).centres[0].shape == (3, 6)


def test_samples_that_are_all_alike_give_finite_scores():
    z = torch.ones(12, 4, dtype=torch.float64)
    kept = reference([z], [z], OURS, 0)
    assert math.isfinite(float(scores([z[:1]], kept, OURS)))
