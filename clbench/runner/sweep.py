"""The common part of all ways to start runs: execute the jobs, then write the leaderboard and a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from clbench.config.job import Job
from clbench.errors import ClbenchError
from clbench.execution import Execution
from clbench.leaderboard.rows import rows, usable
from clbench.leaderboard.tables import print_table, render
from clbench.records import Record, load_all, read, record_path
from clbench.run_spec import RunSpec
from clbench.runner.device_memory import Limits
from clbench.runner.execute import LOGS, RUN_FUNCTION, failure_log, one_line
from clbench.runner.outcome import Outcome, Status
from clbench.runner.progress import Display, display
from clbench.runner.run_specs import run_specs
from clbench.sources.changes import changed
from clbench.store.failures import FOLDER, load_failures
from clbench.utils import atomic
from clbench.utils.folder_lock import folder_lock

WIDTH = 160
"""Columns of a table outside a terminal."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as in shells."""


@dataclass(frozen=True)
class Broken:
    """A job without a valid configuration: its overrides, and the error."""

    label: str
    error: ClbenchError


@dataclass
class Summary:
    """The result of a command.

    Args:
        outcomes: the outcome of every run.
        broken: jobs without a valid configuration.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Number of failed runs and jobs."""
        return len(self.broken) + sum(outcome.status is Status.FAILED for outcome in self.outcomes)

    def records(self, job: Job) -> list[Record]:
        """Return the stored records of a job's runs.

        Raises:
            StoreError: a record cannot be read.
        """
        paths = [record_path(Path(spec.results_dir), spec.id) for spec in job.specs()]
        return [read(path) for path in paths if path.exists()]

    def accuracy(self, job: Job) -> float:
        """Return a job's final accuracy in percent, averaged over its seeds; NaN if one of its runs has failed."""
        ids = {spec.id for spec in job.specs()}
        if any(outcome.spec.id in ids and outcome.status in (Status.FAILED, Status.BUSY) for outcome in self.outcomes):
            return float("nan")
        values = [row["acc"] for row in rows(self.records(job))]
        return float(values[0]) if values and values[0] is not None else float("nan")


def run_jobs(
    jobs: Sequence[Job],
    broken: Sequence[Broken] = (),
    workers: int | str | None = None,
    progress: bool = True,
    report: bool = True,
    function: str = RUN_FUNCTION,
    logs: str = LOGS,
    external: Callable[[Sequence[Sequence[RunSpec]], Display], list[Outcome]] | None = None,
) -> Summary:
    """Execute all runs of `jobs`, write the leaderboard of each results folder, and print a summary.

    Args:
        jobs: the settings of the runner are those of the first job.
        broken: jobs that have failed before.
        workers: overrules the number of workers of the jobs.
        progress: whether to show progress.
        report: whether to print the leaderboard and the summary.
        function: dotted name of the function that trains a run.
        logs: folder within the results folder for the output of workers.
        external: executes the runs of each job in place of this process and its workers.

    Raises:
        ClbenchError: no run could start (folder, device).
        KeyboardInterrupt: passed on.
    """
    console = output()
    shown = display(console, progress)
    if progress or report:
        for place, identities in _by_folder(jobs):
            for line in changed(identities, place):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
    if external is not None:
        outcomes = external([job.specs() for job in jobs], shown)
    else:
        specs = [spec for job in jobs for spec in job.specs()]
        specs = [replace(spec, n_runs=len(specs), color=console.is_terminal) for spec in specs]
        how = jobs[0].execution if jobs else Execution()
        limits = Limits(how.memory_share, how.memory_unknown, how.memory_context, how.memory_margin)  # type: ignore[arg-type]
        wanted = how.workers if workers is None else workers
        outcomes = run_specs(specs, shown, wanted, function, limits, how.wait, logs, how.stack)
    summary = Summary(outcomes, list(broken))
    for folder in dict.fromkeys(job.results_dir for job in jobs):
        mine = [outcome for outcome in outcomes if outcome.spec.results_dir == folder]
        conclude(Path(folder), mine, console if report else None)
    if report:
        console.print(verdict(summary), markup=False, highlight=False, soft_wrap=True)
        for line in filter(None, [*failures(summary), not_trained_again(summary)]):
            errors().print(line, markup=False, highlight=False, soft_wrap=True)
    return summary


