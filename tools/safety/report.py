"""The outcome of a program of this folder: counts by kind, and one line for each violation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Report:
    """What a program tried, and what went wrong.

    Args:
        counts: number of cases of each kind.
        violations: one line each; empty if everything was met as it should be.
    """

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        """Exit status: 1 with a violation, 0 without."""
        return int(bool(self.violations))

    def text(self) -> str:
        """Return the counts, the violations and a last line with both sums."""
        width = max((len(kind) for kind in self.counts), default=0)
        lines = [f"{kind:<{width}}  {count}" for kind, count in self.counts.items()]
        lines += [f"violation: {' '.join(line.splitlines())}" for line in self.violations]
        return "\n".join([*lines, f"{sum(self.counts.values())} cases, {len(self.violations)} violations"])
