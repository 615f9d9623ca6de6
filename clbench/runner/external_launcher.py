"""Jobs that another launcher runs, on this machine or others: what is left for them, how far they are, what became of them.

The launcher gives no news before all of its jobs have ended; the results folder does, since every run that is finished
leaves its record there.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from clbench.errors import ClbenchError, StoreError
from clbench.metrics.matrix import summary
from clbench.records import read, record_path
from clbench.run_spec import RunSpec
from clbench.runner.execute import log_failure, one_line
from clbench.runner.outcome import Outcome
from clbench.runner.run_specs import already, writable

if TYPE_CHECKING:
    from clbench.runner.progress import Display

Launch = Callable[[list[int]], Sequence[Exception | None]]
"""Has the jobs of these numbers run, and returns what each of them raised."""
PAUSE = 1.0
"""Seconds between two looks at the results folder."""
LONG = 300
"""Characters of what another program says of its failure that still fit into one line."""


class JobError(ClbenchError):
    """Runs of a job failed; it travels from the job's process to the one that launched it.

    Args:
        reasons: by id of the run, in one line each.
    """

    def __init__(self, what: str, reasons: Mapping[str, str] | None = None) -> None:
        super().__init__(what)
        self.reasons = dict(reasons or {})


def run_elsewhere(jobs: Sequence[Sequence[RunSpec]], display: Display, launch: Launch, name: str) -> list[Outcome]:
    """Have the jobs run that have something left to do, and return what became of every run, each id once.

    Args:
        jobs: the runs of each.
        display: shows progress.
        launch: runs jobs and returns when all have ended.
        name: of the launcher, for messages.

    Raises:
        StoreError: a results folder cannot be written to.
        KeyboardInterrupt: passed on; what was finished is stored.
    """
    job_of: dict[str, int] = {}
    specs: dict[str, RunSpec] = {}
    for number, job in enumerate(jobs):
        for spec in job:
            job_of.setdefault(spec.id, number)
            specs.setdefault(spec.id, spec)
    outcomes = {spec.id: found for spec in specs.values() if (found := already(spec)) is not None}
    todo = [spec for spec in specs.values() if spec.id not in outcomes]
    if not todo:
        return list(outcomes.values())
    for folder in {spec.results_dir for spec in todo}:
        writable(Path(folder))
    numbers = sorted({job_of[spec.id] for spec in todo})
    raised: dict[int, Exception | None] = {}
    gone: Exception | None = None
    with display.shown(len(todo), 0), _watched(todo, display, outcomes):
        try:
            raised = dict(zip(numbers, launch(numbers), strict=True))
        except Exception as error:
            gone = error
            story = traceback.format_exc()
    for spec in todo:
        if spec.id not in outcomes:
            if gone is not None:
                log_failure(spec, story)
            outcomes[spec.id] = _ended(spec, gone or raised[job_of[spec.id]], name if gone is not None else "")
            display.finished(outcomes[spec.id])
    return [outcomes[key] for key in specs]


def _ended(spec: RunSpec, error: Exception | None, gave_up: str) -> Outcome:
    """Return what became of a run that left no record."""
    if gave_up:
        text = one_line(error or RuntimeError("no reason given"))
        short = text if len(text) <= LONG else f"{text[:LONG]}..."
        return Outcome(spec, "failed", f"{gave_up} gave up: {short}")
    if isinstance(error, JobError) and error.reasons:
        reason = error.reasons.get(spec.id)
        return Outcome(spec, "failed", reason) if reason else Outcome(spec, "busy")
    return Outcome(spec, "failed", one_line(error)) if error is not None else Outcome(spec, "busy")


@contextmanager
def _watched(specs: Sequence[RunSpec], display: Display, outcomes: dict[str, Outcome]) -> Iterator[None]:
    """Within, note every run in `outcomes` and on the display as soon as its record is there."""
    over = threading.Event()
    waiting = list(specs)

    def look() -> None:
        for spec in list(waiting):
            if record_path(Path(spec.results_dir), spec.id).exists():
                waiting.remove(spec)
                outcomes[spec.id] = _found(spec)
                display.finished(outcomes[spec.id])

    def watch() -> None:
        while not over.wait(PAUSE):
            look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        look()


def _found(spec: RunSpec) -> Outcome:
    """Return the outcome of a run whose record has just appeared."""
    try:
        record = read(record_path(Path(spec.results_dir), spec.id))
    except StoreError as error:
        return Outcome(spec, "failed", one_line(error))
    accuracy = None
    with suppress(StoreError):  # the leaderboard leaves out what has no matrix
        accuracy = summary(record.result)["acc"]
    return Outcome(spec, "done", accuracy=accuracy)
