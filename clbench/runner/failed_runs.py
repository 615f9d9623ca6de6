"""Failed runs of a sweep: the kind of a failure, its record, and which failed runs are not trained again."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clbench.errors import ClbenchError, DataError, DivergedError, StoreError
from clbench.run_spec import RunSpec
from clbench.runner.device_memory import is_out_of_memory
from clbench.runner.worker_messages import End, Progress
from clbench.store.failures import Failure, Kind, failure_path, read_failure, write_failure
from clbench.utils.disk import of_the_machine
from clbench.utils.own_code import git_commit, source_sha256, version
from clbench.utils.time_limit import TooLongError


def kind_of(error: BaseException, started: bool) -> Kind | None:
    """Return the kind of a failure; None for one that is not stored.

    Args:
        error: ended the run.
        started: whether the training had begun. Before that, an error of configuration or data concerns every seed alike.
    """
    if isinstance(error, DivergedError):
        return Kind.DIVERGED
    if isinstance(error, TooLongError):
        return Kind.TIME_LIMIT
    if is_out_of_memory(error):
        return Kind.OUT_OF_MEMORY
    if isinstance(error, StoreError) or of_the_machine(error):  # neither the run nor its record is at fault
        return None
    if isinstance(error, ClbenchError) and not started:
        return None
    return Kind.SYSTEM if isinstance(error, (DataError, OSError, ImportError)) else Kind.ERROR


class Place:
    """The place in a run, from its messages so far."""

    def __init__(self) -> None:
        self._tasks = 0
        self._found: dict[str, Any] = dict.fromkeys(("task", "step", "events"))
        self._stream: dict[str, Any] = dict.fromkeys(("setting", "access", "goal"))

    def note(self, message: Progress) -> None:
        """Take a message."""
        match message["event"]:
            case "start":
                self._tasks = message["tasks"]
                self._stream = {key: message.get(key) for key in self._stream}
                self._found = {"task": message["resumed_at"], "step": None, "events": None}
            case "epoch":
                self._found["task"] = message["task"]
            case "task":
                self._found["task"] = min(message["task"] + 1, max(self._tasks - 1, 0))
            case "stopped":
                self._found = {key: message.get(key) for key in self._found}

    def describe(self) -> dict[str, Any]:
        """Return `task`, `step`, `events`, `setting`, `access` and `goal`; None for what is unknown."""
        return {**self._found, **self._stream}


def keep(spec: RunSpec, end: End, place: Place) -> str:
    """Store the failure of a run, unless its kind is None or the run has a record.

    Returns:
        Empty, or why the failure could not be stored.
    """
    if end.kind is None or spec.record_file.exists():
        return ""
    failure = {"kind": str(end.kind), "reason": end.reason, "remedy": end.remedy, **place.describe()}
    failure["setting"] = failure["setting"] or spec.setting
    provenance = {
        "variant": spec.variant,
        "clbench": version(),
        "git_commit": git_commit(),
        "source": source_sha256(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        spec.require_folder()
        write_failure(Failure(spec.identity, failure, provenance), Path(spec.results_dir))
    except StoreError as error:
        return error.what
    return ""


def earlier(spec: RunSpec) -> Failure | None:
    """Return the failure of an earlier command; None if there is none, or if the file is damaged."""
    path = failure_path(Path(spec.results_dir), spec.id)
    with suppress(StoreError):
        return read_failure(path) if path.exists() else None
    return None


def not_repeated(spec: RunSpec) -> Failure | None:
    """Return the earlier failure of a run that would fail again: `rerun` is not given, and the code is still the same."""
    if spec.execution.rerun:
        return None
    failure = earlier(spec)
    return failure if failure is not None and failure.of_the_code and failure.same_code else None


def from_the_beginning(spec: RunSpec) -> bool:
    """Return whether a run to train must not resume: `rerun` is given, or other code failed and left the checkpoints."""
    if spec.execution.rerun:
        return True
    failure = earlier(spec)
    return failure is not None and failure.of_the_code
