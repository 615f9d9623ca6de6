"""Herding: exemplars whose mean stays near that of their class."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.methods.icarl import herd

D = torch.float64


def test_herding_by_hand():
    """The mean is 4. After 4 comes 3 (mean 3.5); then 9 (mean 5.33) before 0 (mean 2.33), though 0 is nearer to 4."""
    points = torch.tensor([[0.0], [9.0], [3.0], [4.0]])
    assert herd(points, 9).tolist() == [3, 2, 1, 0]
    assert herd(points, 2).tolist() == [3, 2]


@given(n=st.integers(1, 8), d=st.integers(1, 4), count=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_every_choice_is_the_best_of_those_left(n, d, count, seed):
    features = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=D)
    chosen, mean = herd(features, count).tolist(), features.mean(0)
    assert len(chosen) == len(set(chosen)) == min(n, count)
    for k in range(len(chosen)):
        costs = {i: float((mean - features[[*chosen[:k], i]].mean(0)).norm()) for i in range(n) if i not in chosen[:k]}
        assert costs[chosen[k]] <= min(costs.values()) + 1e-9


@pytest.mark.parametrize("count", [1, 3, 10, 25])
def test_chosen_means_are_nearer_than_random_ones(count):
    g = torch.Generator().manual_seed(3)
    features = torch.randn(60, 8, generator=g, dtype=D)
    mean = features.mean(0)
    error = (features[herd(features, count)].mean(0) - mean).norm()
    random = [(features[torch.randperm(60, generator=g)[:count]].mean(0) - mean).norm() for _ in range(200)]
    assert error <= sum(random) / len(random)


def test_two_chosen_are_no_worse_than_the_first_and_no_better_than_the_best_pair():
    features = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=D)
    mean = features.mean(0)
    first, second = herd(features, 2).tolist()
    error = (features[[first, second]].mean(0) - mean).norm()
    assert error >= min((features[list(pair)].mean(0) - mean).norm() for pair in itertools.combinations(range(12), 2))
    assert (features[first] - mean).norm() == (features - mean).norm(dim=1).min()
