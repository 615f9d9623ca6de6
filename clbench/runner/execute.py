"""Execution of one run, from its lock to its stored record; the same in a worker and in the calling process."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from clbench.errors import ClbenchError, ConfigError, StoreError, UnwritableError
from clbench.records import Record, write
from clbench.run_spec import RunSpec
from clbench.runner.device_memory import is_out_of_memory
from clbench.runner.failed_runs import kind_of, not_repeated
from clbench.runner.lock import clear, lock_run
from clbench.runner.outcome import Status
from clbench.runner.worker_messages import End, Progress, Report
from clbench.utils.disk import OF_THE_MACHINE, explain, unnamed
from clbench.utils.markup import plain, terminal
from clbench.utils.time_limit import call_within

RunFunction = Callable[[RunSpec, Callable[[Progress], None]], Record]
RUN_FUNCTION = "clbench.runs.run.train_run"
"""Dotted name of the function that trains one run; tests of the runner name other functions."""
FLOWER_FUNCTION = "clbench.flower.simulation.run_in_simulation"
"""The same for a federated run with Flower between server and clients."""
LOGS = ".logs"
"""Folder within the results folder for reports of failures and for the output of workers."""


def execute(spec: RunSpec, function: str, report: Report) -> End:
    """Train a run and store its record, unless the record exists or another process executes the run.

    Args:
        spec: the run.
        function: dotted name of a function (run, report) -> record.
        report: takes messages about progress.

    Returns:
        The end of the run. The traceback of a failure is in `results_dir/.logs/<id>.txt`. Only an interrupt is raised.
    """
    started = Started(report)
    try:
        with lock_run(spec) as other:
            end = not_needed(spec, other)
            if end is not None:
                return end
            train = locate(FLOWER_FUNCTION if function == RUN_FUNCTION and spec.over_flower else function)
            limit, tell = spec.execution.time_limit, partial(started, spec.id)
            with thread_limit(spec.execution.threads):
                if limit is not None:
                    tell({"event": "clock", "seconds": limit, "runs": [spec.id]})
                record = train(spec, tell) if limit is None else call_within(limit, lambda: train(spec, tell))
            return store(spec, record)
    except (Exception, SystemExit) as error:  # a plug-in that calls sys.exit ends its run, but not the worker
        return failed(spec, error, spec.id in started.runs)


class Started:
    """Passes messages on, and notes the runs whose training has begun."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.runs: set[str] = set()

    def __call__(self, run: str, message: Progress) -> None:
        """Pass on."""
        if message["event"] == "start":
            self.runs.add(run)
        self._report(run, message)


def not_needed(spec: RunSpec, other: str | None) -> End | None:
    """Return the end of a run that needs no training; None: train it.

    Another process executes the run, or its record is stored, or it failed in a way that this code would repeat.

    Args:
        spec: the run, locked by this process if `other` is None.
        other: the other process.
    """
    if other is not None:
        return End(Status.BUSY, other)
    if spec.stored() is not None:
        clear(spec)
        return End(Status.PRESENT)
    failure = not_repeated(spec)  # of another process, since this command began
    return None if failure is None else End(Status.FAILED, failure.reason, failure.remedy)


def store(spec: RunSpec, record: Record) -> End:
    """Store the record of a locked run, and return the end of the run."""
    try:
        if record.id != spec.id:
            raise StoreError(
                f"the run function returned a record of another identity ({record.id}, expected {spec.id})",
                "leave RunSpec.identity unchanged",
            )
        spec.require_folder()
        write(record, Path(spec.results_dir), replace=bool(spec.replaces))
        clear(spec)
    except Exception as error:
        return failed(spec, error)
    return End(Status.DONE)


def failed(spec: RunSpec, error: BaseException, started: bool = False) -> End:
    """Log the traceback of a failure, and return the end of the run.

    Args:
        spec: the run.
        error: its failure.
        started: whether its training had begun.
    """
    stops = isinstance(error, UnwritableError)
    if not stops:  # there is no room for a log either, and the message says all
        log_failure(spec, "".join(traceback.format_exception(error)))
    kind, memory = kind_of(error, started), is_out_of_memory(error)
    return End(Status.FAILED, *reason_and_remedy(error), out_of_memory=memory, kind=kind, stops=stops)


def reason_and_remedy(error: BaseException) -> tuple[str, str]:
    """Return what is wrong and what the user can do, each in one line; the remedy may be empty."""
    if isinstance(error, ClbenchError):
        return plain(" ".join(error.what.split())), plain(" ".join(error.remedy.split()))
    if isinstance(error, OSError) and isinstance(error.filename, (str, os.PathLike)):
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return plain(f"{error.filename}: {error.strerror}"), ""
        reason, remedy = explain(error, error.filename)
        return plain(f"{error.filename}: {reason}"), plain(remedy)
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        return unnamed(error, [os.curdir, *(_temporary()), os.path.expanduser("~")])
    text = plain(" ".join(str(error).split()))
    return (f"{type(error).__name__}: {text}" if text else type(error).__name__), ""


def _temporary() -> list[str]:
    """Return the system's folder for temporary files, if one can be written."""
    with suppress(OSError):
        return [tempfile.gettempdir()]
    return []


def one_line(error: BaseException) -> str:
    """Return reason and remedy in one line."""
    return " -> ".join(part for part in reason_and_remedy(error) if part)


def log_failure(spec: RunSpec, text: str) -> None:
    """Write the full report of a failure to `results_dir/.logs/<id>.txt`; on a full disk, to the standard error stream."""
    try:
        spec.require_folder()
        failure_log(spec).parent.mkdir(parents=True, exist_ok=True)
        failure_log(spec).write_text(terminal(f"{spec.label}\n\n{text}"), encoding="utf-8")
    except (OSError, StoreError):
        with suppress(OSError):
            sys.stderr.write(terminal(text))


def failure_log(spec: RunSpec) -> Path:
    """Return the file with the traceback of a failed run."""
    return Path(spec.results_dir) / LOGS / f"{spec.id}.txt"


@contextmanager
def thread_limit(count: int) -> Iterator[None]:
    """Let torch, if it is imported, use `count` CPU threads."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def locate(name: str) -> Any:
    """Return the function of a dotted name.

    Raises:
        ConfigError: the function cannot be imported.
    """
    module, _, member = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), member)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"the run function {name} cannot be imported: {error}", "check the installation of clbench and torch"
        ) from error
