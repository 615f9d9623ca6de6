"""A stream with noise in the place of its test samples."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from clbench.data.pool import Pool
from clbench.stream import Stream
from clbench.testing.sought_data import tested


def with_noise(stream: Stream, seed: int = 0) -> Stream:
    """Return `stream` with random inputs, and labels in another order, in every evaluation set of test samples.

    Sizes, shapes, types and the sets of labels stay. The order of a set's labels stays if all are equal.
    """
    draws = torch.Generator().manual_seed(seed)
    hidden = {id(column) for column in tested(stream)}
    pools: dict[int, Pool] = {}
    columns = []
    for column in stream.evaluation:
        if id(column) in hidden:
            pool = column.split.pool
            noisy = pools.setdefault(id(pool), _noisy(pool, draws))
            order = torch.randperm(len(column.split), generator=draws).to(column.split.labels.device)
            column = replace(column, split=replace(column.split, pool=noisy, labels=column.split.labels[order]))
        columns.append(column)
    return replace(stream, evaluation=tuple(columns))


def _noisy(pool: Pool, draws: torch.Generator) -> Pool:
    inputs = pool.inputs
    if inputs.is_floating_point():
        noise = torch.randn(inputs.shape, generator=draws).to(inputs.dtype)
    elif inputs.dtype == torch.uint8:
        noise = torch.randint(0, 256, inputs.shape, generator=draws, dtype=torch.uint8)
    else:
        noise = _noisy_tokens(inputs.cpu(), pool, draws)
    return replace(pool, inputs=noise.to(inputs.device), mapped=False)


def _noisy_tokens(rows: Tensor, pool: Pool, draws: torch.Generator) -> Tensor:
    """Return other tokens for the same prompts and answers in length; padding and answers keep their places."""
    size = pool.vocabulary or int(rows.max()) + 1
    drawn = torch.randint(0, size, rows.shape, generator=draws)
    other = torch.where(rows < 0, ~drawn, drawn)
    return rows if pool.pad is None else torch.where(rows == pool.pad, rows, other)
