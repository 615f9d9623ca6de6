"""The common part of all ways to start runs: execute the jobs, then write the leaderboard and a summary."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from clbench.config.job import Job
from clbench.config.objective import TEST
from clbench.errors import ClbenchError, StoreError
from clbench.execution import Execution
from clbench.leaderboard.entries import Entry, load_entries
from clbench.leaderboard.rows import Row, rows
from clbench.leaderboard.tables import print_table, render
from clbench.records import Record, read, record_path
from clbench.run_spec import RunSpec
from clbench.runner.device_memory import Limits
from clbench.runner.dry_run import plan
from clbench.runner.execute import LOGS, RUN_FUNCTION, failure_log, one_line
from clbench.runner.outcome import Outcome, Status
from clbench.runner.progress import Display, display
from clbench.runner.run_specs import run_specs
from clbench.sources.changes import changed
from clbench.store.failures import FOLDER, load_failures
from clbench.store.results_folder import there
from clbench.utils import atomic, markup
from clbench.utils.folder_lock import folder_lock
from clbench.utils.tolerant import tolerant

WIDTH = 160
"""Columns of a table outside a terminal."""
MOST = 200
"""Rows of a table after a command: nobody reads more in a terminal, and a sweep may have thousands."""
FEWEST = 5
"""Rows of each scenario and setting in a shortened table."""
TABLE = "leaderboard.md"
"""File in the results folder."""


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
        entries: what the tables know of the records, by the id of the run.
        dry: whether nothing was to be trained (`runner.dry`).
    """

    outcomes: list[Outcome] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    dry: bool = False

    @property
    def failed(self) -> int:
        """Number of failed runs and jobs."""
        return len(self.broken) + sum(outcome.status is Status.FAILED for outcome in self.outcomes)

    @cached_property
    def _unfinished(self) -> set[str]:
        """The ids of runs without a result."""
        return {outcome.spec.id for outcome in self.outcomes if outcome.status in (Status.FAILED, Status.BUSY)}

    def records(self, job: Job) -> list[Record]:
        """Return the stored records of a job's runs.

        Raises:
            StoreError: a record cannot be read.
        """
        paths = [record_path(Path(spec.results_dir), spec.id) for spec in job.specs()]
        return [read(path) for path in paths if os.path.lexists(path)]

    def objective(self, job: Job) -> float:
        """Return a job's objective in percent, averaged over its seeds; NaN without all of them, and where it is undefined.

        It is measured on validation splits if the job measures them, unless the objective insists on the test stream.
        """
        ids = [spec.id for spec in job.specs()]
        if self.dry or not self._unfinished.isdisjoint(ids) or not all(run in self.entries for run in ids):
            return float("nan")
        name, on_test = job.objective.removeprefix(TEST), job.objective.startswith(TEST)
        found = [self.entries[run] for run in ids]
        values = [(each.valid if each.valid and not on_test else {**each.metrics, **each.overall}).get(name) for each in found]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else float("nan")


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
    if any(job.execution.dry for job in jobs):
        for line in plan(jobs, len(broken), workers):
            markup.show(console, line)
        planned = Summary([], list(broken), dry=True)
        for line in failures(planned):
            markup.show(errors(), line)
        return planned
    shown = display(console, progress)
    if progress or report:
        for place, identities in _by_folder(jobs):
            for line in changed(identities, place):
                markup.show(console, line)
    if external is not None:
        outcomes = external([job.specs() for job in jobs], shown)
    else:
        specs = [spec for job in jobs for spec in job.specs()]
        specs = [replace(spec, n_runs=len(specs), color=console.is_terminal) for spec in specs]
        how = jobs[0].execution if jobs else Execution()
        limits = Limits(how.memory_share, how.memory_unknown, how.memory_context, how.memory_margin)  # type: ignore[arg-type]
        wanted = how.workers if workers is None else workers
        outcomes = run_specs(specs, shown, wanted, function, limits, how.wait, logs, how.stack)
    summary = Summary([still_stored(outcome) for outcome in outcomes], list(broken))
    for folder in dict.fromkeys(job.results_dir for job in jobs):
        mine = [outcome for outcome in summary.outcomes if outcome.spec.results_dir == folder]
        summary.entries.update(conclude(Path(folder), mine, console if report else None))
    if report:
        markup.show(console, verdict(summary))
        for line in filter(None, [*failures(summary), not_trained_again(summary)]):
            markup.show(errors(), line)
    return summary


