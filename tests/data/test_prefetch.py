"""Prefetched or gathered in place, the samples are the same."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.data.pool import Pool, Split
from clbench.data.prefetch import DEPTH, prefetch


def random(*shape: int, high: int = 256, seed: int = 0, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def split_of(n: int, viewed: bool = False, mixed: bool = False, strided: bool = False) -> tuple[Split, Split]:
    """Return the same split of a resident pool and of one that streams."""
    inputs = random(n, 4, 3, 2).permute(0, 3, 1, 2) if strided else random(n, 2, 4, 3)
    pool = Pool(inputs, torch.zeros(n, dtype=torch.int64))
    views = torch.stack([torch.randperm(12, generator=torch.Generator().manual_seed(s)) for s in range(3)])
    tasks = random(n, high=3, seed=1, dtype=torch.int64) if mixed else 1
    view = None if not viewed else views if mixed else views[1]
    resident = Split(pool, torch.arange(n).flip(0), torch.zeros(n, dtype=torch.int64), tasks, view)
    return resident, replace(resident, pool=replace(pool, mapped=True))


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(0, 9), max_size=8),
    viewed=st.booleans(),
    mixed=st.booleans(),
    strided=st.booleans(),
    seed=st.integers(0, 99),
)
def test_it_yields_what_inputs_returns(sizes: list[int], viewed: bool, mixed: bool, strided: bool, seed: int) -> None:
    resident, streamed = split_of(23, viewed, mixed, strided)
    assert streamed.pool.streams
    assert not resident.pool.streams
    groups = [random(size, high=23, seed=seed + i, dtype=torch.int64) for i, size in enumerate(sizes)]
    expected = [resident.inputs(group) for group in groups]
    for split in (resident, streamed):
        found = list(prefetch(split, groups))
        assert len(found) == len(groups)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert all(torch.equal(streamed.inputs(group), wanted) for group, wanted in zip(groups, expected, strict=True))
    assert torch.equal(streamed.raw(), resident.raw())


class Watched(Pool):
    """Counts the groups that were gathered, and can fail."""

    broken = -1

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        calls.append(threading.current_thread().name)
        if len(calls) - 1 == self.broken:
            raise OSError("the disk is gone")
        return super().gather(rows)


calls: list[str] = []


def watched(n: int, broken: int = -1) -> tuple[Split, list[torch.Tensor]]:
    calls.clear()
    _, streamed = split_of(n)
    pool = Watched(streamed.pool.inputs, streamed.pool.targets, mapped=True)
    object.__setattr__(pool, "broken", broken)
    return replace(streamed, pool=pool), list(torch.split(torch.arange(n), 2))


def test_it_is_a_bounded_number_of_groups_ahead_and_never_in_the_callers_thread() -> None:
    split, groups = watched(40)
    for used, _ in enumerate(prefetch(split, groups), start=1):
        assert len(calls) <= used + DEPTH
    assert len(calls) == len(groups)
    assert threading.current_thread().name not in calls


def test_who_stops_early_leaves_no_thread_behind() -> None:
    split, groups = watched(40)
    loader = prefetch(split, groups)
    next(loader)
    loader.close()
    assert not any(thread.name.startswith("loader") for thread in threading.enumerate())
    assert len(calls) <= 1 + DEPTH


def test_what_goes_wrong_in_a_thread_comes_to_the_caller() -> None:
    split, groups = watched(40, broken=3)
    with pytest.raises(OSError, match="the disk is gone"):
        list(prefetch(split, groups))


def test_a_resident_pool_is_gathered_where_it_is_and_never_ahead() -> None:
    resident, _ = split_of(10)
    seen: list[int] = []

    class Counting(Pool):
        def take(self, rows: torch.Tensor) -> torch.Tensor:
            seen.append(len(rows))
            return super().take(rows)

    split = replace(resident, pool=Counting(resident.pool.inputs, resident.pool.targets))
    for used, _ in enumerate(prefetch(split, list(torch.split(torch.arange(10), 3))), start=1):
        assert len(seen) == used
