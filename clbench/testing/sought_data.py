"""Search for the samples of evaluation sets among the objects that can be reached from a learner and a method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clbench.data.pool import Split
from clbench.scenarios.separate_pools import learned_rows, training_splits
from clbench.stream import EvaluationSet, Stream

FEWEST = 4
"""Smallest number of labels or rows that counts as a copy: shorter tensors are equal by chance."""


def tested(stream: Stream) -> list[EvaluationSet]:
    """Return the evaluation sets that are not made of training samples alone (as `forget_train` is)."""
    masks = learned_rows(stream)
    found = []
    for column in stream.evaluation:
        mask = masks.get(id(column.split.pool))
        if mask is None or not bool(mask[column.split.rows].all()):
            found.append(column)
    return found


class SoughtData:
    """The evaluation data of a stream: its storages, its samples by value, its indices and labels, and its files."""

    def __init__(self, stream: Stream, files: Iterable[str] = ()) -> None:
        """Take note of everything that must not be reached.

        Args:
            stream: with its evaluation sets.
            files: names of files and folders that hold test samples.
        """
        self.columns = tested(stream)
        self.files = {str(Path(name)) for name in files}
        self.storages = {
            tensor.untyped_storage().data_ptr(): f"{what} of {column.name!r}"
            for column in self.columns
            for what, tensor in _tensors(column.split)
            if tensor.numel()
        }
        learned = {row for split in training_splits(stream) for row in _samples(stream, split)}
        self.samples = {row for column in self.columns for row in _samples(stream, column.split)} - learned
        own = [tensor for split in training_splits(stream) for tensor in (split.rows, split.labels)]
        self.indices = [
            (f"{what} of {column.name!r}", tensor)
            for column in self.columns
            for what, tensor in (("rows", column.split.rows), ("labels", column.split.labels))
            if len(tensor) >= FEWEST and not any(tensor.shape == other.shape and torch.equal(tensor, other) for other in own)
        ]
        self.shape = tuple(stream.input_shape)

    def among(self, objects: Iterable[tuple[str, Any]]) -> Iterator[str]:
        """Yield a sentence for every object, with the way to it, that holds evaluation data."""
        splits = {id(column.split): column.name for column in self.columns}
        splits |= {id(column.split.pool): f"the pool of {column.name}" for column in self.columns}
        for way, value in objects:
            if id(value) in splits:
                yield f"{way} is {splits[id(value)]}"
            elif isinstance(value, (str, Path)):
                if self.files and str(value) in self.files:
                    yield f"{way} is the path {value}"
            elif isinstance(value, (Tensor, np.ndarray)):
                found = self._in_tensor(value)
                if found:
                    yield f"{way} holds {found}"

    def _in_tensor(self, value: Tensor | np.ndarray[Any, Any]) -> str | None:
        tensor = value if isinstance(value, Tensor) else _as_tensor(value)
        if tensor is None or tensor.is_meta or not tensor.numel():
            return None
        storage = tensor.untyped_storage().data_ptr()
        if storage in self.storages:
            return self.storages[storage]
        if tensor.dtype == torch.int64 and tensor.dim() == 1:
            for what, other in self.indices:
                if tensor.shape == other.shape and torch.equal(tensor.to(other.device), other):
                    return f"a copy of the {what}"
        size = int(torch.Size(self.shape).numel())
        fits = tensor.dim() > 0 and size > 1 and (tensor.shape[-1] == size or tensor.shape[-len(self.shape) :] == self.shape)
        return "a copy of a test sample" if fits and any(row in self.samples for row in _rows(tensor, size)) else None


def _samples(stream: Stream, split: Split) -> Iterator[bytes]:
    """Yield each sample of a split, as stored and as the model gets it."""
    raw = split.raw()
    if raw[0].numel() == torch.Size(stream.input_shape).numel():
        yield from _rows(raw, raw[0].numel())
        yield from _rows(stream.preprocess(raw), raw[0].numel())


def _rows(tensor: Tensor, size: int) -> Iterator[bytes]:
    """Yield the bytes of each sample of `size` values, with the type of its values; samples of one value alone are left out."""
    rows = tensor.detach().cpu().contiguous().reshape(-1, size)
    if rows.dtype == torch.bfloat16:
        rows = rows.float()
    for row, varied in zip(rows.numpy(), (rows != rows[:, :1]).any(1).tolist(), strict=True):
        if varied:
            yield row.dtype.char.encode() + row.tobytes()


def _as_tensor(array: np.ndarray[Any, Any]) -> Tensor | None:
    try:
        return torch.from_numpy(array)
    except (TypeError, ValueError):  # objects, strings, negative strides
        return None


def _tensors(split: Split) -> Iterator[tuple[str, Tensor]]:
    pool = split.pool
    named = {"inputs": pool.inputs, "targets": pool.targets, "answers": pool.answer_of, "rows": split.rows}
    named |= {"labels": split.labels, "tasks": split.tasks}  # type: ignore[dict-item]
    for what, value in named.items():
        if isinstance(value, Tensor):
            yield what, value
