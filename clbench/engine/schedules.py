"""Learning-rate schedules within a task: open-loop ones, and plateau-on-validation with early stop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import Field

from clbench.engine.optimizers import NonNegative, Rate

Count = Annotated[int, Field(ge=1)]


class Schedule(Protocol):
    """The interface to the training loop: the rate of the next epoch, or None to stop."""

    @property
    def needs_validation(self) -> bool:
        """Whether `after_epoch` must be given a validation loss."""

    def start(self, lr: float, epochs: int) -> float:
        """Begin a task at base rate `lr`; return the rate of the first epoch."""

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
    """

    at: list[Count]
    factor: Annotated[float, Field(gt=1)]
    needs_validation = False

    def start(self, lr: float, epochs: int) -> float:
        """Begin at the base rate."""
        self._lr = lr
        return lr

    def after_epoch(self, epoch: int, valid_loss: float | None) -> float | None:
        """Return the rate divided once for every mark passed."""
        return self._lr / self.factor ** sum(mark <= epoch + 1 for mark in self.at)


@dataclass
class Cosine(_Scaled):
    """Half a cosine from the base rate to `final` times it over the task's epochs (Loshchilov & Hutter, ICLR 2017)."""

    final: NonNegative
    needs_validation = False

    def start(self, lr: float, epochs: int) -> float:
        """Begin at the base rate."""
        self._lr, self._epochs = lr, epochs
        return lr

    def after_epoch(self, epoch: int, valid_loss: float | None) -> float | None:
        """Return the rate of the next epoch."""
        share = 0.5 * (1 + math.cos(math.pi * (epoch + 1) / self._epochs))
        return self._lr * (self.final + (1 - self.final) * share)


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
