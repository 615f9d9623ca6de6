"""From scores to weights: the invariants of the weight, its two forms, and the authors' own formula."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from statistics import NormalDist

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.detection.boundary import Boundary, Weighting, alike, boundary, values, weights

OURS = Weighting(0.1, 4.0, 10.0, 2.0, "one_sided")
THEIRS = Weighting(0.1, 0.0, 10.0, 2.0, "authors")
NUMBERS = st.floats(-5, 5)


def made(first, second, spread):
    return Boundary(torch.ones(1), torch.tensor([first, second], dtype=torch.float64), torch.tensor(spread, dtype=torch.float64))


def at(h, kept, how):
    return weights(torch.as_tensor(h, dtype=torch.float64), kept, how)


@given(first=NUMBERS, second=NUMBERS, spread=st.floats(0.1, 5))
@settings(max_examples=50, deadline=None)
def test_on_the_unlike_side_it_falls_from_one_to_nothing(first, second, spread):
    kept = made(first, second, spread)
    middle = (first + second) / 2
    h = torch.linspace(middle, middle - 60 * spread - 20, 200, dtype=torch.float64)
    found = at(h, kept, OURS)
    assert float(found[0]) == pytest.approx(1)
    assert float(found[-1]) == pytest.approx(0, abs=1e-6)
    assert bool((found.diff() <= 1e-12).all())
    assert bool((at(middle + torch.rand(20) * 9, kept, OURS) == 1).all()), "nothing is too much alike"


def smooth(h, first, second, spread):
    """The authors' weight before it is cut: `weighting_func_gmm` and `obtain_weights` of train_ood.py."""
    both = [NormalDist(mean, spread) for mean in (first, second)]
    middle = (first + second) / 2

    def mixture(x):
        return sum(each.cdf(x) for each in both) / 2

    low, high = sorted([mixture(h), mixture(2 * middle - h)])
    return 1 / (1 + math.exp(-(10 * (1 - high + low) - 2)))


@given(h=st.floats(-30, 30), first=NUMBERS, second=NUMBERS, spread=st.floats(0.1, 5))
@settings(max_examples=100, deadline=None)
def test_the_authors_form_is_their_formula_cut_as_theirs(h, first, second, spread):
    whole = smooth(h, first, second, spread)
    assert 0.119 < whole < 0.9997
    if min(abs(whole - edge) for edge in (0.3, 0.4, 0.9)) < 1e-6:
        return
    expected = 1.2 if whole > 0.9 else whole if 0.3 < whole <= 0.4 else 0.0
    assert float(at([h], made(first, second, spread), THEIRS)) == pytest.approx(expected, abs=1e-9)


@given(far=st.floats(0, 20), first=NUMBERS, second=NUMBERS)
@settings(max_examples=50, deadline=None)
def test_the_authors_form_is_symmetric(far, first, second):
    kept = made(first, second, 1.0)
    middle = (first + second) / 2
    left, right = (smooth(middle + sign * far, first, second, 1.0) for sign in (-1, 1))
    assert left == pytest.approx(right, abs=1e-9)
    assert smooth(middle, first, second, 1.0) == pytest.approx(1 / (1 + math.exp(-8)))
    assert float(at([middle], kept, THEIRS)) == pytest.approx(1.2)


@given(first=NUMBERS, second=NUMBERS)
@settings(max_examples=50, deadline=None)
def test_what_is_more_alike_never_has_the_lower_weight(first, second):
    """Of the uncut weight; the authors' form is strictest on both sides, ours towards the unlike one."""
    h, kept = torch.linspace(-8, 8, 65, dtype=torch.float64), made(first, second, 1.0)
    assert torch.equal(alike(h, kept, OURS).sort().indices, h.sort().indices)
    assert bool((at(h, kept, OURS).diff() >= -1e-12).all())
    order = alike(h, kept, THEIRS).argsort()
    loaded = [smooth(float(each), first, second, 1.0) for each in h[order]]
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(loaded))


def test_the_weights_between_are_in_use():
    """The soft weight is no switch: between one and three spreads there is every value."""
    found = at(torch.linspace(-4, 0, 100, dtype=torch.float64), made(0.0, 0.0, 1.0), OURS)
    assert int(((found > 0.1) & (found < 0.9)).sum()) > 10
    cut = at(torch.linspace(-4, 0, 100, dtype=torch.float64), made(0.0, 0.0, 1.0), THEIRS)
    assert int(((cut > 0.4) & (cut < 1.2)).sum()) == 0


def test_a_boundary_lies_around_what_it_was_fitted_to():
    g = torch.Generator().manual_seed(0)
    fitted, held = torch.randn(80, 3, generator=g), torch.randn(40, 3, generator=g)
    kept = boundary(fitted, held, OURS)
    assert bool((kept.normal > 0).all())
    near, unlike = torch.zeros(1, 3), torch.full((1, 3), -6.0)
    assert float(weights(values(near, kept, OURS), kept, OURS)) > 0.9
    assert float(weights(values(unlike, kept, OURS), kept, OURS)) < 0.05
    assert float(values(unlike, kept, OURS)) < float(values(near, kept, OURS))


def test_samples_that_are_all_alike_have_a_boundary():
    same = torch.ones(12, 2)
    kept = boundary(same, same, OURS)
    assert float(weights(values(same[:1], kept, OURS), kept, OURS)) == pytest.approx(1)
    assert float(weights(values(same[:1] - 1, kept, OURS), kept, OURS)) == pytest.approx(0)


def test_a_greater_offset_is_stricter():
    kept, h = made(0.0, 0.0, 1.0), [-1.5]
    assert (
        float(at(h, kept, replace(OURS, offset=4.0))) < float(at(h, kept, OURS)) < float(at(h, kept, replace(OURS, offset=0.0)))
    )
