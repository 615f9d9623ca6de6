"""Prefetching of inputs from host memory or disk, by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from clbench.data.pool import Split
from clbench.utils import signs_of_life

DEPTH = 2
"""Number of groups that are fetched while one is in use; also the number of threads. More groups need more host memory."""


def prefetch(split: Split, groups: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield the raw inputs of each group of samples, view applied, on the device of the split.

    If the pool is on that device, each group is `split.inputs`. Else threads gather the next groups on the host while the caller
    uses one. Gathering and reading release Python's lock, so threads suffice. The yielded values are the same.

    Args:
        split: holds the samples.
        groups: positions int64 `[B]` each, in the order of use. All are known at the start: the host waits only once.
    """
    if not split.pool.streams:
        for positions in groups:
            signs_of_life.beat()
            yield split.inputs(positions)
        return
    rows = split.rows.index_select(0, torch.cat(list(groups))).cpu() if groups else split.rows[:0]
    pending = deque(zip(groups, torch.split(rows, [len(positions) for positions in groups]), strict=True))
    started: deque[tuple[Tensor, Future[Tensor]]] = deque()
    with ThreadPoolExecutor(DEPTH, "loader") as threads:
        while pending or started:
            while pending and len(started) <= DEPTH:
                positions, some = pending.popleft()
                started.append((positions, threads.submit(split.pool.gather, some)))
            positions, gathered = started.popleft()
            signs_of_life.beat()
            raw = gathered.result().to(split.rows.device, non_blocking=True)
            yield split.seen(raw, positions)
