"""Where a schedule counts within a task: its epochs, its steps, or its rounds."""

from __future__ import annotations

from dataclasses import dataclass

from clbench.engine.schedules import Per, Schedule


def per(schedule: Schedule) -> Per:
    """Return what a schedule counts; a schedule of the user's own without the attribute counts epochs."""
    found: Per = getattr(schedule, "per", "epoch")
    return found


@dataclass
class Pace:
    """The rates of one pass of training over a task.

    Args:
        schedule: gives the rates.
        epochs: of the pass.
        steps: of the pass.
        round: number of the round that the pass belongs to, from 0.
        rounds: of the task.
    """

    schedule: Schedule
    epochs: int
    steps: int
    round: int = 0
    rounds: int = 1

    def __post_init__(self) -> None:
        self._per = per(self.schedule)
        self._done = 0

    @property
    def by_step(self) -> bool:
        """Whether the rate changes at every step, by `after_step`."""
        return self._per == "step"

    def start(self, lr: float) -> float:
        """Begin at base rate `lr`; return the rate of the first step."""
        count = {"epoch": self.epochs, "step": self.steps, "round": self.rounds}[self._per]
        self._rate = self.schedule.start(lr, count)
        if self._per == "round" and self.round:
            self._rate = self._after(self.round)
        return self._rate

    def after_step(self) -> float:
        """Return the rate of the next step."""
        self._done += 1
        self._rate = self._after(self._done)
        return self._rate

    def after_epoch(self, epoch: int, valid_loss: float | None) -> float | None:
        """Return the rate of the epoch after `epoch` (0-based), or None to stop early."""
        return self.schedule.after_epoch(epoch, valid_loss) if self._per == "epoch" else self._rate

    def rescale(self, factor: float) -> None:
        """Multiply the following rates by `factor`."""
        self.schedule.rescale(factor)
        self._rate *= factor

    def _after(self, done: int) -> float:
        rate = self.schedule.after_epoch(done - 1, None)
        assert rate is not None  # only a schedule that watches validation stops early, and it counts epochs
        return rate
