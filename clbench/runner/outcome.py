"""What became of a run."""

from __future__ import annotations

from dataclasses import dataclass

from clbench.run_spec import RunSpec


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Args:
        spec: it.
        status: `done` (trained now), `present` (was there already), `busy` (another process is at it), `failed`.
        reason: of a failure, in one line; of `busy`, who is at it.
        seconds: from being given out to its end.
        accuracy: last accuracy that was reported, in percent.
        memory: kind of device and bytes at the peak, as the record of one that was there already tells it.
    """

    spec: RunSpec
    status: str
    reason: str = ""
    seconds: float = 0.0
    accuracy: float | None = None
    memory: tuple[str, int] | None = None
