import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clbench.data.pool import Pool, Split, see

SIZE = 6


def slow_see(raw, view):
    """The definition, one pixel at a time."""
    out = torch.zeros_like(raw)
    for b in range(raw.shape[0]):
        own = view if view.dim() == 1 else view[b]
        for p in range(len(own)):
            if own[p] >= 0:
                out[b].view(-1, len(own))[:, p] = raw[b].reshape(-1, len(own))[:, own[p]]
    return out


def random(*shape, high=256, seed=0, dtype=torch.uint8):
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.fixture
def pool():
    return Pool(random(10, 3, 2, 3), random(10, high=4, seed=1, dtype=torch.int64))


views = st.lists(st.integers(-1, SIZE - 1), min_size=SIZE, max_size=SIZE)


@given(view=views)
def test_see_one_view_for_the_batch(view):
    for raw in (random(4, 3, 2, 3), random(4, 1, 3, 2), torch.randn(4, SIZE)):
        assert torch.equal(see(raw, torch.tensor(view)), slow_see(raw, torch.tensor(view)))


@given(table=st.lists(views, min_size=4, max_size=4))
def test_see_one_view_per_sample(table):
    for raw in (random(4, 3, 2, 3), torch.randn(4, SIZE)):
        assert torch.equal(see(raw, torch.tensor(table)), slow_see(raw, torch.tensor(table)))


@given(order=st.permutations(range(SIZE)))
def test_a_permutation_is_undone_by_its_inverse(order):
    raw, view = random(4, 3, 2, 3), torch.tensor(order)
    assert torch.equal(see(see(raw, view), view.argsort()), raw)
    assert torch.equal(see(raw, view).flatten(2).sort(-1).values, raw.flatten(2).sort(-1).values)


def test_inputs_are_the_pools_rows_in_order(pool):
    split = Split(pool, torch.tensor([7, 2, 2, 0]), torch.tensor([0, 1, 1, 0]), 0)
    assert torch.equal(split.inputs(torch.tensor([3, 0])), pool.inputs[[0, 7]])
    assert torch.equal(split.raw(), pool.inputs[[7, 2, 2, 0]])
    assert len(split) == 4


def test_inputs_through_a_view(pool):
    view = torch.tensor([5, 4, 3, 2, -1, 0])
    split = Split(pool, torch.tensor([7, 2, 0]), torch.tensor([0, 1, 0]), 1, view)
    assert torch.equal(split.inputs(torch.tensor([2, 1])), slow_see(pool.inputs[[0, 2]], view))


@given(first=st.lists(st.integers(0, 3), min_size=1, max_size=6), then=st.data())
def test_select_twice_is_select_once(first, then):
    second = then.draw(st.lists(st.integers(0, len(first) - 1), max_size=6))
    pool = Pool(random(10, 3, 2, 3), random(10, high=4, seed=1, dtype=torch.int64))
    mixed = Split(
        pool,
        torch.tensor([1, 5, 9, 3]),
        torch.tensor([0, 1, 2, 3]),
        torch.tensor([0, 2, 1, 2]),
        torch.stack([torch.randperm(SIZE, generator=torch.Generator().manual_seed(s)) for s in range(3)]),
    )
    plain = Split(pool, mixed.rows, mixed.labels, 0)
    a, b = torch.tensor(first), torch.tensor(second, dtype=torch.int64)
    for split in (mixed, plain):
        once, twice = split.select(a[b]), split.select(a).select(b)
        assert torch.equal(once.labels, twice.labels)
        assert torch.equal(once.raw(), twice.raw())
        assert torch.equal(once.raw(), split.inputs(a[b]))


@pytest.mark.parametrize("viewed", [False, True])
def test_a_joined_split_shows_what_its_parts_show(pool, viewed):
    views = [torch.randperm(SIZE, generator=torch.Generator().manual_seed(s)) for s in range(3)]
    parts = [
        Split(
            pool,
            random(5, high=10, seed=t, dtype=torch.int64),
            random(5, high=2, seed=t, dtype=torch.int64),
            t,
            views[t] if viewed else None,
        )
        for t in (2, 0)
    ]
    joined = Split.concatenate(parts, n_tasks=3)
    assert joined.tasks.tolist() == [2] * 5 + [0] * 5
    assert torch.equal(joined.labels, torch.cat([part.labels for part in parts]))
    assert torch.equal(joined.raw(), torch.cat([part.raw() for part in parts]))
    order = torch.randperm(10, generator=torch.Generator().manual_seed(9))
    assert torch.equal(joined.inputs(order), joined.raw()[order])


def test_sample_bytes(pool):
    assert pool.sample_bytes == 3 * 2 * 3
    assert Pool(torch.zeros(4, 7), torch.zeros(4, dtype=torch.int64)).sample_bytes == 28
    assert len(pool) == 10


def test_moving_to_where_it_is_copies_nothing(pool):
    moved = pool.to(torch.device("cpu"))
    assert moved.inputs.data_ptr() == pool.inputs.data_ptr()
