"""How a sweep is shown while it runs: live on a terminal, one plain line per finished run elsewhere, or not at all."""

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

if TYPE_CHECKING:
    from clbench.runner.outcome import Outcome

WORDS = {"done": "", "present": "already there", "busy": "in progress elsewhere", "failed": "FAILED"}
REMEDY = " -> "
"""What follows it in a reason is told once, at the end."""
BAR = 32
"""Columns of the progress bar."""


class Display:
    """The silent display, and what a display is."""

    @contextmanager
    def shown(self, total: int, workers: int) -> Iterator[None]:
        """Be on show while `total` runs go through `workers` processes; 0: it is not known how many."""
        yield

    def event(self, spec: RunSpec, message: Mapping[str, Any]) -> None:
        """Take note of progress within a run (`begin`, `start`, `epoch`, `task`, `print`, `again`)."""

    def finished(self, outcome: Outcome) -> None:
        """Take note of the end of a run."""

    def postponed(self, outcome: Outcome) -> None:
        """Take note that another process is at a run, which is tried again later."""

    def waiting(self, elsewhere: Sequence[Outcome], seconds: float | None) -> None:
        """Take note that nothing is left to do but to wait for runs in progress elsewhere, at most so many seconds each."""


class PlainDisplay(Display):
    """One line per finished run, without control codes.

    Args:
        console: where to write.
    """

    def __init__(self, console: Console) -> None:
        self.console, self.total, self.ended = console, 0, 0

    @contextmanager
    def shown(self, total: int, workers: int) -> Iterator[None]:
        """Write lines from here on."""
        self.total, self.ended = total, 0
        self._line(f"{total} {'run' if total == 1 else 'runs'} to train" + (f", {workers} at a time" if workers else ""))
        yield

    def event(self, spec: RunSpec, message: Mapping[str, Any]) -> None:
        """Pass on what the console logger says, and which runs are tried again."""
        if message["event"] == "again":
            self._line(message["text"])
        if message["event"] == "print":
            self.console.print(Text.from_ansi(message["text"]), soft_wrap=True)

    def finished(self, outcome: Outcome) -> None:
        """Write the line of a run."""
        self.ended += 1
        self._line(f"{self.ended}/{self.total} {summary(outcome)}")

    def waiting(self, elsewhere: Sequence[Outcome], seconds: float | None) -> None:
        """Say what is waited for."""
        self._line(waiting_for(elsewhere, seconds))

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
        """Redraw a few times per second; what is printed meanwhile appears above."""
        self.total, self.ended, self.failures, self.begun = total, 0, 0, monotonic()
        self.active.clear()
        with Live(self, console=self.console, refresh_per_second=8, transient=False):
            yield

    def event(self, spec: RunSpec, message: Mapping[str, Any]) -> None:
        """Keep the newest of each piece of news about a run."""
        if message["event"] == "print":
            self.console.print(Text.from_ansi(message["text"]))
            return
        if message["event"] == "again":
            self.active.pop(spec.id, None)
            self.console.print(Text(message["text"], style="yellow"))
            return
        _, state = self.active.setdefault(spec.id, (spec, {"begun": monotonic()}))
        news = {key: value for key, value in message.items() if key != "event"}
        tasks = news.get("tasks") or state.get("tasks") or 1
        if message["event"] == "start":
            news["task"] = news["resumed_at"]
        elif message["event"] == "epoch":
            news["task"] = min(news["task"], tasks - 1)  # a method that learns all tasks at once is at its only one
        elif message["event"] == "task":
            news.update(task=min(news["task"] + 1, tasks), epoch=None)
        state.update(news)

    def finished(self, outcome: Outcome) -> None:
        """Take a run off the list."""
        self.active.pop(outcome.spec.id, None)
        self.ended += 1
        self.failures += outcome.status == "failed"
        if outcome.status != "done":
            self.console.print(Text(summary(outcome), style="red" if outcome.status == "failed" else "yellow"))

    def postponed(self, outcome: Outcome) -> None:
        """Take a run off the list; it does not count as ended."""
        self.active.pop(outcome.spec.id, None)

    def waiting(self, elsewhere: Sequence[Outcome], seconds: float | None) -> None:
        """Say what is waited for."""
        self.console.print(Text(waiting_for(elsewhere, seconds), style="yellow"))

    def done(self) -> float:
        """Return how much is done, in runs, those in progress counted by their share."""
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
    """Return the display that suits the console."""
    if not enabled:
        return Display()
    return LiveDisplay(console) if console.is_terminal and not console.is_dumb_terminal else PlainDisplay(console)


def summary(outcome: Outcome) -> str:
    """Return one line about a run that has ended."""
    parts = [outcome.spec.label, WORDS[outcome.status]]
    if outcome.accuracy is not None and outcome.status == "done":
        parts.append(f"accuracy {outcome.accuracy:.1f}")
    if outcome.seconds:
        parts.append(f"{outcome.seconds:.1f} s")
    return "  ".join(part for part in parts if part) + (f": {outcome.reason.split(REMEDY)[0]}" if outcome.reason else "")


def waiting_for(elsewhere: Sequence[Outcome], seconds: float | None) -> str:
    """Return one line about runs that other processes are at."""
    runs = "1 run" if len(elsewhere) == 1 else f"{len(elsewhere)} runs"
    others = ", ".join(dict.fromkeys(outcome.reason for outcome in elsewhere))
    limit = "" if seconds is None else f", at most {duration(seconds)} for the next to end"
    return f"waiting for {runs} in progress elsewhere ({others}){limit}"


def share(state: Mapping[str, Any]) -> float:
    """Return which share of a run is done, by its tasks and by the epochs of the current one."""
    tasks = state.get("tasks")
    if not tasks:
        return 0.0
    within = state["epoch"] / state["epochs"] if state.get("epoch") and state.get("epochs") else 0.0
    return float(min(1.0, (state.get("task", 0) + min(1.0, within)) / tasks))


def position(state: Mapping[str, Any]) -> list[str]:
    """Return where a run is: task, epoch, accuracy so far."""
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
