"""The report of projection methods: dimensions of the protected subspaces, and the removed share of the steps."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from clbench.toolkit.weight_matrices import Matrix

EVERY = 25
"""The removed share is measured at every step of this number, from the first one on. It affects cost, not training."""
NOTHING_LEFT = 0.99
"""Above this removed share of every projected matrix, a method is said to learn hardly anything. Ours: at 0.94 to 0.98 tasks were
still learned, on permuted digits; at 0.9987 and above none was, on split digits."""
LOG = logging.getLogger(__name__)
_UNWATCHED = nullcontext()


class SubspaceReport:
    """Numbers of directions, and the mean removed share of the squared step, for one task. The host never waits."""

    def __init__(self, bases: Mapping[str, Tensor]) -> None:
        """Store the dimensions of `bases` `[d, k]` at the start of a task."""
        self.before = {name: basis.shape[1] for name, basis in bases.items()}
        self.removed: dict[str, Tensor] = {}
        self.steps = self.looks = 0

    @property
    def due(self) -> bool:
        """True if the next step is measured."""
        return self.steps % EVERY == 0

    def watch(
        self, matrices: Mapping[str, Matrix], projected: Iterable[str], updates: dict[str, Tensor]
    ) -> AbstractContextManager[None]:
        """Return a context that compares the steps of the matrices in `projected` before and after, if this step is due."""
        due = self.due
        self.steps += 1
        return self._compared(matrices, list(projected), updates) if due else _UNWATCHED

    @contextmanager
    def _compared(self, matrices: Mapping[str, Matrix], names: list[str], updates: dict[str, Tensor]) -> Iterator[None]:
        before = self._energies(matrices, names, updates)
        yield
        if before:
            self.looks += 1
            for name, after in self._energies(matrices, names, updates).items():
                share = 1 - after / before[name].clamp(min=torch.finfo(after.dtype).tiny)
                self.removed[name] = self.removed[name] + share if name in self.removed else share

    @staticmethod
    def _energies(matrices: Mapping[str, Matrix], names: list[str], updates: dict[str, Tensor]) -> dict[str, Tensor]:
        found = {name: matrices[name].read(updates) for name in names}
        return {name: sum_of_squares(*pair) for name, pair in found.items() if pair is not None}

    def report(self, bases: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return by matrix: `taken` of `of` directions now, `added` in this task, `removed` share (None: nothing projected)."""
        return {
            name: {
                "taken": basis.shape[1],
                "of": basis.shape[0],
                "added": basis.shape[1] - self.before.get(name, 0),
                "removed": float(self.removed[name]) / self.looks if name in self.removed else None,
            }
            for name, basis in bases.items()
        }

    def warn_if_nothing_is_left(self, bases: Mapping[str, Tensor], task: int, remedy: str) -> bool:
        """Log a warning if nearly the whole step of every projected matrix was removed in this task; return whether it was so.

        Args:
            bases: `[d, k]` as they were during the task.
            task: index of the task, from 0.
            remedy: what a user can change.
        """
        shares = {name: float(total) / self.looks for name, total in self.removed.items()}
        if not shares or min(shares.values()) <= NOTHING_LEFT:
            return False
        free = ", ".join(f"{name} {bases[name].shape[0] - bases[name].shape[1]} of {bases[name].shape[0]}" for name in shares)
        least = 100 * min(shares.values())
        LOG.warning(
            f"task {task} hardly changed the protected layers: the projection removed {least:.1f} % or more of the steps of each "
            f"(free directions: {free}); {remedy}"
        )
        return True


def sum_of_squares(weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the squared norm of a weight and its bias."""
    total = weight.square().sum()
    return total if bias is None else total + bias.square().sum()
