"""Means and intervals over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

LEVEL = 0.95
"""Confidence level of every interval in the suite."""


@dataclass(frozen=True)
class Interval:
    """A mean with its Student-t interval: `mean` +- `half_width` at 95 %. The width is None for fewer than two values."""

    mean: float
    half_width: float | None
    n: int


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean of at least one value."""
    return math.fsum(values) / len(values)


def std(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation (divisor n - 1); None for fewer than two values.

    >>> std([1.0, 2.0, 3.0])
    1.0
    """
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def half_width(values: Sequence[float]) -> float | None:
    """Return half the width of the 95 % interval of the mean: t(0.975, n-1) std / sqrt(n); None for fewer than two values.

    The interval uses Student's t. A percentile bootstrap over five seeds would cover about 84 % instead of 95 %.

    >>> round(half_width([1.0, 2.0, 3.0]), 3)
    2.484
    """
    deviation = std(values)
    return None if deviation is None else _quantile(len(values) - 1) * deviation / math.sqrt(len(values))


def interval(values: Sequence[float]) -> Interval:
    """Return mean and interval of at least one value."""
    return Interval(mean(values), half_width(values), len(values))


def paired_difference(left: Mapping[int, float], right: Mapping[int, float]) -> Interval | None:
    """Return mean and interval of left - right over the seeds that both have; None if they share none.

    Use this interval to decide whether two methods differ. In this suite methods are paired by seed: one seed means the same
    data order and the same initialisation.

    >>> paired_difference({0: 3.0, 1: 5.0}, {0: 2.0, 2: 9.0})
    Interval(mean=1.0, half_width=None, n=1)

    Args:
        left: seed -> value.
        right: seed -> value.
    """
    shared = sorted(left.keys() & right.keys())
    return interval([left[seed] - right[seed] for seed in shared]) if shared else None


@cache
def _quantile(degrees: int) -> float:
    """Return the upper quantile of Student's t for the interval's level.

    Bisection on the closed form of the distribution for whole degrees of freedom (Abramowitz & Stegun 26.7.3-4), with
    tan(angle) = t / sqrt(degrees). The import of scipy for this one number would take longer than the leaderboard itself.
    """
    low, high = 0.0, math.pi / 2
    while (angle := (low + high) / 2) not in (low, high):
        low, high = (angle, high) if _within(angle, degrees) < LEVEL else (low, angle)
    return math.sqrt(degrees) * math.tan(angle)


def _within(angle: float, degrees: int) -> float:
    """Return P(|t| <= sqrt(degrees) tan(angle))."""
    cosine, odd = math.cos(angle), degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for i in range(2 + odd, degrees + 1, 2):
        total += term
        term *= cosine**2 * (i - 1) / i
    if not odd:
        return math.sin(angle) * total
    return 2 / math.pi * (angle + math.sin(angle) * total)
