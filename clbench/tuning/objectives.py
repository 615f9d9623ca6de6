"""What a search can aim at: a metric of the validation splits, whether more of it is better, and the worst value."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from clbench.metrics.matrix import summary


class Objective(NamedTuple):
    """One metric, in percent.

    Args:
        larger: whether a larger value is better.
        worst: value of a trial that diverged.
    """

    larger: bool
    worst: float

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """The word of Optuna."""
        return "maximize" if self.larger else "minimize"


OBJECTIVES = {
    "acc": Objective(True, 0.0),
    "forgetting": Objective(False, 100.0),
    "learning_accuracy": Objective(True, 0.0),
    "bwt": Objective(True, -100.0),
    "average_incremental": Objective(True, 0.0),
    "anytime": Objective(True, 0.0),
    "min_acc": Objective(True, 0.0),
    "worst_case_accuracy": Objective(True, 0.0),
    "stability_gap": Objective(False, 100.0),
}
"""By name, as in `clbench.metrics.matrix.summary`."""


def value(result: dict[str, Any], name: str) -> float | None:
    """Return the objective of one run on its validation splits, in percent; None if it is undefined there.

    Args:
        result: `Record.result` of a run with `eval.split=valid`.
        name: of the objective.
    """
    return summary(result, "valid")[name]


def curve(result: dict[str, Any], name: str) -> list[float]:
    """Return the values of one run that a pruner compares, in percent.

    Accuracy gives one value per task: the mean over the tasks so far. Other objectives give their final value alone.

    Args:
        result: as for `value`.
        name: of the objective.
    """
    final = value(result, name)
    if name != "acc" or final is None or not result.get("sequential", True):
        return [] if final is None else [final]
    columns = [place for place, column in enumerate(result["columns"]) if column["role"] == "valid"]
    found = []
    for event, row in zip(result["events"], result["matrix"]):
        if event["kind"] == "task":
            seen = [row[place] for place in columns[: event["task"] + 1]]
            found.append(100 * sum(correct / n for correct, n in seen) / len(seen))
    return found
