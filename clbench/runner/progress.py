"""The display of a sweep in progress: live on a terminal, else one plain line per finished run, or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from clbench.run_spec import RunSpec
from clbench.runner.outcome import Outcome, Status

if TYPE_CHECKING:
    from clbench.runner.worker_messages import Progress

WORDS = {
    Status.DONE: "",
    Status.PRESENT: "already there",
    Status.BUSY: "in progress elsewhere",
    Status.FAILED: "FAILED",
}
BAR = 32
"""Columns of the progress bar."""


class Display:
    """The silent display, and the interface of all displays."""

    @contextmanager
    def shown(self, total: int, workers: int) -> Iterator[None]:
        """Show progress within the block: `total` runs in `workers` processes; 0: an unknown number."""
        yield

    def event(self, spec: RunSpec, message: Progress) -> None:
        """Show progress within a run."""

    def finished(self, outcome: Outcome) -> None:
        """Show the end of a run."""

    def postponed(self, outcome: Outcome) -> None:
        """Show that another process executes a run, which will be tried again later."""

    def waiting(self, busy: Sequence[Outcome], seconds: float | None) -> None:
        """Show that only runs of other processes are left, and that each is waited for at most so many seconds."""


class PlainDisplay(Display):
    """One line per finished run, without control codes.

    Args:
        console: for the output.
    """

    def __init__(self, console: Console) -> None:
        self.console, self.total, self.ended = console, 0, 0

    @contextmanager
    def shown(self, total: int, workers: int) -> Iterator[None]:
        """Write the number of runs."""
        self.total, self.ended = total, 0
        self._line(f"{total} {'run' if total == 1 else 'runs'} to train" + (f", {workers} at a time" if workers else ""))
        yield

    def event(self, spec: RunSpec, message: Progress) -> None:
        """Write text of the console logger, and runs that are tried again."""
        if message["event"] == "again":
            self._line(message["text"])
        if message["event"] == "print":
            self.console.print(Text.from_ansi(message["text"]), soft_wrap=True)

    def finished(self, outcome: Outcome) -> None:
        """Write the line of a run."""
        self.ended += 1
        self._line(f"{self.ended}/{self.total} {summary(outcome)}")

    def waiting(self, busy: Sequence[Outcome], seconds: float | None) -> None:
        """Write what is waited for."""
        self._line(waiting_for(busy, seconds))

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveDisplay(Display):
    """The sweep as a whole and a line per run in progress, redrawn in place.

    Args:
        console: a terminal.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.total = self.ended = self.failures = 0
        self.begun = 0.0
        self.active: dict[str, tuple[RunSpec, dict[str, Any]]] = {}

    @contextmanager
    def shown(self, total: int, workers: int) -> Iterator[None]:
        """Redraw several times per second; printed text appears above."""
        self.total, self.ended, self.failures, self.begun = total, 0, 0, monotonic()
        self.active.clear()
        with Live(self, console=self.console, refresh_per_second=8, transient=False):
            yield

    def event(self, spec: RunSpec, message: Progress) -> None:
        """Keep the newest state of a run."""
        if message["event"] == "print":
            self.console.print(Text.from_ansi(message["text"]))
            return
        if message["event"] == "again":
            self.active.pop(spec.id, None)
            self.console.print(Text(message["text"], style="yellow"))
            return
        _, state = self.active.setdefault(spec.id, (spec, {"begun": monotonic()}))
        news: dict[str, Any] = {key: value for key, value in message.items() if key != "event"}
        tasks = news.get("tasks") or state.get("tasks") or 1
        if message["event"] == "start":
            news["task"] = news["resumed_at"]
        elif message["event"] == "epoch":
            news["task"] = min(news["task"], tasks - 1)  # a method that learns all tasks at once counts as one task
        elif message["event"] == "task":
            news.update(task=min(news["task"] + 1, tasks), epoch=None)
        state.update(news)

    def finished(self, outcome: Outcome) -> None:
        """Remove a run from the list."""
        self.active.pop(outcome.spec.id, None)
        self.ended += 1
        failed = outcome.status is Status.FAILED
        self.failures += failed
        if outcome.status is not Status.DONE:
            self.console.print(Text(summary(outcome), style="red" if failed else "yellow"))

    def postponed(self, outcome: Outcome) -> None:
        """Remove a run from the list without counting it as ended."""
        self.active.pop(outcome.spec.id, None)

    def waiting(self, busy: Sequence[Outcome], seconds: float | None) -> None:
        """Write what is waited for."""
        self.console.print(Text(waiting_for(busy, seconds), style="yellow"))

    def done(self) -> float:
        """Return how many runs are done; a run in progress counts by its share."""
        return self.ended + sum(share(state) for _, state in list(self.active.values()))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw."""
        elapsed, done = monotonic() - self.begun, self.done()
        left = f"{duration(elapsed * (self.total - done) / done)} left" if 0 < done < self.total else ""
        whole = Table.grid(padding=(0, 2))
        failures = Text(f"{self.failures} failed", style="red") if self.failures else ""
        whole.add_row(
            ProgressBar(total=self.total, completed=done, width=BAR),
            f"{self.ended}/{self.total} runs",
            duration(elapsed),
            left,
            failures,
        )
        runs = Table.grid(padding=(0, 2))
        for spec, state in list(self.active.values()):
            name = f"{spec.names['method']} ({spec.variant})" if spec.variant else spec.names["method"]
            runs.add_row(
                Text(f"  {name}", style="bold"),
                spec.names["scenario"],
                spec.setting,
                f"seed {spec.seed}",
                *position(state),
            )
        yield Group(whole, runs)


def display(console: Console, enabled: bool = True) -> Display:
    """Return the display for this console."""
    if not enabled:
        return Display()
    return LiveDisplay(console) if console.is_terminal and not console.is_dumb_terminal else PlainDisplay(console)


def summary(outcome: Outcome) -> str:
    """Return one line about a run that has ended; remedies are printed once, at the end of the sweep."""
    parts = [outcome.spec.label, WORDS[outcome.status]]
    if outcome.accuracy is not None and outcome.status is Status.DONE:
        parts.append(f"accuracy {outcome.accuracy:.1f}")
    if outcome.seconds:
        parts.append(f"{outcome.seconds:.1f} s")
    return "  ".join(part for part in parts if part) + (f": {outcome.reason}" if outcome.reason else "")


def waiting_for(busy: Sequence[Outcome], seconds: float | None) -> str:
    """Return one line about runs that other processes execute."""
    runs = "1 run" if len(busy) == 1 else f"{len(busy)} runs"
    others = ", ".join(dict.fromkeys(outcome.reason for outcome in busy))
    limit = "" if seconds is None else f", at most {duration(seconds)} until the next one ends"
    return f"waiting for {runs} in progress elsewhere ({others}){limit}"


def share(state: Mapping[str, Any]) -> float:
    """Return the finished share of a run, from its tasks and the epochs of the current task."""
    tasks = state.get("tasks")
    if not tasks:
        return 0.0
    within = state["epoch"] / state["epochs"] if state.get("epoch") and state.get("epochs") else 0.0
    return float(min(1.0, (state.get("task", 0) + min(1.0, within)) / tasks))


def position(state: Mapping[str, Any]) -> list[str]:
    """Return the position of a run: task, epoch, accuracy so far."""
    tasks = state.get("tasks")
    if not tasks:
        return ["starting", "", ""]
    epoch = f"epoch {state['epoch']}/{state['epochs']}" if state.get("epoch") else ""
    accuracy = f"accuracy {state['acc']:.1f}" if state.get("acc") is not None else ""
    return [f"task {min(state.get('task', 0) + 1, tasks)}/{tasks}", epoch, accuracy]


def duration(seconds: float) -> str:
    """Return seconds as `0:07` or `1:02:03`."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
