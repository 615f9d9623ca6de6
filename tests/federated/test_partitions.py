"""Partitions of a task: every sample once, by nothing but the arguments, and each distributed as its source says."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clbench.errors import ConfigError
from clbench.federated.partitions import IID, Dirichlet, Shards, _shares

ALPHAS = (1e-300, 1e-3, 0.1, 0.5, 1.0, 100.0, 1e9, 1e300)
PARTITIONS = (IID(), Shards(1), Shards(2), Shards(5), *map(Dirichlet, ALPHAS), Dirichlet(0.1, redraws=0))


def shared_out(partition, labels, clients, min_samples=1, seed=0):
    return partition.positions(labels, clients, min_samples, torch.Generator().manual_seed(seed))


def balanced(classes, per_class, seed=0):
    """Return labels of a task in an order drawn by lot."""
    labels = torch.arange(classes).repeat_interleave(per_class)
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]


def counts(labels, parts):
    return torch.stack([labels[part].bincount(minlength=int(labels.max()) + 1) for part in parts])


@st.composite
def tasks(draw):
    """A task, clients and min_samples that fit every partition here; labels need not start at 0, nor be all there."""
    sizes = draw(st.lists(st.integers(0, 40), min_size=1, max_size=8))
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)) + draw(st.integers(0, 3))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(draw(st.integers(0, 9))))]
    clients, min_samples = draw(st.integers(1, 12)), draw(st.integers(1, 10))
    assume(all(shards * (len(labels) // (shards * clients)) >= min_samples for shards in (1, 2, 5)))
    return labels, clients, min_samples


@settings(max_examples=60, deadline=None)
@given(tasks(), st.sampled_from(PARTITIONS), st.integers(0, 2**62))
def test_each_sample_is_at_one_client_and_each_client_has_enough(task, partition, seed):
    labels, clients, min_samples = task
    before = labels.clone()
    parts = shared_out(partition, labels, clients, min_samples, seed)
    assert len(parts) == clients
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(labels)))
    assert all(part.dtype == torch.int64 and torch.equal(part, part.sort().values) for part in parts)
    assert min(map(len, parts)) >= min_samples
    again = shared_out(partition, labels, clients, min_samples, seed)
    assert all(map(torch.equal, parts, again))
    assert torch.equal(labels, before)


@pytest.mark.parametrize("partition", PARTITIONS[:6], ids=str)
def test_another_seed_is_another_partition_and_the_global_generators_play_no_part(partition):
    labels = balanced(4, 50)
    first = shared_out(partition, labels, 5)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    assert all(map(torch.equal, first, shared_out(partition, labels, 5)))
    torch.set_rng_state(state)
    assert not all(torch.equal(a, b) for a, b in zip(first, shared_out(partition, labels, 5, seed=1)))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 10), st.integers(20, 200), st.integers(2, 12), st.integers(0, 999))
def test_iid_sizes_are_equal_and_counts_of_classes_nearly(classes, per_class, clients, seed):
    labels = balanced(classes, per_class, seed)
    parts = shared_out(IID(), labels, clients, seed=seed)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    # Hoeffding for draws without replacement: beyond this width with a probability below 2e-9 for one count
    width = math.sqrt(10 * max(sizes))
    expected = torch.tensor(sizes)[:, None] / classes
    assert (counts(labels, parts) - expected).abs().max() <= width


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 12), st.integers(1, 6), st.integers(0, 999))
def test_shards_that_end_where_classes_do_give_a_client_no_more_classes_than_shards(per_client, per_class, clients, size, seed):
    shards = per_client * clients  # `per_class` of them make a class
    assume(shards % per_class == 0)
    labels = balanced(shards // per_class, per_class * size, seed)
    found = counts(labels, shared_out(Shards(per_client), labels, clients, seed=seed))
    assert (found > 0).sum(1).max() <= per_client
    assert set(found.sum(1).tolist()) == {per_client * size}


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(2, 10), st.integers(10, 60), st.integers(1, 12), st.integers(0, 999))
def test_shards_anyhow(per_client, classes, per_class, clients, seed):
    assume(clients * per_client >= classes)  # no shard is longer than a class
    assume(classes * per_class >= clients * per_client)
    labels = balanced(classes, per_class, seed)
    parts = shared_out(Shards(per_client), labels, clients, seed=seed)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= per_client
    assert (counts(labels, parts) > 0).sum(1).max() <= 2 * per_client


def test_shards_are_drawn_and_hold_a_class_by_chance():
    labels = torch.arange(10).repeat_interleave(20)  # in the order of the classes, as files often are
    first, *_ = shared_out(Shards(2), labels, 10)
    assert (counts(labels, shared_out(Shards(2), labels, 10))[0] > 0).nonzero().flatten().tolist() != [0]
    of_class = first[labels[first] == labels[first[0]]]
    assert (of_class.diff() > 1).any()  # no run of neighbours


@pytest.mark.parametrize("clients", [3, 10, 100])
def test_dirichlet_with_a_large_alpha_is_nearly_iid(clients):
    labels = balanced(5, 2000)
    found = counts(labels, shared_out(Dirichlet(1e6), labels, clients))
    assert (found - 2000 / clients).abs().max() <= 1 + 0.02 * 2000 / clients  # twelve deviations of a share, and rounding


@pytest.mark.parametrize("seed", range(3))
def test_dirichlet_with_a_small_alpha_gives_each_class_to_one_client(seed):
    labels = balanced(8, 100)
    found = counts(labels, shared_out(Dirichlet(1e-6), labels, 4, min_samples=1, seed=seed))
    assert (found.max(0).values >= 97).all()  # but for the few that move to clients without any


@pytest.mark.parametrize("alpha", [0.05, 0.5, 3.0])
def test_shares_have_the_moments_of_the_distribution(alpha):
    clients = 4
    shares = torch.from_numpy(_shares(alpha, clients, 40_000, np.random.default_rng(0)))
    assert shares.sum(1).sub(1).abs().max() < 1e-12
    assert shares.mean(0).sub(1 / clients).abs().max() < 0.01
    variance = (1 / clients) * (1 - 1 / clients) / (clients * alpha + 1)
    assert shares.var(0).div(variance).sub(1).abs().max() < 0.05


def test_dirichlet_draws_again_before_it_moves_samples():
    labels = balanced(2, 100)
    seed = next(s for s in range(50) if min(map(len, shared_out(Dirichlet(0.3, redraws=0), labels, 4, seed=s))) == 1)
    once, more = Dirichlet(0.3, redraws=0), Dirichlet(0.3)
    assert min(map(len, shared_out(once, labels, 4, min_samples=15, seed=seed))) == 15
    assert not all(map(torch.equal, shared_out(once, labels, 4, 15, seed), shared_out(more, labels, 4, 15, seed)))


def test_samples_move_from_the_largest_clients_and_no_more_than_needed():
    labels = balanced(3, 100)
    partition = Dirichlet(0.2, redraws=0)
    seed = next(s for s in range(50) if min(map(len, shared_out(partition, labels, 6, seed=s))) < 5)
    drawn = counts(labels, shared_out(partition, labels, 6, min_samples=1, seed=seed))
    moved = counts(labels, shared_out(partition, labels, 6, min_samples=20, seed=seed))
    lacking = drawn.sum(1) < 20
    assert (moved.sum(1)[lacking] == 20).all()
    givers = (moved < drawn).any(1)
    assert givers.any()
    assert not (givers & lacking).any()
    untouched = moved.sum(1)[~givers & ~lacking]
    assert not len(untouched) or moved.sum(1)[givers].min() >= untouched.max() - 1  # only the largest give


@pytest.mark.parametrize("partition", PARTITIONS, ids=str)
def test_too_few_samples(partition):
    with pytest.raises(ConfigError, match=r"federated.clients=5 with federated.min_samples=3 need 15 samples, a task has 14"):
        shared_out(partition, balanced(2, 7), 5, min_samples=3)
    with pytest.raises(ConfigError, match="at most 4 clients"):
        shared_out(partition, balanced(2, 7), 5, min_samples=3)


@pytest.mark.parametrize("partition", PARTITIONS, ids=str)
@pytest.mark.parametrize(("name", "value"), [("clients", 0), ("min_samples", 0), ("clients", -1)])
def test_numbers_below_one(partition, name, value):
    with pytest.raises(ConfigError, match=f"federated.{name}={value} is below 1"):
        shared_out(partition, balanced(2, 7), **{"clients": 2, "min_samples": 1, name: value})


def test_shards_too_small_whatever_is_drawn():
    with pytest.raises(ConfigError, match="may get only 4"):
        shared_out(Shards(2), balanced(2, 15), 6, min_samples=5)
    assert min(map(len, shared_out(IID(), balanced(2, 15), 6, min_samples=5))) == 5


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.inf, math.nan, 1e-310])
def test_a_bad_alpha(alpha):
    with pytest.raises(ConfigError, match=r"federated\.partition\.alpha"):
        Dirichlet(alpha)


def test_other_bad_fields():
    with pytest.raises(ConfigError, match="per_client=0"):
        Shards(0)
    with pytest.raises(ConfigError, match="redraws=-1"):
        Dirichlet(0.5, redraws=-1)
