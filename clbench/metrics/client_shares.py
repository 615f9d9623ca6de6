"""The number of samples of each class at each client. A record stores one short string per client."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Counts = list[list[int]]
"""Samples by client and class. Classes have the order of their task."""


def class_counts(task_labels: Tensor, positions: Iterable[Tensor], n_classes: int) -> Counts:
    """Return the number of samples of each class at each client.

    Args:
        task_labels: labels of the task's samples, int64 `[n]`: the position of the class within its task. In the class setting
            labels count classes of the whole stream: subtract the number of the task's first class.
        positions: positions of each client's samples, int64.
        n_classes: number of classes of the task.

    Raises:
        ValueError: a label is not below `n_classes`.
    """
    if len(task_labels) and not 0 <= int(task_labels.min()) <= int(task_labels.max()) < n_classes:
        raise ValueError(f"labels from {int(task_labels.min())} to {int(task_labels.max())} in a task of {n_classes} classes")
    return [task_labels[mine].bincount(minlength=n_classes).tolist() for mine in positions]


def encode(counts: Iterable[Sequence[int]]) -> list[str]:
    """Return one string per client: the counts of its classes. A record then has one line per client, not one per class.

    >>> encode([[12, 0, 3], [0, 7, 1]])
    ['12 0 3', '0 7 1']
    """
    return [" ".join(map(str, of_client)) for of_client in counts]


def decode(strings: Iterable[str]) -> Counts:
    """Return the counts that `encode` turned into `strings`.

    >>> decode(['12 0 3', '0 7 1'])
    [[12, 0, 3], [0, 7, 1]]

    Raises:
        ValueError: a string does not come from `encode`, or clients differ in their number of classes.
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
