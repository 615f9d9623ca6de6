"""Metrics of the accuracy matrix: pure functions, each with its formula and source.

`A[l][j]` is the accuracy on task j, measured after task l was learned. Tasks count from 0. A matrix has one row per learned
task: T = `len(A)`, so `A[:k]` gives every metric after k tasks. Row l holds at least the columns 0..l; a metric ignores columns
that it does not need. An entry is None if it was not measured. Inputs and outputs are fractions (0..1) unless the docstring
gives another unit. A metric is None if it is undefined, or if an entry that it needs was not measured. The examples use:

>>> A = [[0.9], [0.8, 0.85], [0.6, 0.8, 0.95]]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from clbench.errors import StoreError

SHARES = ("accuracy", "exact_match", "label_words", "first_token", "format")
"""Column metrics that are shares of right answers. They can be drawn on one scale."""

METRICS = (
    *("acc", "forgetting", "bwt", "learning_accuracy", "fwt", "average_incremental"),
    *("anytime", "min_acc", "worst_case_accuracy", "stability_gap"),
)
"""The keys of `summary`."""

Row = Sequence[float | None]
Matrix = Sequence[Row]
Trajectory = Sequence[tuple[str, int, Row]]
"""Measurements in order of time: (kind, index of the task, accuracies). `within`: the task is being learned. `task`: it ended."""


def acc(A: Matrix) -> float | None:
    """Average accuracy after the last task: (1/T) sum_j A[T-1, j].

    Source: GEM (Lopez-Paz & Ranzato, NeurIPS 2017).

    >>> round(acc(A), 3)
    0.783

    Args:
        A: T rows. The last one holds at least T accuracies.
    """
    return _mean([_at(A, len(A) - 1, j) for j in range(len(A))])


def learning_accuracy(A: Matrix) -> float | None:
    """Accuracy on each task just after it was learned: (1/T) sum_j A[j, j].

    Source: MER (Riemer et al., ICLR 2019). Read forgetting together with this metric: a task that was never learned cannot be
    forgotten.

    >>> round(learning_accuracy(A), 3)
    0.9
    """
    return _mean([_at(A, j, j) for j in range(len(A))])


def bwt(A: Matrix) -> float | None:
    """Backward transfer: 1/(T-1) sum_{j<T-1} A[T-1, j] - A[j, j]; None for T = 1.

    Source: GEM (Lopez-Paz & Ranzato, NeurIPS 2017).

    >>> round(bwt(A), 3)
    -0.175
    """
    return _mean([_minus(_at(A, len(A) - 1, j), _at(A, j, j)) for j in range(len(A) - 1)])


def forgettings(A: Matrix) -> list[float | None]:
    """Forgetting of each task but the last: (max over j <= l < T-1 of A[l, j]) - A[T-1, j].

    The maximum is over the rows at task ends, from the end of task j. An accuracy measured before task j was learned cannot be
    forgotten.

    >>> [round(value, 3) for value in forgettings(A)]
    [0.3, 0.05]

    Args:
        A: T rows. Row l holds at least l + 1 accuracies.

    Returns:
        T - 1 fractions. A value is negative if the last row is the best.
    """
    last = len(A) - 1
    return [_minus(_best(_at(A, k, j) for k in range(j, last)), _at(A, last, j)) for j in range(last)]


def forgetting(A: Matrix) -> float | None:
    """Average forgetting: mean of `forgettings`; None for T = 1.

    Source: RWalk (Chaudhry et al., ECCV 2018), with the maximum over l >= j only.

    >>> round(forgetting(A), 3)
    0.175
    """
    return _mean(forgettings(A))


def fwt(A: Matrix, untrained: Row | None) -> float | None:
    """Forward transfer: 1/(T-1) sum_{j>0} A[j-1, j] - b[j]; None for T = 1.

    Source: GEM (Lopez-Paz & Ranzato, NeurIPS 2017). Only meaningful if the tasks share their labels.

    >>> fwt([[0.9, 0.5], [0.8, 0.85]], untrained=[0.25, 0.25])
    0.25

    Args:
        A: T rows. Row l holds at least l + 2 accuracies: the next task is measured before it is learned.
        untrained: b, T accuracies of the untrained model; None if they were not measured.
    """
    if untrained is None:
        return None
    return _mean([_minus(_at(A, j - 1, j), _at([untrained], 0, j)) for j in range(1, len(A))])


def average_incremental(A: Matrix) -> float | None:
    """Average incremental accuracy: (1/T) sum_k acc(A[:k]), the mean over time of the accuracy on the tasks so far.

    Source: iCaRL (Rebuffi et al., CVPR 2017). Every task has the same weight. With test sets of equal size this is the accuracy
    over all classes seen.

    >>> round(average_incremental(A), 3)
    0.836
    """
    return _mean([acc(A[: k + 1]) for k in range(len(A))])


def anytime(trajectory: Trajectory) -> float | None:
    """Average anytime accuracy: mean over all measurements of the mean accuracy on the tasks so far.

    Source: Caccia et al. (ICLR 2022, "New insights on reducing abrupt representation change"). The task in training counts as
    one of the tasks so far. None without measurements within tasks.

    >>> anytime([("within", 0, [0.5]), ("task", 0, [1.0])])
    0.75

    Args:
        trajectory: every measurement after the start. A row holds at least (task + 1) accuracies.
    """
    if not any(kind == "within" for kind, _, _ in trajectory):
        return None
    return _mean([_mean([_at([row], 0, j) for j in range(task + 1)]) for _, task, row in trajectory])


def min_acc(trajectory: Trajectory) -> float | None:
    """Average minimum accuracy: 1/(T-1) sum_{j<T-1} (lowest accuracy on task j after its end).

    Source: De Lange et al. (ICLR 2023), eq. of min-ACC. None for T = 1, and None if a later task has no measurement within it.

    Args:
        trajectory: every measurement after the start. A row holds at least (task + 1) accuracies.
    """
    n_tasks = _measured_within(trajectory)
    if n_tasks is None:
        return None
    return _mean([_worst(_at([row], 0, j) for _, task, row in trajectory if task > j) for j in range(n_tasks - 1)])


def worst_case_accuracy(trajectory: Trajectory) -> float | None:
    """Worst-case accuracy: (1/T) A[T-1, T-1] + (1 - 1/T) min_acc.

    Source: De Lange et al. (ICLR 2023), WC-ACC after the last task. None if `min_acc` is None.

    Args:
        trajectory: every measurement after the start. The last one is the end of the last task.
    """
    lowest = min_acc(trajectory)
    if lowest is None:
        return None
    _, task, row = trajectory[-1]
    newest = _at([row], 0, task)
    return None if newest is None else newest / (task + 1) + (1 - 1 / (task + 1)) * lowest


def stability_gap(trajectory: Trajectory) -> float | None:
    """Depth of temporary forgetting: mean over pairs j < l of min(A[l-1, j], A[l, j]) - (lowest A[., j] during task l).

    An earlier task j loses this accuracy while task l is learned, and regains it by the end of task l. Lasting loss does not
    count, so this metric complements forgetting. De Lange et al. (ICLR 2023) describe the phenomenon without a single number
    for it. Never negative. None for T = 1, and None if a later task has no measurement within it.

    Args:
        trajectory: every measurement after the start. A row holds at least (task + 1) accuracies.
    """
    n_tasks = _measured_within(trajectory)
    if n_tasks is None:
        return None
    A = [row for kind, _, row in trajectory if kind == "task"]
    gaps = []
    for later in range(1, n_tasks):
        within = [row for kind, task, row in trajectory if kind == "within" and task == later]
        for j in range(later):
            ends = _worst([_at(A, later - 1, j), _at(A, later, j)])
            gaps.append(_minus(ends, _worst([ends, *(_at([row], 0, j) for row in within)])))
    return _mean(gaps)


def splits(result: dict[str, Any]) -> tuple[str, ...]:
    """Return what a result measures: `test`, `valid`, or both in this order (`eval.split`).

    Args:
        result: `Record.result`.
    """
    roles = [str(column.get("role", "task")) for column in result.get("columns") or () if isinstance(column, dict)]
    n_tasks = int(result["n_tasks"])
    if roles[:n_tasks] == ["valid"] * n_tasks:
        return ("valid",)
    return ("test", "valid") if roles.count("valid") == n_tasks else ("test",)


def summary(result: dict[str, Any], split: str | None = None) -> dict[str, float | None]:
    """Return every metric of one run, in percent.

    Args:
        result: `Record.result`.
        split: `test` or `valid`; None: the test splits, or the validation splits of a run that has measured no others.

    Raises:
        StoreError: a part of the matrix is missing, or its shapes contradict each other.
    """
    untrained, A, trajectory = decode(result, split)
    sequential = result.get("sequential", True)
    shared_labels = result.get("setting") == "domain"
    final = A if sequential else []
    values = {
        "acc": _mean(A[-1]) if A else None,
        "forgetting": forgetting(final),
        "bwt": bwt(final),
        "learning_accuracy": learning_accuracy(final),
        "fwt": fwt(final, untrained) if shared_labels else None,
        "average_incremental": average_incremental(final),
    }
    from_trajectory: dict[str, Callable[[Trajectory], float | None]] = {
        "anytime": anytime,
        "min_acc": min_acc,
        "worst_case_accuracy": worst_case_accuracy,
        "stability_gap": stability_gap,
    }
    values.update({name: metric(trajectory) if sequential else None for name, metric in from_trajectory.items()})
    return {name: None if value is None else 100 * value for name, value in values.items()}


def decode(result: dict[str, Any], split: str | None = None) -> tuple[Row | None, list[Row], list[tuple[str, int, Row]]]:
    """Return (accuracies of the untrained model or None, A, trajectory) of `Record.result`, columns of the tasks only.

    Requests to forget are left out: the count of tasks skips them.

    Args:
        result: `Record.result`.
        split: as for `summary`.

    Raises:
        StoreError: as `summary`.
    """
    try:
        n_tasks, events, matrix = int(result["n_tasks"]), result["events"], result["matrix"]
        first = _first_column(result, n_tasks, split)
        rows = [fractions(row[first : first + n_tasks]) for row in matrix]
        marks = [(str(event["kind"]), int(event["task"])) for event in events]
        requests = sorted(map(int, (result.get("unlearning") or {}).get("requests", ())))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"the result holds no readable matrix ({type(error).__name__}: {error})", _REMEDY) from error
    untrained = next((row for (kind, _), row in zip(marks, rows) if kind == "untrained"), None)
    trajectory = [
        (kind, task - sum(request < task for request in requests), row)
        for (kind, task), row in zip(marks, rows)
        if kind in ("within", "task") and task not in requests
    ]
    ends = [task for kind, task, _ in trajectory if kind == "task"]
    expected = list(range(n_tasks)) if result.get("sequential", True) else ends[-1:]
    if len(marks) != len(rows) or any(len(row) != n_tasks for row in rows) or not ends or ends != expected:
        raise StoreError(f"the result's matrix does not fit its {n_tasks} tasks and {len(marks)} events", _REMEDY)
    return untrained, [row for kind, _, row in trajectory if kind == "task"], trajectory


_REMEDY = "move the record out of the results folder and start the same command again"


def _first_column(result: dict[str, Any], n_tasks: int, split: str | None) -> int:
    """Return the position of the first column of the tasks' test or validation splits."""
    measured = splits(result)
    if split is not None and split not in measured:
        raise StoreError(f"the result measures {' and '.join(measured)} splits, not {split}", _REMEDY)
    if split != "valid" or measured == ("valid",):
        return 0
    return [column.get("role") for column in result["columns"]].index("valid")