def _by_folder(jobs: Iterable[Job]) -> list[tuple[Path, list[dict[str, Any]]]]:
    """Return the identities of the runs of each results folder."""
    found: dict[str, list[dict[str, Any]]] = {}
    for job in jobs:
        found.setdefault(job.results_dir, []).extend(spec.identity for spec in job.specs())
    return [(Path(folder), identities) for folder, identities in found.items()]


def conclude(folder: Path, outcomes: Iterable[Outcome], console: Console | None) -> None:
    """Write `leaderboard.md` for the whole folder, and print the rows of `outcomes`."""
    if not folder.is_dir():
        return
    with folder_lock(folder):  # includes the reading, so that no older table replaces a newer one
        records, unreadable = load_all(folder)
        good, unusable = usable(records)
        failures, damaged = load_failures(folder)
        if good or failures:
            atomic.write(folder / "leaderboard.md", render(rows(good, failures), "markdown") + "\n", shared=False)
    if console is None:
        return
    touched = {outcome.spec.config_id for outcome in outcomes}
    shown = rows(
        [record for record in good if record.config_id in touched],
        [failure for failure in failures if failure.config_id in touched],
    )
    if shown:
        print_table(shown, console)
    own = {str(record_path(folder, outcome.spec.id)) for outcome in outcomes if outcome.status is Status.FAILED}
    for error in [*unreadable, *unusable, *damaged]:
        if not any(path in str(error) for path in own):  # the failure of its run is printed anyway
            errors().print(f"left out: {one_line(error)}", markup=False, highlight=False, soft_wrap=True)


def verdict(summary: Summary) -> str:
    """Return the last line: how many runs were trained, were already there, and failed, and the folders."""
    count = Counter(outcome.status for outcome in summary.outcomes)
    folders = ", ".join(dict.fromkeys(outcome.spec.results_dir for outcome in summary.outcomes))
    earlier = sum(outcome.earlier for outcome in summary.outcomes)
    if summary.outcomes and count[Status.PRESENT] == len(summary.outcomes) and not summary.broken:
        runs = "the run was" if count[Status.PRESENT] == 1 else f"all {count[Status.PRESENT]} runs were"
        return f"Nothing to train: {runs} already there in {folders}."
    parts = [f"{count[Status.DONE]} trained", f"{count[Status.PRESENT]} already there"]
    if count[Status.BUSY]:
        parts.append(f"{count[Status.BUSY]} in progress elsewhere")
    repeated = f" ({earlier} of them in an earlier command, not trained again)" if earlier else ""
    text = ", ".join([*parts, f"{summary.failed} failed{repeated}"])
    return f"{text} (records and leaderboard.md: {folders})" if folders else text


def failures(summary: Summary) -> list[str]:
    """Return one line per failure."""
    lines = [f"failed: {broken.label}: {one_line(broken.error)}" for broken in summary.broken]
    last = ""
    for outcome in summary.outcomes:
        if outcome.status is Status.FAILED:
            log = failure_log(outcome.spec)
            reason = "same reason as before" if outcome.text == last else outcome.text
            last = outcome.text
            word = "failed earlier" if outcome.earlier else "failed"
            lines.append(f"{word}: {outcome.spec.label}: {reason}" + (f" [{log}]" if log.exists() else ""))
    return lines


def not_trained_again(summary: Summary) -> str:
    """Return one line about runs that failed in an earlier command; empty if there is none."""
    folders = [outcome.spec.results_dir for outcome in summary.outcomes if outcome.earlier]
    if not folders:
        return ""
    runs = "1 run failed earlier and was" if len(folders) == 1 else f"{len(folders)} runs failed earlier and were"
    places = ", ".join(dict.fromkeys(str(Path(folder) / FOLDER) for folder in folders))
    return (
        f"{runs} not trained again: the same code would fail again. "
        f"rerun=true trains all runs of the command again; to try only failed runs, delete {places}"
    )


def interrupted() -> str:
    """Return the message after Ctrl-C."""
    return "\nStopped. Finished runs are stored; the same command goes on from here."


def output() -> Console:
    """Return the console for results; outside a terminal it is wide and without colours."""
    console = Console()
    return console if console.is_terminal or console.is_jupyter else Console(width=WIDTH)


def errors() -> Console:
    """Return the console for errors."""
    return Console(stderr=True)
