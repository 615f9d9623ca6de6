"""Learning-rate schedules within a task: open-loop ones, and plateau-on-validation with early stop.

A schedule counts the epochs of a task, its steps, or the rounds of a federated one (`per`). `clbench.engine.pace` counts them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import Field

from clbench.engine.optimizers import NonNegative, Rate

Count = Annotated[int, Field(ge=1)]
Per = Literal["epoch", "step", "round"]
"""What a schedule counts. At `epoch` it begins anew in every round of a federated task."""


@dataclass(frozen=True)
class Idle:
    """Why a part of a schedule never acts.

    Args:
        reason: for a message.
        needed: smallest number of epochs (or of what `per` names) at which it acts.
        remedy: a value of the schedule at which it acts; empty if there is none.
    """

    reason: str
    needed: int
    remedy: str = ""


class Schedule(Protocol):
    """The interface to the training loop: the rate of the next epoch, or None to stop."""

    @property
    def needs_validation(self) -> bool:
        """Whether `after_epoch` must be given a validation loss."""

    def start(self, lr: float, epochs: int) -> float:
        """Begin a task of `epochs` epochs (or of what `per` names) at base rate `lr`; return the rate of the first one."""

    def after_epoch(self, epoch: int, valid_loss: float | None) -> float | None:
        """Return the rate of the epoch after `epoch` (0-based), or None to stop early."""

    def rescale(self, factor: float) -> None:
        """Multiply this task's following rates by `factor`, for a method."""


class _Scaled:
    """A schedule whose rates are multiples of `_lr`."""

    _lr: float

    def rescale(self, factor: float) -> None:
        """Multiply this task's following rates by `factor`."""
        self._lr *= factor

    def idle(self, counts: Sequence[int]) -> Idle | None:
        """Return why a part of the schedule never acts; None: every part may act.

        Args:
            counts: of each task, the number of its epochs (or of what `per` names).
        """
        return None


@dataclass
class Constant(_Scaled):
    """The same rate throughout."""

    needs_validation = False

    def start(self, lr: float, epochs: int) -> float:
        """Keep the rate."""
        self._lr = lr
        return lr

    def after_epoch(self, epoch: int, valid_loss: float | None) -> float | None:
        """Return the same rate."""
        return self._lr


@dataclass
class Step(_Scaled):
    """Divide the rate at given epochs.

    Args:
        at: epochs (counted from 1) after which the rate is divided.
        factor: the divisor.
        per: what `at` counts: epochs, steps, or rounds of a federated task.
    """

    at: Annotated[list[Count], Field(min_length=1)]
    factor: Annotated[float, Field(gt=1)]
    per: Per = "epoch"
    needs_validation = False

    def start(self, lr: float, epochs: int) -> float:
        """Begin at the base rate."""
        self._lr = lr
        return lr

    def after_epoch(self, epoch: int, valid_loss: float | None) -> float | None:
        """Return the rate divided once for every mark passed."""
        return self._lr / self.factor ** sum(mark <= epoch + 1 for mark in self.at)

    def idle(self, counts: Sequence[int]) -> Idle | None:
        """Return why a mark is never reached."""
        late = [mark for mark in self.at if mark >= max(counts)]
        if not late:
            return None
        return Idle(
            f"trainer.schedule.at={self.at} divides the rate after {self.per} {max(late)}, and a task has {max(counts)} in all",
            max(late) + 1,
            f"trainer.schedule.at=[{max(counts) // 2}]" if max(counts) > 1 else "",
        )


@dataclass
class Cosine(_Scaled):
    """Half a cosine from the base rate to `final` times it over a task (Loshchilov & Hutter, ICLR 2017).

    Args:
        final: the rate at the end, as a share of the base rate.
        per: what the rate changes with: epochs, steps, or rounds of a federated task.
    """

    final: NonNegative
    per: Per = "epoch"
    needs_validation = False

    def start(self, lr: float, epochs: int) -> float:
        """Begin at the base rate."""
        self._lr, self._epochs = lr, epochs
        return lr

    def after_epoch(self, epoch: int, valid_loss: float | None) -> float | None:
        """Return the rate of the next epoch."""
        share = 0.5 * (1 + math.cos(math.pi * (epoch + 1) / self._epochs))
        return self._lr * (self.final + (1 - self.final) * share)

    def idle(self, counts: Sequence[int]) -> Idle | None:
        """Return why the rate stays where it begins."""
        if max(counts) > 1:
            return None
        return Idle(f"trainer.schedule changes the rate from {self.per} to {self.per}, and a task has one", 2)


@dataclass
class Plateau(_Scaled):
    """Divide the rate when the validation loss stops falling; stop when the rate is spent; keep the best weights.

    The schedule of the GPM papers (authors' program `sahagobinda/GPM`, `main_cifar100.py`).

    Args:
        factor: the divisor.
        patience: epochs without a new best before the rate is divided.
        min_lr: stop when the rate falls below it.
    """

    factor: Annotated[float, Field(gt=1)]
    patience: Count
    min_lr: Rate
    needs_validation = True

    def start(self, lr: float, epochs: int) -> float:
        """Begin at the base rate with full patience."""
        self._lr, self._best, self._left = lr, math.inf, self.patience
        return lr

    def after_epoch(self, epoch: int, valid_loss: float | None) -> float | None:
        """Return the rate of the next epoch, or None when it is spent."""
        assert valid_loss is not None
        if valid_loss < self._best:
            self._best, self._left = valid_loss, self.patience
            return self._lr
        self._left -= 1
        if self._left <= 0:
            self._lr, self._left = self._lr / self.factor, self.patience
            if self._lr < self.min_lr:
                return None
        return self._lr

    def idle(self, counts: Sequence[int]) -> Idle | None:
        """Return why the rate is never divided: the first epoch sets the best loss, and the divided rate needs one more epoch."""
        needed = self.patience + 2
        if max(counts) >= needed:
            return None
        return Idle(
            f"trainer.schedule.patience={self.patience} divides the rate after {needed - 1} epochs at the earliest, and a task "
            f"has {max(counts)} in all",
            needed,
            f"trainer.schedule.patience={max(counts) - 2}" if max(counts) > 2 else "",
        )
