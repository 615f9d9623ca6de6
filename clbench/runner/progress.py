"""The display of a sweep in progress: live on a terminal, else one plain line per finished run, or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from clbench.run_spec import RunSpec
from clbench.runner.outcome import Outcome, Status
from clbench.runner.progress_text import duration, position, share, stalled, summary, waiting_for
from clbench.utils import markup

if TYPE_CHECKING:
    from clbench.runner.worker_messages import Progress

STALLED_HINT = "runner.time_limit=SECONDS ends such runs, runner.stall_notice=null hides this line"
WORK_FIRST, WORK_LINES = 5.0, 30.0
"""Seconds until the plain display's first line about one-time work, and between two lines."""
BAR = 32
"""Columns of the progress bar."""
NAME = 60
"""Columns of a name in the live display; the rest of a longer name is left out."""


@dataclass
class _Watched:
    """What the plain display knows about a run in progress.

    Args:
        spec: the run.
        life: time of its last sign of life.
        said: seconds without a step, as last written; 0: nothing was written.
        work: one-time work in progress; empty: none.
        next: time of the next line about the work.
    """

    spec: RunSpec
    life: float
    said: float = 0.0
    work: str = ""
    next: float = 0.0

    def note(self, work: str) -> None:
        """Take the progress of one-time work; short work is not written."""
        if not self.work:
            self.next = monotonic() + WORK_FIRST
        self.work = work


class Display:
    """The silent display, and the interface of all displays."""

    @contextmanager
    def shown(self, total: int, workers: int) -> Iterator[None]:
        """Show progress within the block: `total` runs in `workers` processes; 0: an unknown number."""
        yield

    def event(self, spec: RunSpec, message: Progress) -> None:
        """Show progress within a run."""

    def tick(self) -> None:
        """Show what only the passing of time tells: a run without a step, long one-time work. Called about every second."""

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
        self._active: dict[str, _Watched] = {}

    @contextmanager
    def shown(self, total: int, workers: int) -> Iterator[None]:
        """Write the number of runs."""
        self.total, self.ended = total, 0
        self._active.clear()
        self._line(f"{total} {'run' if total == 1 else 'runs'} to train" + (f", {workers} at a time" if workers else ""))
        yield

    def event(self, spec: RunSpec, message: Progress) -> None:
        """Write text of the console logger, and runs that are tried again."""
        if message["event"] == "again":
            self._active.pop(spec.id, None)
            self._line(message["text"])
            return
        watched = self._active.setdefault(spec.id, _Watched(spec, monotonic()))
        watched.life, watched.said = monotonic(), 0.0
        if message["event"] == "work":
            watched.note(message["text"])
        if message["event"] == "print":
            self.console.print(Text.from_ansi(markup.coloured(message["text"])), soft_wrap=True)

    def tick(self) -> None:
        """Write how far long one-time work is, and which runs take no step."""
        now, silent = monotonic(), dict[str, list[str]]()
        for watched in list(self._active.values()):
            if watched.work and now >= watched.next:
                watched.next = now + WORK_LINES
                self._line(f"{watched.spec.label}: {watched.work}")
            quiet = stalled(watched.spec, now - watched.life)
            if quiet and now - watched.life >= 2 * watched.said:  # after 10, 20, 40 minutes, ...
                watched.said = now - watched.life
                silent.setdefault(quiet, []).append(watched.spec.label)
        for quiet, labels in silent.items():
            self._line(f"{quiet}: {', '.join(labels)} ({STALLED_HINT})")

    def finished(self, outcome: Outcome) -> None:
        """Write the line of a run."""
        self._active.pop(outcome.spec.id, None)
        self.ended += 1
        self._line(f"{self.ended}/{self.total} {summary(outcome)}")

    def postponed(self, outcome: Outcome) -> None:
        """Forget a run of another process."""
        self._active.pop(outcome.spec.id, None)

    def waiting(self, busy: Sequence[Outcome], seconds: float | None) -> None:
        """Write what is waited for."""
        self._line(waiting_for(busy, seconds))

    def _line(self, text: str) -> None:
        markup.show(self.console, text)


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
            self.console.print(Text.from_ansi(markup.coloured(message["text"])))
            return
        if message["event"] == "again":
            self.active.pop(spec.id, None)
            markup.show(self.console, message["text"], "yellow", soft_wrap=False)
            return
        _, state = self.active.setdefault(spec.id, (spec, {"begun": monotonic()}))
        state["life"] = monotonic()
        if message["event"] == "work":
            state["work"] = message["text"]
        if message["event"] in ("work", "alive"):
            return
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
            markup.show(self.console, summary(outcome), "red" if failed else "yellow", soft_wrap=False)

    def postponed(self, outcome: Outcome) -> None:
        """Remove a run from the list without counting it as ended."""
        self.active.pop(outcome.spec.id, None)

    def waiting(self, busy: Sequence[Outcome], seconds: float | None) -> None:
        """Write what is waited for."""
        markup.show(self.console, waiting_for(busy, seconds), "yellow", soft_wrap=False)

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
                Text(f"  {markup.name(name, NAME)}", style="bold"),
                Text(markup.name(spec.names["scenario"], NAME)),
                Text(markup.name(spec.setting, NAME)),
                f"seed {spec.seed}",
                *position(state),
                Text(state.get("work") or ""),
                Text(stalled(spec, monotonic() - state["life"]), style="red"),
            )
        yield Group(whole, runs)


def display(console: Console, enabled: bool = True) -> Display:
    """Return the display for this console."""
    if not enabled:
        return Display()
    return LiveDisplay(console) if console.is_terminal and not console.is_dumb_terminal else PlainDisplay(console)
