"""Intervals over seeds, against scipy."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.metrics import statistics as s

samples = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30)


@settings(deadline=None)
@given(samples)
def test_against_scipy(values):
    import numpy as np
    import scipy.stats

    assert s.mean(values) == pytest.approx(np.mean(values), abs=1e-9)
    assert s.std(values) == pytest.approx(np.std(values, ddof=1), rel=1e-6, abs=1e-9)
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    if error > 1e-6:
        low, high = scipy.stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)
        assert s.half_width(values) == pytest.approx((high - low) / 2, rel=1e-9)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 10, 29, 30, 100, 999])
def test_quantiles(degrees):
    import scipy.stats

    n = degrees + 1
    values = [0.0] * n
    values[0] = 1.0  # standard error 1/n
    assert s.half_width(values) == pytest.approx(scipy.stats.t.ppf(0.975, degrees) / n, rel=1e-9)


def test_below_two_values():
    assert s.std([1.0]) is None
    assert s.half_width([1.0]) is None
    assert s.interval([1.0]) == s.Interval(1.0, None, 1)


def test_equal_values_have_no_width():
    assert s.half_width([3.0, 3.0, 3.0]) == 0


@settings(deadline=None)
@given(samples, st.floats(0.1, 10), st.floats(-100, 100))
def test_scale_and_shift(values, scale, shift):
    moved = [scale * value + shift for value in values]
    assert s.half_width(moved) == pytest.approx(scale * s.half_width(values), rel=1e-6, abs=1e-6)


def test_interval_covers_the_mean_as_often_as_it_says():
    """5 seeds of a normal, 4000 times: 95 % within three standard errors of the count."""
    draw = random.Random(0)
    covered = 0
    for _ in range(4000):
        values = [draw.gauss(0, 1) for _ in range(5)]
        covered += abs(s.mean(values)) <= s.half_width(values)
    assert abs(covered / 4000 - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 4000)


def test_paired_difference_uses_shared_seeds_only():
    left, right = {0: 90.0, 1: 80.0, 2: 70.0, 7: 1.0}, {2: 69.0, 1: 79.0, 0: 89.0, 9: 100.0}
    assert s.paired_difference(left, right) == s.Interval(1.0, 0.0, 3)
    assert s.paired_difference({0: 1.0}, {1: 1.0}) is None


def test_pairing_is_narrower_where_seeds_go_together():
    left = {0: 60.0, 1: 70.0, 2: 80.0}
    right = {0: 58.0, 1: 69.0, 2: 77.0}
    paired = s.paired_difference(left, right)
    assert paired.mean == pytest.approx(2)
    assert paired.half_width < s.half_width(list(left.values()))
