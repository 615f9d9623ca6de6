"""Signs of life of this process: a reading that changes whenever a run has moved on. It costs a step nothing.

A step increments the counter of its training anyway. Other work (batches of an evaluation, parts of one-time work) counts here.
"""

from __future__ import annotations

import weakref
from typing import Protocol


class Counted(Protocol):
    """An object that counts its steps."""

    step_count: int


class _Signs:
    def __init__(self) -> None:
        self.count = 0
        self.training: weakref.ref[Counted] | None = None


_signs = _Signs()


def beat() -> None:
    """Note that work went on."""
    _signs.count += 1


def watch(training: Counted) -> None:
    """Watch the steps of the training that begins; no reference is kept."""
    _signs.count += 1
    _signs.training = weakref.ref(training)


def reading() -> tuple[int, int]:
    """Return two numbers, at least one of which has changed if work went on since the last reading."""
    training = _signs.training() if _signs.training is not None else None
    return _signs.count, 0 if training is None else training.step_count