def fractions(row: Sequence[Sequence[float] | None]) -> Row:
    """Return correct / n of each entry of one row of `Record.result["matrix"]`; None for an entry that was not measured.

    >>> fractions([[3, 4], None])
    [0.75, None]
    """
    return [None if entry is None or not entry[1] else entry[0] / entry[1] for entry in row]


def _measured_within(trajectory: Trajectory) -> int | None:
    """Return the number of tasks; None for one task, or if a later task has no measurement within it."""
    n_tasks = sum(kind == "task" for kind, _, _ in trajectory)
    within = {task for kind, task, _ in trajectory if kind == "within"}
    return n_tasks if n_tasks > 1 and within >= set(range(1, n_tasks)) else None


def _at(A: Matrix, row: int, column: int) -> float | None:
    """Return one entry; None if it was not measured or lies outside the matrix."""
    return A[row][column] if 0 <= row < len(A) and column < len(A[row]) else None


def _minus(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean; None if there is no value or one is missing."""
    present = _present(values)
    return sum(present) / len(present) if present else None


def _best(values: Iterable[float | None]) -> float | None:
    return max(_present(list(values)), default=None)


def _worst(values: Iterable[float | None]) -> float | None:
    return min(_present(list(values)), default=None)


def _present(values: Sequence[float | None]) -> list[float]:
    """Return all values, or none if one is missing."""
    present = [value for value in values if value is not None]
    return present if len(present) == len(values) else []
