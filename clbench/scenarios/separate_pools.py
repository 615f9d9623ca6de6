"""Separation of training and test samples: no tensor of a task leads to a sample of an evaluation set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from clbench.data.pool import Pool, Split
from clbench.stream import EvaluationSet, Stream

Masks = dict[int, Tensor]


def separate_pools(stream: Stream) -> Stream:
    """Return `stream` with training and test samples in pools, rows and labels of their own.

    A method reaches the pools of its tasks, as a whole. Nothing changes for a stream whose pools are apart and whose tasks use
    every row. Otherwise:
        A pool with samples of both kinds becomes two pools, and rows are counted anew in each.
        Rows that no task uses are emptied: they may be copies of test samples. Files mapped into memory are left as they are.
        Tensors of both kinds that are views of one storage become copies: `torch` finds the whole storage from any view.

    No sample is kept twice. Samples of a mapped file that are copied are in memory afterwards. An evaluation set of nothing but
    training samples (the role `forget_train`) stays in the pool of the tasks.

    Args:
        stream: checked (`clbench.scenarios.stream_checks`), on the CPU.
    """
    masks = learned_rows(stream)
    tested = [column for column in stream.evaluation if not _is_learned(column.split, masks)]
    mixed = {id(column.split.pool): column.split.pool for column in tested if id(column.split.pool) in masks}
    if mixed:
        stream = _divide(stream, tested, mixed, masks)
    return _without_shared_storage(_without_unused_rows(stream))


def learned_rows(stream: Stream) -> Masks:
    """Return for each pool of the tasks, by its `id`, the mask of rows that are trained on or held out for validation."""
    masks: Masks = {}
    distinct = {(id(split.pool), id(split.rows)): split for split in training_splits(stream)}  # permuted tasks share rows
    for split in distinct.values():
        mask = masks.setdefault(id(split.pool), torch.zeros(len(split.pool), dtype=torch.bool, device=split.rows.device))
        mask[split.rows] = True
    return masks


def training_splits(stream: Stream) -> Iterator[Split]:
    """Yield the training and validation samples of every task."""
    for task in stream.tasks:
        yield task.train
        if task.valid is not None:
            yield task.valid


def _is_learned(split: Split, masks: Masks) -> bool:
    mask = masks.get(id(split.pool))
    return mask is not None and bool(mask[split.rows].all())


def _divide(stream: Stream, tested: list[EvaluationSet], mixed: dict[int, Pool], masks: Masks) -> Stream:
    """Return the stream with each pool of `mixed` as two pools: the rows of its mask, and those of the `tested` sets."""
    kept = {key: (pool, masks[key]) for key, pool in mixed.items()}
    asked = {key: (pool, torch.zeros(len(pool), dtype=torch.bool)) for key, pool in mixed.items()}
    for column in tested:
        if id(column.split.pool) in asked:
            asked[id(column.split.pool)][1][column.split.rows] = True
    learn, test = ({key: _part(pool, mask) for key, (pool, mask) in each.items()} for each in (kept, asked))

    def move(split: Split, parts: dict[int, tuple[Pool, Tensor]]) -> Split:
        if id(split.pool) not in parts:
            return split
        pool, numbers = parts[id(split.pool)]
        return replace(split, pool=pool, rows=numbers[split.rows])

    names = {id(column) for column in tested}
    return _mapped(
        stream,
        lambda split: move(split, learn),
        lambda column: move(column.split, test if id(column) in names else learn),
    )


def _part(pool: Pool, mask: Tensor) -> tuple[Pool, Tensor]:
    """Return the rows of `mask` as a pool of their own, and the new number of every row of `pool`."""
    rows = torch.nonzero(mask).squeeze(1)
    numbers = torch.full((len(pool),), -1, dtype=torch.int64)
    numbers[rows] = torch.arange(len(rows))
    answer_of = None if pool.answer_of is None else pool.answer_of[rows]
    return replace(pool, inputs=pool.inputs[rows], targets=pool.targets[rows], answer_of=answer_of, mapped=False), numbers


def _without_unused_rows(stream: Stream) -> Stream:
    """Return the stream with pools of the tasks whose unused rows are empty; numbers of rows stay."""
    pools = {id(split.pool): split.pool for split in training_splits(stream) if not split.pool.mapped}
    unused = {key: ~mask for key, mask in learned_rows(stream).items() if key in pools and not bool(mask.all())}
    if not unused:
        return stream
    emptied = {key: _emptied(pools[key], mask) for key, mask in unused.items()}

    def move(split: Split) -> Split:
        return replace(split, pool=emptied.get(id(split.pool), split.pool))

    return _mapped(stream, move, lambda column: move(column.split))


def _emptied(pool: Pool, mask: Tensor) -> Pool:
    """Return a copy of the pool without the samples of `mask`: padding or zeros in their place."""
    parts = (pool.inputs, pool.targets, pool.answer_of)
    inputs, targets, answer_of = (None if part is None else part.clone() for part in parts)
    assert inputs is not None
    assert targets is not None
    inputs[mask] = pool.pad or 0
    targets[mask] = 0
    if answer_of is not None:
        answer_of[mask] = 0
    return replace(pool, inputs=inputs, targets=targets, answer_of=answer_of)


def _without_shared_storage(stream: Stream) -> Stream:
    """Return the stream with copies of all tensors whose storage holds both training and test samples."""
    masks = learned_rows(stream)
    tested = {id(column) for column in stream.evaluation if not _is_learned(column.split, masks)}
    learned = {_storage(tensor) for split in training_splits(stream) for tensor in _tensors(split)}
    hidden = {_storage(t) for column in stream.evaluation if id(column) in tested for t in _tensors(column.split)}
    shared = (learned & hidden) - {0}  # 0: a tensor without entries
    if not shared:
        return stream
    copies: dict[int, Tensor] = {}
    pools: dict[int, Pool] = {}

    def copy(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in shared:
            return tensor
        return copies.setdefault(id(tensor), tensor.clone())

    def move(split: Split) -> Split:
        pool = pools.get(id(split.pool))
        if pool is None:
            inputs, targets = copy(split.pool.inputs), copy(split.pool.targets)
            answer_of = None if split.pool.answer_of is None else copy(split.pool.answer_of)
            mapped = split.pool.mapped and inputs is split.pool.inputs
            pool = replace(split.pool, inputs=inputs, targets=targets, answer_of=answer_of, mapped=mapped)
            pools[id(split.pool)] = pool
        tasks = split.tasks if isinstance(split.tasks, int) else copy(split.tasks)
        return replace(split, pool=pool, rows=copy(split.rows), labels=copy(split.labels), tasks=tasks)

    return _mapped(stream, move, lambda column: move(column.split))


def _mapped(stream: Stream, learn: Callable[[Split], Split], test: Callable[[EvaluationSet], Split]) -> Stream:
    """Return the stream with `learn` of each split of its tasks, and `test` of each evaluation set as its split."""
    tasks = [replace(t, train=learn(t.train), valid=None if t.valid is None else learn(t.valid)) for t in stream.tasks]
    columns = [replace(column, split=test(column)) for column in stream.evaluation]
    return replace(stream, tasks=tuple(tasks), evaluation=tuple(columns))


def _tensors(split: Split) -> Iterator[Tensor]:
    """Yield the tensors that tell of samples; label words and views belong to no sample."""
    pool = split.pool
    for value in (pool.inputs, pool.targets, pool.answer_of, split.rows, split.labels, split.tasks):
        if isinstance(value, Tensor):
            yield value


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