def still_stored(outcome: Outcome) -> Outcome:
    """Return the outcome of a run, which is a failure if its record was removed while the command was under way."""
    if outcome.status not in (Status.DONE, Status.PRESENT) or outcome.spec.record_file.exists():
        return outcome
    reason = f"its record was removed from results_dir={outcome.spec.results_dir} while the command was under way"
    return replace(outcome, status=Status.FAILED, reason=reason, remedy="put it back, or start the same command again")


def _by_folder(jobs: Iterable[Job]) -> list[tuple[Path, list[dict[str, Any]]]]:
    """Return the identities of the runs of each results folder."""
    found: dict[str, list[dict[str, Any]]] = {}
    for job in jobs:
        found.setdefault(job.results_dir, []).extend(spec.identity for spec in job.specs())
    return [(Path(folder), identities) for folder, identities in found.items()]


def conclude(folder: Path, outcomes: Iterable[Outcome], console: Console | None) -> dict[str, Entry]:
    """Write `leaderboard.md` for the whole folder, and print the rows of `outcomes`; return what tables know, by run."""
    outcomes = list(outcomes)
    if not folder.is_dir() or not all(there(folder, mark) for mark in {outcome.spec.mark for outcome in outcomes} if mark):
        return {}
    unwritten = ""
    with folder_lock(folder):  # includes the reading, so that no older table replaces a newer one
        good, unreadable = load_entries(folder)
        failures, damaged = load_failures(folder)
        if good or failures:
            unwritten = update(folder / TABLE, render(rows(good, failures), "markdown") + "\n")
    known = {each.id: each for each in good}
    if console is None:
        return known
    if unwritten:
        markup.show(errors(), unwritten)
    touched = {outcome.spec.config_id for outcome in outcomes}
    shown = rows(
        [each for each in good if each.config_id in touched],
        [failure for failure in failures if failure.config_id in touched],
    )
    if shown:
        brief = best(shown, MOST)
        print_table(brief, console)
        if len(brief) < len(shown):
            text = f"{len(brief)} of {len(shown)} rows, the best of each table; all are in {folder / 'leaderboard.md'}"
            markup.show(console, text)
    own = {str(record_path(folder, outcome.spec.id)) for outcome in outcomes if outcome.status is Status.FAILED}
    for error in [*unreadable, *damaged]:
        if not any(path in str(error) for path in own):  # the failure of its run is printed anyway
            markup.show(errors(), f"left out: {one_line(error)}")
    return known


def best(shown: Sequence[Row], most: int) -> list[Row]:
    """Return about `most` rows: of each scenario and setting as many, in their order."""
    if len(shown) <= most:
        return list(shown)
    tables: dict[tuple[object, object], list[Row]] = {}
    for row in shown:
        tables.setdefault((row["scenario"], row["setting"]), []).append(row)
    each = max(FEWEST, most // len(tables))
    return [row for table in tables.values() for row in table[:each]]


def update(path: Path, text: str) -> str:
    """Write a table that can be made again at any time. Return why it cannot be written, in one line; else nothing."""
    try:
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            atomic.write(path, text, shared=False)
    except (StoreError, OSError, UnicodeDecodeError) as error:
        return f"not updated: {one_line(error)}"
    return ""


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
    left = sum(not outcome.begun for outcome in summary.outcomes)
    for outcome in summary.outcomes:
        if outcome.status is Status.FAILED and outcome.begun:
            log = failure_log(outcome.spec)
            reason = "same reason as before" if outcome.text == last else outcome.text
            last = outcome.text
            word = "failed earlier" if outcome.earlier else "failed"
            lines.append(f"{word}: {outcome.spec.label}: {reason}" + (f" [{log}]" if log.exists() else ""))
    if left:
        lines.append(
            f"not begun: {left} {'run' if left == 1 else 'runs'}, since no record could be stored; start the same command again"
        )
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


def output() -> Console:
    """Return the console for results; outside a terminal it is wide and without colours."""
    console = Console(file=tolerant(sys.stdout))
    return console if console.is_terminal or console.is_jupyter else Console(file=tolerant(sys.stdout), width=WIDTH)


def errors() -> Console:
    """Return the console for errors."""
    return Console(file=tolerant(sys.stderr))
