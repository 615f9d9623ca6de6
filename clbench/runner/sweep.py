"""What every way of starting runs has in common: jobs are run, then the leaderboard and a summary are shown."""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from clbench.config.job import Job
from clbench.errors import ClbenchError, StoreError
from clbench.leaderboard.rows import rows, usable
from clbench.leaderboard.tables import print_table, render
from clbench.records import Record, load_all, read, record_path
from clbench.run_spec import RunSpec
from clbench.runner.device_memory import Limits
from clbench.runner.execute import LOGS, TRIAL, failure_log, one_line
from clbench.runner.outcome import Outcome
from clbench.runner.progress import Display, display
from clbench.runner.run_specs import run_specs

WIDTH = 160
"""Columns of a table that is not shown on a terminal."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


@dataclass(frozen=True)
class Broken:
    """A job that could not even be described: its overrides, and what is wrong."""

    label: str
    error: ClbenchError


@dataclass
class Summary:
    """What became of a command.

    Args:
        outcomes: of every run.
        broken: jobs that could not be described.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """How many runs and jobs failed."""
        return len(self.broken) + sum(outcome.status == "failed" for outcome in self.outcomes)

    def records(self, job: Job) -> list[Record]:
        """Return the stored records of a job's runs.

        Raises:
            StoreError: one cannot be read.
        """
        paths = [record_path(Path(spec.results_dir), spec.id) for spec in job.specs()]
        return [read(path) for path in paths if path.exists()]

    def accuracy(self, job: Job) -> float:
        """Return a job's final accuracy in percent, averaged over its seeds; NaN if one of them has failed."""
        ids = {spec.id for spec in job.specs()}
        if any(outcome.spec.id in ids and outcome.status in ("failed", "busy") for outcome in self.outcomes):
            return float("nan")
        values = [row["acc"] for row in rows(self.records(job))]
        return float(values[0]) if values and values[0] is not None else float("nan")


def run_jobs(
    jobs: Sequence[Job],
    broken: Sequence[Broken] = (),
    workers: int | str | None = None,
    progress: bool = True,
    report: bool = True,
    trial: str = TRIAL,
    logs: str = LOGS,
    elsewhere: Callable[[Sequence[Sequence[RunSpec]], Display], list[Outcome]] | None = None,
) -> Summary:
    """Run all runs of `jobs`, write the leaderboard of each results folder, and say what became of it all.

    Args:
        jobs: runner settings are those of the first.
        broken: jobs that are already known to have failed.
        workers: instead of what the jobs say.
        progress: whether to show progress.
        report: whether to print the leaderboard and the summary.
        trial: dotted name of the function that trains.
        logs: folder within the results folder for what workers print.
        elsewhere: runs the runs of each job instead of this process and its workers.

    Raises:
        ClbenchError: nothing could be run at all (folder, device).
        KeyboardInterrupt: passed on.
    """
    console = output()
    shown = display(console, progress)
    if elsewhere is not None:
        outcomes = elsewhere([job.specs() for job in jobs], shown)
    else:
        specs = [spec for job in jobs for spec in job.specs()]
        specs = [replace(spec, n_runs=len(specs), color=console.is_terminal) for spec in specs]
        wanted = workers if workers is not None else jobs[0].workers if jobs else 0
        limits = Limits(**jobs[0].memory) if jobs else None
        wait = jobs[0].wait if jobs else 0
        stack = jobs[0].stack if jobs else 1
        outcomes = run_specs(specs, shown, wanted, trial, limits, wait, logs, stack)
    summary = Summary(outcomes, list(broken))
    for folder in dict.fromkeys(job.results_dir for job in jobs):
        mine = [outcome for outcome in outcomes if outcome.spec.results_dir == folder]
        conclude(Path(folder), mine, console if report else None)
    if report:
        console.print(verdict(summary), markup=False, highlight=False, soft_wrap=True)
        for line in failures(summary):
            errors().print(line, markup=False, highlight=False, soft_wrap=True)
    return summary


def conclude(folder: Path, outcomes: Iterable[Outcome], console: Console | None) -> None:
    """Write `leaderboard.md` for the whole folder, and print the rows that `outcomes` belong to."""
    if not folder.is_dir():
        return
    with alone(folder):  # from reading on, so that no older table replaces a newer one
        records, unreadable = load_all(folder)
        good, unusable = usable(records)
        if good:
            write_text(folder / "leaderboard.md", render(rows(good), "markdown") + "\n")
    if console is None:
        return
    touched = {outcome.spec.config_id for outcome in outcomes}
    shown = rows(record for record in good if record.config_id in touched)
    if shown:
        print_table(shown, console)
    own = {str(record_path(folder, outcome.spec.id)) for outcome in outcomes if outcome.status == "failed"}
    for error in [*unreadable, *unusable]:
        if not any(path in str(error) for path in own):  # it is told as the failure of its run
            errors().print(f"left out: {one_line(error)}", markup=False, highlight=False, soft_wrap=True)


def verdict(summary: Summary) -> str:
    """Return the last line: how many runs were trained, were there already, failed, and where things are."""
    count = Counter(outcome.status for outcome in summary.outcomes)
    folders = ", ".join(dict.fromkeys(outcome.spec.results_dir for outcome in summary.outcomes))
    if summary.outcomes and count["present"] == len(summary.outcomes) and not summary.broken:
        runs = "the run was" if count["present"] == 1 else f"all {count['present']} runs were"
        return f"Nothing to train: {runs} already there in {folders}."
    parts = [f"{count['done']} trained", f"{count['present']} already there"]
    if count["busy"]:
        parts.append(f"{count['busy']} in progress elsewhere")
    text = ", ".join([*parts, f"{summary.failed} failed"])
    return f"{text} (records and leaderboard.md: {folders})" if folders else text


def failures(summary: Summary) -> list[str]:
    """Return one line per failure."""
    lines = [f"failed: {broken.label}: {one_line(broken.error)}" for broken in summary.broken]
    told = ""
    for outcome in summary.outcomes:
        if outcome.status == "failed":
            log = failure_log(outcome.spec)
            reason = "as the one before" if outcome.reason == told else outcome.reason
            told = outcome.reason
            lines.append(f"failed: {outcome.spec.label}: {reason}" + (f" [{log}]" if log.exists() else ""))
    return lines


def interrupted() -> str:
    """Return what is said after Ctrl-C."""
    return "\nStopped. Finished runs are stored; the same command goes on from here."


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, within `alone`; what a killed process left half-written is overwritten.

    Raises:
        StoreError: it cannot be written; what was there is still there.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{path} cannot be written: {error.strerror or error}", "free space, or check permissions") from error


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one process at a time write tables into `folder`, where its file system can tell; a killed one is out of the way."""
    with ExitStack() as stack:
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def output() -> Console:
    """Return the console for results; where it is no terminal, tables get room and nothing is coloured."""
    console = Console()
    return console if console.is_terminal or console.is_jupyter else Console(width=WIDTH)


def errors() -> Console:
    """Return the console for what went wrong."""
    return Console(stderr=True)
