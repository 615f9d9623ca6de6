"""The contract of a logger, and the protection of a run from a logger that fails."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clbench.metrics.matrix import summary
from clbench.records import Record, config_hash
from clbench.utils.markup import plain

Say = Callable[[str], None]
"""Takes text for the user (one or several lines). The live display prints the text above itself."""


@dataclass(frozen=True)
class RunInfo:
    """The description of a run for loggers.

    Args:
        identity: as in `Record.identity`.
        id: name of the run: hash of its identity.
        config_id: name of its configuration: the hash without the seed.
        variant: the shortest difference from the method's defaults, or "".
        label: for people: scenario, setting, method, variant, seed.
        results_dir: folder of the records; a logger writes its files below this folder.
        n_runs: number of runs of the whole sweep.
        color: whether text for the user appears on a terminal with colours.
    """

    identity: dict[str, Any]
    id: str
    config_id: str
    variant: str
    label: str
    results_dir: str
    n_runs: int = 1
    color: bool = False

    @staticmethod
    def of(identity: dict[str, Any], id: str, variant: str, results_dir: str, n_runs: int, color: bool) -> RunInfo:
        """Return the description of one run of a sweep."""
        names, setting = identity["names"], identity.get("scenario", {}).get("setting")
        parts = [names["scenario"], setting, names["method"], variant and f"({variant})", f"seed {identity['seed']}"]
        label = " ".join(part for part in parts if part)
        return RunInfo(identity, id, config_hash(identity), variant, label, results_dir, n_runs, color)

    @property
    def n_cells(self) -> int:
        """Earlier name of `n_runs`."""
        warnings.warn("RunInfo.n_cells is now RunInfo.n_runs", FutureWarning, stacklevel=2)
        return self.n_runs


class Logger:
    """Takes events of a run. Every hook is optional.

    The configuration group `logger` names a logger by `_target_`. A logger with a parameter `say` gets the channel to the user.
    """

    def begin(self, info: RunInfo) -> None:
        """Prepare; called once, before anything is measured."""

    def event(self, result: dict[str, Any]) -> None:
        """Take a measurement.

        Args:
            result: `Record.result` so far; the last row of its matrix is new. The first call after a resume also has the
                rows that were measured before the interruption.
        """

    def end(self, record: Record) -> None:
        """Take the record of the finished run."""

    def fail(self, reason: str) -> None:
        """Take the reason of a failure."""


class Loggers(Logger):
    """Passes everything on to several loggers. A logger that raises is reported in one line and dropped."""

    def __init__(self, loggers: Sequence[Logger], info: RunInfo, say: Say) -> None:
        """Begin the run in all of `loggers`."""
        self._loggers, self._say = list(loggers), say
        self.begin(info)

    def begin(self, info: RunInfo) -> None:
        """Pass on."""
        self._call("begin", info)

    def event(self, result: dict[str, Any]) -> None:
        """Pass on."""
        self._call("event", result)

    def end(self, record: Record) -> None:
        """Pass on."""
        self._call("end", record)

    def fail(self, reason: str) -> None:
        """Pass on."""
        self._call("fail", reason)

    def _call(self, hook: str, argument: Any) -> None:
        for logger in list(self._loggers):
            try:
                getattr(logger, hook)(argument)
            except Exception as error:  # the run continues after any failure of a logger
                self._loggers.remove(logger)
                name, problem = type(logger).__name__, plain(f"{type(error).__name__}: {error}")
                self._say(f"logger {name} stopped at {hook}, the run goes on without it: {problem}")
                with contextlib.suppress(Exception):
                    logger.fail(problem)  # lets the logger close its files


def accuracies(result: dict[str, Any]) -> list[list[float | None]]:
    """Return the matrix in percent, rows as `result["events"]`, columns as `result["columns"]`; None: not measured."""
    return [[100 * entry[0] / entry[1] if entry and entry[1] else None for entry in row] for row in result["matrix"]]


def metrics_after(result: dict[str, Any], index: int) -> dict[str, float]:
    """Return the metrics, in percent, over the tasks learned up to event `index`.

    Only what is defined there; empty if that event is not the end of a task.

    Raises:
        StoreError: the matrix does not fit the events.
    """
    events = result["events"][: index + 1]
    if events[-1]["kind"] != "task":
        return {}
    learned = sum(event["kind"] == "task" for event in events) if result["sequential"] else result["n_tasks"]
    part = {**result, "n_tasks": learned, "events": events, "matrix": result["matrix"][: index + 1]}
    return {name: value for name, value in summary(part).items() if value is not None}


def __getattr__(name: str) -> Any:
    if name == "TrialInfo":
        warnings.warn("clbench.loggers.base.TrialInfo is now RunInfo", FutureWarning, stacklevel=2)
        return RunInfo
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
