"""What a search chose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clbench.records import canonical
from clbench.tuning.proposals import Trial


@dataclass(frozen=True)
class Choice:
    """The outcome of a search.

    Args:
        values: of the searched keys, for the reported run.
        trial: the best one.
        idle: keys whose default was kept, since they changed no answer.
        trials: all, in order.
        runs: number of runs.
        seconds: the runs' own time.
        trials_sha256: digest of what was tried, and of what came out.
    """

    values: dict[str, Any]
    trial: Trial
    idle: tuple[str, ...]
    trials: tuple[Trial, ...]
    runs: int
    seconds: float
    trials_sha256: str


def describe(values: dict[str, Any]) -> str:
    """Return values for people: `strength=12300,lr=0.037,epochs=5`."""
    parts = []
    for key, each in values.items():
        text = f"{each:g}" if isinstance(each, float) else each if isinstance(each, str) else canonical(each)
        parts.append(f"{key.rpartition('.')[2]}={text}")
    return ", ".join(parts)
