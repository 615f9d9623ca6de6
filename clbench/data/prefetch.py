"""Inputs that come from host memory or disk, fetched ahead of their use by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from clbench.data.pool import Split

AHEAD = 2
"""Groups of samples that are under way while one is used: as many threads, and so much more host memory."""


def ahead(split: Split, groups: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield the raw inputs of each group of samples, view applied, on the device of the split.

    Where the pool is on that device this is `split.inputs`, group by group. Else threads gather the next groups on the
    host while the caller works with one (gathering and reading release Python's lock, so that no process is needed).
    What is yielded is the same.

    Args:
        split: whose samples.
        groups: positions int64 `[B]` each, in the order in which they are wanted; all are known at the start, so that the
            host waits for the device once.
    """
    if not split.pool.streams:
        for positions in groups:
            yield split.inputs(positions)
        return
    rows = split.rows.index_select(0, torch.cat(list(groups))).cpu() if groups else split.rows[:0]
    coming = deque(zip(groups, torch.split(rows, [len(positions) for positions in groups]), strict=True))
    started: deque[tuple[Tensor, Future[Tensor]]] = deque()
    with ThreadPoolExecutor(AHEAD, "loader") as threads:
        while coming or started:
            while coming and len(started) <= AHEAD:
                positions, some = coming.popleft()
                started.append((positions, threads.submit(split.pool.gather, some)))
            positions, gathered = started.popleft()
            raw = gathered.result().to(split.rows.device, non_blocking=True)
            yield split.seen(raw, positions)
