"""The contract of a logger, and what keeps one that fails from harming a trial."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clbench.metrics.matrix import summary
from clbench.records import Record, config_hash

Say = Callable[[str], None]
"""Takes text for the user (one or several lines); the live display prints it above itself."""


@dataclass(frozen=True)
class TrialInfo:
    """Which trial is running.

    Args:
        identity: as in `Record.identity`.
        id: name of the trial: hash of its identity.
        config_id: name of its row: the hash without the seed.
        variant: the shortest difference from the method's defaults, or "".
        label: for people: scenario, setting, method, variant, seed.
        results_dir: folder of the records; whatever a logger writes goes below it.
        n_cells: trials of the whole sweep.
        color: whether text that is said ends on a terminal that shows colours.
    """

    identity: dict[str, Any]
    id: str
    config_id: str
    variant: str
    label: str
    results_dir: str
    n_cells: int = 1
    color: bool = False

    @staticmethod
    def of(identity: dict[str, Any], id: str, variant: str, results_dir: str, n_cells: int, color: bool) -> TrialInfo:
        """Return the description of one cell of a sweep."""
        names, setting = identity["names"], identity.get("scenario", {}).get("setting")
        parts = [names["scenario"], setting, names["method"], variant and f"({variant})", f"seed {identity['seed']}"]
        label = " ".join(part for part in parts if part)
        return TrialInfo(identity, id, config_hash(identity), variant, label, results_dir, n_cells, color)


class Logger:
    """Is told how a trial goes. Every hook may be left as it is.

    A logger is named by `_target_` in the group `logger`; if it has a parameter `say` it gets the channel to the user.
    """

    def begin(self, trial: TrialInfo) -> None:
        """Prepare; called once, before anything is measured."""

    def event(self, result: dict[str, Any]) -> None:
        """Take note of a measurement.

        Args:
            result: `Record.result` so far; the last row of its matrix is new. The first call after a resume brings
                the rows measured before the interruption, too.
        """

    def end(self, record: Record) -> None:
        """Take note that the trial is finished."""

    def fail(self, reason: str) -> None:
        """Take note that the trial ended early."""


class Loggers(Logger):
    """Passes everything on to several loggers; one that raises is reported in a line and asked no more."""

    def __init__(self, loggers: Sequence[Logger], trial: TrialInfo, say: Say) -> None:
        """Tell all of `loggers` that `trial` begins."""
        self._loggers, self._say = list(loggers), say
        self.begin(trial)

    def begin(self, trial: TrialInfo) -> None:
        """Pass on."""
        self._tell("begin", trial)

    def event(self, result: dict[str, Any]) -> None:
        """Pass on."""
        self._tell("event", result)

    def end(self, record: Record) -> None:
        """Pass on."""
        self._tell("end", record)

    def fail(self, reason: str) -> None:
        """Pass on."""
        self._tell("fail", reason)

    def _tell(self, hook: str, argument: Any) -> None:
        for logger in list(self._loggers):
            try:
                getattr(logger, hook)(argument)
            except Exception as error:  # whatever a logger does, the trial goes on
                self._loggers.remove(logger)
                name, problem = type(logger).__name__, f"{type(error).__name__}: {error}"
                self._say(f"logger {name} stopped at {hook}, the trial goes on without it: {problem}")
                with contextlib.suppress(Exception):
                    logger.fail(problem)  # lets it close what it has opened


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
