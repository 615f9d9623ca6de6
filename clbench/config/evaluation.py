"""The node `eval`, and `scenario.task_range`: their values, and what can be measured in a scenario."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from clbench.errors import ConfigError, RefusedError, shown
from clbench.instantiate import check
from clbench.utils.hints import MOST

Count = Annotated[int, Field(ge=1, le=MOST)]
HINTS = {
    "split": Literal["test", "valid", "both"],
    "every": Count | None,
    "batch_size": Count,
    "format": bool,
    "ability": dict[str, Any],
    "drift": bool,
}


def check_evaluation(node: Mapping[str, Any], scenario: Mapping[str, Any]) -> None:
    """Check the keys of the node `eval`, and whether the scenario has what is to be measured.

    Args:
        node: `eval`.
        scenario: the node `scenario`.

    Raises:
        ConfigError: a bad value, an unknown key, or no validation split to measure.
        RefusedError: what is to be measured are test samples.
    """
    for key, value in node.items():
        if key not in HINTS:
            raise ConfigError(f"unknown key eval.{key}={shown(value)}", f"it takes: {', '.join(HINTS)}")
        check(value, HINTS[key], f"eval.{key}")
    _check_split(node, scenario)
    _check_range(scenario.get("task_range"), scenario.get("n_tasks"))


def _check_range(value: Any, n_tasks: Any) -> None:
    """Refuse a `scenario.task_range` that is no range, or goes beyond a known number of tasks."""
    if value is None:
        return
    known = isinstance(n_tasks, int) and not isinstance(n_tasks, bool)
    most = n_tasks if known else MOST
    remedy = "give the first task and the one after the last, from 0: scenario.task_range=[0,2]; or null for all tasks"
    given = value if isinstance(value, list) and len(value) == 2 else [None]
    numbers = [most if place == 1 and each is None else each for place, each in enumerate(given)]
    whole = [each for each in numbers if isinstance(each, int) and not isinstance(each, bool)]
    if len(whole) != 2:
        raise ConfigError(f"scenario.task_range={shown(value)} is no range of tasks", remedy)
    if not 0 <= whole[0] < whole[1] <= most:
        of = f" of the scenario's {most} tasks" if known else ""
        raise ConfigError(f"scenario.task_range={shown(value)} is no range{of}", remedy)


def _check_split(evaluation: Mapping[str, Any], scenario: Mapping[str, Any]) -> None:
    """Refuse to measure validation splits that there are not, or test samples beside them.

    Args:
        evaluation: the node `eval`.
        scenario: the node `scenario`.

    Raises:
        ConfigError: no validation split.
        RefusedError: what is measured are test samples: of unlearning requests, of general ability.
    """
    split = evaluation.get("split", "test")
    if split == "test":
        return
    if scenario.get("valid_fraction", 0) == 0:
        raise ConfigError(
            f"eval.split={split} measures validation splits, and scenario.valid_fraction=0 holds no samples out",
            "give scenario.valid_fraction=0.1",
        )
    if scenario.get("requests"):
        raise RefusedError(
            f"eval.split={split} with requests to forget: whether they were met shows on test samples alone",
            "leave eval.split out",
        )
    if split == "valid" and evaluation.get("ability"):
        raise RefusedError("eval.split=valid with eval.ability, which measures test samples", "give eval.split=both")
