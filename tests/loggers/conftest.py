"""A finished info with known numbers, and its way there."""

import pytest

from clbench.loggers.base import RunInfo
from clbench.records import Record

ROWS = [  # design's worked example begins so: accuracy in percent on tasks 0, 1, 2
    ("untrained", -1, None, [10, 11, 12]),
    ("within", 0, 20, [50, 11, 12]),
    ("task", 0, None, [92, 20, 12]),
    ("task", 1, None, [85, 90, 13]),
    ("within", 2, 20, [40, 60, 70]),
    ("task", 2, None, [87, 94, 88]),
]


def result_of(rows):
    return {
        "setting": "class",
        "n_tasks": 3,
        "sequential": True,
        "access": "current",
        "task_names": ["zero", "one", "two"],
        "columns": [{"name": f"task {j}", "role": "task", "metric": "accuracy"} for j in range(3)],
        "events": [{"kind": kind, "task": task, "step": step} for kind, task, step, _ in rows],
        "matrix": [[[correct, 100] for correct in row] for *_, row in rows],
        "curves": {},
        "diagnostics": {},
    }


@pytest.fixture
def so_far():
    """Return the result after the first n measurements."""
    return lambda n: result_of(ROWS[:n])


@pytest.fixture
def record():
    """Return the finished info."""
    names = {"method": "er", "scenario": "split_digits", "model": "mlp", "optimizer": "sgd"}
    identity = {"names": names, "method": {"buffer_size": 50}, "scenario": {"setting": "class"}, "seed": 7}
    return Record(identity, result_of(ROWS), {"seconds": 1.5, "flops": None}, {"variant": "buffer_size=50"})


@pytest.fixture
def info(record, tmp_path):
    """Return the description of the info as its only one."""
    return RunInfo.of(record.identity, record.id, "buffer_size=50", str(tmp_path / "runs"), n_runs=1, color=False)


@pytest.fixture
def said():
    """Return what was said to the user; its `append` is the channel."""
    return []
