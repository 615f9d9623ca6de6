"""The console: the result of a run, as a line and as a heat map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clbench.loggers import heatmap
from clbench.loggers.base import Logger, RunInfo, Say, accuracies
from clbench.metrics.matrix import summary
from clbench.records import Record
from clbench.utils.markup import plain

When = Literal["auto", "always", "never"]
LONGEST_NAME = 16


@dataclass
class Console(Logger):
    """Prints the metrics of each finished run, and its accuracy matrix.

    Args:
        summary: the line of metrics; `auto`: only if the command has a single run.
        matrix: the heat map (rows: the untrained model, then after each task; columns: evaluation sets); `auto` as
            above.
        say: the channel to the user.
    """

    summary: When
    matrix: When
    say: Say

    def begin(self, info: RunInfo) -> None:
        """Keep the description of the run."""
        self._info = info

    def end(self, record: Record) -> None:
        """Print the result in one piece."""
        parts = []
        if self._wanted(self.summary):
            parts.append(f"{plain(self._info.label)}: {line(record)}")
        if self._wanted(self.matrix):
            parts.append(table(record, self._info.color))
        if parts:
            self.say("\n".join(parts))

    def _wanted(self, when: When) -> bool:
        return when == "always" or (when == "auto" and self._info.n_runs == 1)


def line(record: Record) -> str:
    """Return the metrics of a record in words, in percent; an undefined metric (forgetting of `joint`) is left out."""
    values = summary(record.result)
    shown = {"acc": "acc", "forgetting": "forgetting", "learning_accuracy": "learning accuracy"}
    return ", ".join(f"{name} {value:.2f}" for key, name in shown.items() if (value := values[key]) is not None)


def table(record: Record, color: bool) -> str:
    """Return the heat map of a record: a row for the untrained model and each end of a task."""
    result = record.result
    kept = [(event, row) for event, row in zip(result["events"], accuracies(result)) if event["kind"] != "within"]
    names = ["untrained" if event["kind"] == "untrained" else result["task_names"][event["task"]] for event, _ in kept]
    draw = heatmap.ansi if color else heatmap.plain
    return draw([row[: result["n_tasks"]] for _, row in kept], [plain(name)[:LONGEST_NAME] for name in names])
