"""Progress of searches: trials done, the best so far, and the time left."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from clbench.runner.outcome import Outcome, Status
from clbench.runner.progress import Display, LiveDisplay, PlainDisplay
from clbench.runner.progress_text import duration, summary
from clbench.tuning.choice import describe
from clbench.tuning.objectives import OBJECTIVES
from clbench.tuning.proposals import State, Trial, best
from clbench.tuning.search import Search
from clbench.utils import markup

NAME = 60
"""Columns of a study's name."""


class SearchDisplay(Display):
    """The silent display of searches, and what all of them know.

    Args:
        searches: in progress.
    """

    def __init__(self, searches: Sequence[Search]) -> None:
        self.searches, self.begun = list(searches), monotonic()

    def moved(self) -> None:
        """Show that trials may have ended."""


class PlainSearchDisplay(SearchDisplay, PlainDisplay):
    """One line per trial."""

    def __init__(self, console: Console, searches: Sequence[Search]) -> None:
        SearchDisplay.__init__(self, searches)
        PlainDisplay.__init__(self, console)
        self._said: set[tuple[int, int]] = set()

    def finished(self, outcome: Outcome) -> None:
        """Write a run that failed; the others are parts of a trial."""
        self._active.pop(outcome.spec.id, None)
        if outcome.status is Status.FAILED:
            self._line(summary(outcome))

    def moved(self) -> None:
        """Write a line for each trial that has ended."""
        for number, search in enumerate(self.searches):
            for trial in search.trials:
                if trial.state is not State.RUNNING and (number, trial.number) not in self._said:
                    self._said.add((number, trial.number))
                    left = remaining(self.searches, self.begun)
                    self._line(f"{search.plan.label}: {said(search, trial)}{f', {left} left' if left else ''}")


class LiveSearchDisplay(SearchDisplay, LiveDisplay):
    """A line per search above the runs in progress, redrawn in place."""

    def __init__(self, console: Console, searches: Sequence[Search]) -> None:
        SearchDisplay.__init__(self, searches)
        LiveDisplay.__init__(self, console)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw."""
        lines = Table.grid(padding=(0, 2))
        for search in self.searches:
            ended = sum(trial.state is not State.RUNNING for trial in search.trials)
            found = best(search.tuning, search.trials)
            value = "" if found is None else f"best {found.value(0.0):.1f}"
            words = "" if found is None else describe(search.plan.space.decode(found.params))
            name = Text(markup.name(search.plan.label, NAME), style="bold")
            lines.add_row(name, f"{ended}/{search.tuning.trials} trials", value, Text(words))
        self.total = self.ended + expected(self.searches) if any(not search.done for search in self.searches) else self.ended
        yield lines
        yield from LiveDisplay.__rich_console__(self, console, options)


def search_display(console: Console, searches: Sequence[Search], progress: bool = True) -> SearchDisplay:
    """Return the display for this console."""
    if not progress:
        return SearchDisplay(searches)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveSearchDisplay(console, searches)
    return PlainSearchDisplay(console, searches)


def expected(searches: Sequence[Search]) -> int:
    """Return how many runs are still to come, at most."""
    left = 0
    for search in searches:
        if search.broken is None:
            seeds = len(search.tuning.search_seeds)
            running = [trial for trial in search.trials if trial.state is State.RUNNING]
            left += seeds * (search.tuning.trials - len(search.trials)) + sum(seeds - len(trial.scores) for trial in running)
    return left


def remaining(searches: Sequence[Search], begun: float) -> str:
    """Return the time left, from the time per run so far; empty if nothing is known or left."""
    done = sum(len(trial.scores) for search in searches for trial in search.trials)
    left = expected(searches)
    return duration((monotonic() - begun) * left / done) if done and left else ""


def said(search: Search, trial: Trial) -> str:
    """Return the end of a trial in words."""
    worst = OBJECTIVES[search.tuning.objective].worst
    ends = {State.PRUNED: f"ended early at {trial.value(worst):.1f}", State.DIVERGED: "diverged"}
    end = ends.get(trial.state, f"{trial.value(worst):.1f}")
    found = best(search.tuning, search.trials)
    top = "" if found is None else f" (best {found.value(worst):.1f}, trial {found.number})"
    values = describe(search.plan.space.decode(trial.params))
    return f"trial {trial.number + 1}/{search.tuning.trials}: {end} with {values}{top}"
