"""Suggestions: slips of the fingers lead to the name that was meant, and nothing similar leads to none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clbench.utils.nearest import distance, nearest

NAMES = ["naive", "er", "gpm", "sgp", "gem", "ewc", "ewc_online", "split_mnist", "permuted_mnist", "optimizer.lr"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("gmp", "gpm"),
        ("egm", "gem"),
        ("navie", "naive"),
        ("naiv", "naive"),
        ("EWC", "ewc"),
        ("ewc-online", "ewc_online"),
        ("ewc_onlnie", "ewc_online"),
        ("mnist_split", "split_mnist"),
        ("permuted", "permuted_mnist"),
        ("optimizer.rl", "optimizer.lr"),
        ("nonsense", ""),
        ("", ""),
    ],
)
def test_a_slip_leads_to_the_name_that_was_meant(typed: str, meant: str) -> None:
    assert nearest(typed, NAMES) == meant


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_the_distance_is_symmetric_and_zero_only_between_equals(first: str, second: str) -> None:
    assert distance(first, second) == distance(second, first)
    assert (distance(first, second) == 0) == (first == second)
    assert abs(len(first) - len(second)) <= distance(first, second) <= max(len(first), len(second))


def test_exchanged_letters_are_one_slip() -> None:
    assert distance("ab", "ba") == 1
    assert distance("gmp", "sgp") == 2
