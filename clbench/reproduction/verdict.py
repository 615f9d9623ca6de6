"""The verdict on a row: a tolerance by a formula that was fixed before any row was run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from clbench.metrics.statistics import mean, std

Verdict = Literal["inside", "above", "below", "not run", "failed seeds"]

LEAST = 1.0
"""Points: the smallest tolerance."""
SPREADS = 2.0
"""The two means may differ by so many standard errors of their difference (about 95 %)."""
WITHOUT_STD = 2.0
"""Points: the tolerance if the source gives no standard deviation."""


@dataclass(frozen=True)
class Published:
    """A number as its source prints it.

    Args:
        value: percent.
        std: standard deviation over runs in points; None if the source gives none.
        n: number of runs behind the mean; None if the source does not give it.
    """

    value: float
    std: float | None
    n: int | None


def tolerance(published: Published, ours: Sequence[float]) -> float:
    """Return the largest accepted difference, in points, of the mean of `ours` (percent, one per seed) to the published value.

    max(1, 2 sqrt(s_pub^2 / n_pub + s_ours^2 / n_ours)); 2 if no standard deviation is published. With one seed of our own, its
    unknown variance counts as 0.

    >>> tolerance(Published(90.0, std=3.0, n=9), [88.0])
    2.0
    """
    if published.std is None or published.n is None:
        return WITHOUT_STD
    spread = std(ours) or 0.0
    return max(LEAST, SPREADS * math.sqrt(published.std**2 / published.n + spread**2 / len(ours)))


def judge(published: Published, ours: Sequence[float], failed: int = 0) -> Verdict:
    """Return the verdict on the mean of `ours` (percent, one per seed): inside the tolerance, above, below, or not run.

    With `failed` seeds there is no verdict: the mean over the other seeds is a selection by the outcome.
    """
    if failed:
        return "failed seeds"
    if not ours:
        return "not run"
    difference = mean(ours) - published.value
    if abs(difference) <= tolerance(published, ours):
        return "inside"
    return "above" if difference > 0 else "below"
