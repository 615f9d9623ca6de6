"""One run, from lock to stored record; the same in a worker and in the calling process."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clbench.errors import ClbenchError, ConfigError, StoreError
from clbench.records import Record, read, record_path, write
from clbench.run_spec import RunSpec
from clbench.runner.lock import claim, clear

Report = Callable[[dict[str, Any]], None]
Trial = Callable[[RunSpec, Report], Record]
TRIAL = "clbench.runs.run.run_trial"
"""Dotted name of the function that trains; the runner's own tests name others."""
FLOWER = "clbench.flower.simulation.run_in_simulation"
"""The same for a federated run with Flower between server and clients."""
LOGS = ".logs"
"""Folder within the results folder for what went wrong and what workers print."""


def execute(spec: RunSpec, trial: str, report: Report) -> dict[str, Any]:
    """Run one run and store its record, unless it is there already or another process is at it.

    Args:
        spec: what to run.
        trial: dotted name of a function (run, report) -> record.
        report: is told of progress.

    Returns:
        The last message: `{"event": "done" | "present"}`, `{"event": "busy", "reason": who is at it}`, or `{"event":
        "failed", "reason": one line}`, and then the traceback is in `results_dir/.logs/<id>.txt`. Only an interrupt is
        raised.
    """
    try:
        with claim(spec) as other:
            ended = before(spec, other)
            if ended is not None:
                return ended
            function = locate(FLOWER if trial == TRIAL and spec.over_flower else trial)
            with thread_limit(spec.threads):
                record = function(spec, report)
            return store(spec, record)
    except (Exception, SystemExit) as error:  # a plug-in that calls sys.exit ends its run, not the worker
        return failed(spec, error)


def before(spec: RunSpec, other: str | None) -> dict[str, Any] | None:
    """Return the last message about a run that is not to be trained: someone else is at it, or it is done. None: train it.

    Args:
        spec: claimed, if `other` is None.
        other: who is at it.
    """
    if other is not None:
        return {"event": "busy", "reason": other}
    stored = record_path(Path(spec.results_dir), spec.id)
    if not stored.exists():
        return None
    read(stored)
    clear(spec)
    return {"event": "present"}


def store(spec: RunSpec, record: Record) -> dict[str, Any]:
    """Store the record of a claimed run and return the last message about it, of a failure to store it too."""
    try:
        if record.id != spec.id:
            raise StoreError(
                f"the trial returned a record of another identity ({record.id}, expected {spec.id})",
                "leave Cell.identity unchanged",
            )
        write(record, Path(spec.results_dir))
        clear(spec)
    except Exception as error:
        return failed(spec, error)
    return {"event": "done"}


def failed(spec: RunSpec, error: BaseException) -> dict[str, Any]:
    """Keep the story of a failure, and return the last message about the run."""
    log_failure(spec, "".join(traceback.format_exception(error)))
    return {"event": "failed", "reason": one_line(error)}


def one_line(error: BaseException) -> str:
    """Return what a table of failures says of `error`."""
    if isinstance(error, ClbenchError):
        return " ".join(f"{error.what} -> {error.remedy}".split()) if error.remedy else error.what
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror or error}"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def log_failure(spec: RunSpec, text: str) -> None:
    """Keep the whole story of a failure in `results_dir/.logs/<id>.txt`; a full disk must not make it worse."""
    try:
        failure_log(spec).parent.mkdir(parents=True, exist_ok=True)
        failure_log(spec).write_text(f"{spec.label}\n\n{text}", encoding="utf-8")
    except OSError:
        sys.stderr.write(text)


def failure_log(spec: RunSpec) -> Path:
    """Return where the traceback of a failed run is kept."""
    return Path(spec.results_dir) / LOGS / f"{spec.id}.txt"


@contextmanager
def thread_limit(count: int) -> Iterator[None]:
    """Let torch, if the trial uses it, have `count` CPU threads."""
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


def locate(name: str) -> Trial:
    """Return the function of a dotted name.

    Raises:
        ConfigError: it cannot be imported.
    """
    module, _, member = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), member)  # type: ignore[no-any-return]
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"the trial function {name} cannot be imported: {error}", "check the installation of clbench and torch"
        ) from error
