"""Jobs of another launcher, on this machine or others: which jobs to launch, their progress, and the outcomes of their runs.

The launcher reports nothing before all of its jobs have ended. Progress is therefore read from the results folder, where every
finished run stores its record.
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
from clbench.run_spec import RunSpec
from clbench.runner.execute import log_failure, one_line, reason_and_remedy
from clbench.runner.failed_runs import Place, keep
from clbench.runner.lock import lock_run
from clbench.runner.outcome import Outcome, Status
from clbench.runner.run_specs import already, replacing
from clbench.runner.worker_messages import End
from clbench.store.failures import Kind
from clbench.store.results_folder import prepare

if TYPE_CHECKING:
    from clbench.runner.progress import Display

Launch = Callable[[list[int]], Sequence[Exception | None]]
"""Runs the jobs of these numbers, and returns the exception of each."""
PAUSE = 1.0
"""Seconds between two looks at the results folder."""
LONG = 300
"""Largest number of characters of another program's message in a reason."""


class JobError(ClbenchError):
    """Runs of a job failed. The exception travels from the process of the job to the one that launched it.

    Args:
        reasons: reason and remedy in one line, by id of the run.
    """

    def __init__(self, what: str, reasons: Mapping[str, str] | None = None) -> None:
        super().__init__(what)
        self.reasons = dict(reasons or {})


def run_external(jobs: Sequence[Sequence[RunSpec]], display: Display, launch: Launch, name: str) -> list[Outcome]:
    """Launch the jobs with unfinished runs, and return the outcome of every run; equal runs count once.

    Args:
        jobs: the runs of each job.
        display: shows progress.
        launch: runs jobs, and returns when all have ended.
        name: name of the launcher, for messages.

    Raises:
        StoreError: a results folder cannot be written to.
        KeyboardInterrupt: passed on; finished runs are stored.
    """
    job_of: dict[str, int] = {}
    specs: dict[str, RunSpec] = {}
    for number, job in enumerate(jobs):
        for spec in job:
            job_of.setdefault(spec.id, number)
            specs.setdefault(spec.id, replacing(spec))
    outcomes = {spec.id: found for spec in specs.values() if (found := already(spec)) is not None}
    todo = [spec for spec in specs.values() if spec.id not in outcomes]
    if not todo:
        return list(outcomes.values())
    for folder in {spec.results_dir for spec in todo}:
        prepare(Path(folder))
    numbers = sorted({job_of[spec.id] for spec in todo})
    raised: dict[int, Exception | None] = {}
    given_up: Exception | None = None
    with display.shown(len(todo), 0), _watched(todo, display, outcomes):
        try:
            raised = dict(zip(numbers, launch(numbers), strict=True))
        except Exception as error:
            given_up = error
            report = traceback.format_exc()
    for spec in todo:
        if spec.id not in outcomes:
            if given_up is not None:
                log_failure(spec, report)
                outcomes[spec.id] = Outcome(spec, Status.FAILED, f"{name} gave up: {_short(given_up)}")
            else:
                outcomes[spec.id] = _without_record(spec, raised[job_of[spec.id]])
            _keep_death(outcomes[spec.id], given_up or raised.get(job_of[spec.id]))
            display.finished(outcomes[spec.id])
    return [outcomes[key] for key in specs]


def _short(error: Exception) -> str:
    text = one_line(error)
    return text if len(text) <= LONG else f"{text[:LONG]}..."


def _without_record(spec: RunSpec, error: Exception | None) -> Outcome:
    """Return the outcome of a run without a record, from the exception of its job."""
    if isinstance(error, JobError) and error.reasons:
        reason = error.reasons.get(spec.id)
        return Outcome(spec, Status.FAILED, reason) if reason else Outcome(spec, Status.BUSY)
    return Outcome(spec, Status.FAILED, *reason_and_remedy(error)) if error is not None else Outcome(spec, Status.BUSY)


def _keep_death(outcome: Outcome, error: Exception | None) -> None:
    """Store the failure of a run whose job has died, if the run had started and no process executes it now.

    A job that ended by itself has stored the failures of its runs.
    """
    spec = outcome.spec
    if outcome.status is not Status.FAILED or isinstance(error, ClbenchError) or not spec.checkpoints.exists():
        return
    with suppress(StoreError), lock_run(spec) as other:
        if other is None:
            keep(spec, End(Status.FAILED, outcome.reason, outcome.remedy, kind=Kind.KILLED), Place())


@contextmanager
def _watched(specs: Sequence[RunSpec], display: Display, outcomes: dict[str, Outcome]) -> Iterator[None]:
    """Within the block, add a run to `outcomes` and to the display as soon as its record is stored."""
    over = threading.Event()
    waiting = list(specs)

    def look() -> None:
        for spec in list(waiting):
            found = _found(spec)
            if found is not None:
                waiting.remove(spec)
                outcomes[spec.id] = found
                display.finished(found)

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


def _found(spec: RunSpec) -> Outcome | None:
    """Return the outcome of a run whose record was stored a moment ago; None if it has none yet."""
    try:
        record = spec.stored()
    except StoreError as error:
        return Outcome(spec, Status.FAILED, *reason_and_remedy(error))
    if record is None:
        return None
    accuracy = None
    with suppress(StoreError):  # the leaderboard leaves out a record without a matrix
        accuracy = summary(record.result)["acc"]
    return Outcome(spec, Status.DONE, accuracy=accuracy)
