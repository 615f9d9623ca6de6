"""How many samples of each class each client has: counted, and kept in a record as one short string per client."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Counts = list[list[int]]
"""Samples by client and class, classes in the order of their task."""


def class_counts(task_labels: Tensor, positions: Iterable[Tensor], n_classes: int) -> Counts:
    """Return how many samples of each class each client has.

    Args:
        task_labels: of the task's samples, int64 `[n]`: the position of the class within its task. Where labels go by
            the stream (class setting), subtract the number of the task's first class.
        positions: of each client's samples, int64.
        n_classes: of the task.

    Raises:
        ValueError: a label is not below `n_classes`.
    """
    if len(task_labels) and not 0 <= int(task_labels.min()) <= int(task_labels.max()) < n_classes:
        raise ValueError(f"labels from {int(task_labels.min())} to {int(task_labels.max())} in a task of {n_classes} classes")
    return [task_labels[mine].bincount(minlength=n_classes).tolist() for mine in positions]


def encode(counts: Iterable[Sequence[int]]) -> list[str]:
    """Return one string per client, `12 0 3`: the counts of its classes; so a record has a line for each, not for each class."""
    return [" ".join(map(str, of_client)) for of_client in counts]


def decode(strings: Iterable[str]) -> Counts:
    """Return what `encode` was given.

    Raises:
        ValueError: not what `encode` returns, or clients differ in their number of classes.
    """
    counts = [_numbers(text) for text in strings]
    if len({len(of_client) for of_client in counts}) > 1:
        raise ValueError("clients differ in their number of classes")
    return counts


def _numbers(text: str) -> list[int]:
    words = text.split(" ")
    if not all(word.isascii() and word.isdigit() for word in words):
        raise ValueError(f"{text!r} is not numbers with a space between them")
    return [int(word) for word in words]
