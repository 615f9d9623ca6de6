"""Seeds of random streams: every part of a name counts."""

from __future__ import annotations

from itertools import permutations

import torch
from hypothesis import given
from hypothesis import strategies as st

from clbench.utils.rng import derive, generator

NAMES = st.tuples(
    st.integers(0, 99), st.lists(st.integers(0, 99) | st.sampled_from(["batches", "dropout"]), max_size=4).map(tuple)
)


@given(one=NAMES, other=NAMES)
def test_two_names_are_two_seeds(one, other):
    same = (str(one[0]), *map(str, one[1])) == (str(other[0]), *map(str, other[1]))
    assert (derive(one[0], *one[1]) == derive(other[0], *other[1])) is same


def test_neither_order_nor_boundaries_of_the_parts_are_lost():
    names = [*permutations((0, 1, 2)), (0, 12), (1, 2), (12,), (0, "a", 1), (0, "a1"), (0,), (0, 0), (0, 0, 0)]
    assert len({derive(*name) for name in names}) == len(names)


def test_a_seed_fits_and_stays():
    assert all(0 <= derive(seed, "batches") < 2**63 for seed in range(100))
    assert derive(0, "batches", 0) == derive(0, "batches", 0)
    draws = [torch.rand(3, generator=generator(5, "a")) for _ in range(2)]
    assert torch.equal(*draws)
