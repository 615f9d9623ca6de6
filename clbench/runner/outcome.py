"""The result of a run in a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from clbench.run_spec import RunSpec


class Status(StrEnum):
    """How a run ended."""

    DONE = "done"
    """Trained now; its record is stored."""
    PRESENT = "present"
    """Its record was stored before."""
    BUSY = "busy"
    """Another process executes it."""
    FAILED = "failed"
    """It has no record."""


@dataclass(frozen=True)
class Outcome:
    """The result of a run in a sweep.

    Args:
        spec: the run.
        status: how the run ended.
        reason: of a failure, in one line; for `busy` the other process.
        remedy: what the user can do about a failure.
        seconds: from the start of the run to its end.
        accuracy: the last reported accuracy in percent.
        recorded_peak: kind of device and peak memory in bytes, from the record of a run that was stored before.
        earlier: whether the run failed in an earlier command and was not trained again.
        begun: False for a run that was not begun, since another run could not be stored.
    """

    spec: RunSpec
    status: Status
    reason: str = ""
    remedy: str = ""
    seconds: float = 0.0
    accuracy: float | None = None
    recorded_peak: tuple[str, int] | None = None
    earlier: bool = False
    begun: bool = True

    @property
    def text(self) -> str:
        """Reason and remedy in one line."""
        return f"{self.reason} -> {self.remedy}" if self.remedy else self.reason
