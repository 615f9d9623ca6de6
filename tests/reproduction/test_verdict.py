"""The tolerance, as fixed before any run."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clbench.metrics.statistics import std
from clbench.reproduction.verdict import Published, judge, tolerance

percents = st.lists(st.floats(0, 100), min_size=2, max_size=10)


def test_without_a_published_deviation_two_points_count():
    assert tolerance(Published(50.0, None, 10), [1.0, 99.0]) == 2.0
    assert tolerance(Published(50.0, 3.0, None), [1.0, 99.0]) == 2.0


@given(percents, st.floats(0, 20), st.integers(1, 20))
def test_it_is_the_written_formula_and_never_below_a_point(ours, spread, n):
    found = tolerance(Published(50.0, spread, n), ours)
    assert found == pytest.approx(max(1.0, 2 * math.sqrt(spread**2 / n + std(ours) ** 2 / len(ours))))


def test_verdicts():
    published = Published(80.0, None, 10)
    assert judge(published, []) == "not run"
    assert judge(published, [78.0]) == "inside"
    assert judge(published, [77.9]) == "below"
    assert judge(published, [83.0, 82.0]) == "above"


def test_there_is_no_verdict_on_the_seeds_that_are_left():
    published = Published(80.0, None, 10)
    assert judge(published, [80.0], failed=2) == "failed seeds"
    assert judge(published, [], failed=2) == "failed seeds"


@given(percents, st.floats(0, 100))
def test_inside_means_within_the_tolerance(ours, value):
    published = Published(value, 1.0, 5)
    near = abs(sum(ours) / len(ours) - value) <= tolerance(published, ours) + 1e-9
    assert (judge(published, ours) == "inside") <= near
