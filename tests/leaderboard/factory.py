"""Synthetic records, shaped as runs write them."""

from clbench.records import Record


def result(A, setting="class", access="current", sequential=True, untrained=None, n=1000):
    """Return a `Record.result` of a matrix in percent, rows after each task."""
    T = len(A[-1])
    rows = [untrained or [10.0] * T, *([*row, *[10.0] * (T - len(row))] for row in A)]
    tasks = [-1, *(range(T) if sequential else [T - 1])]
    return {
        "setting": setting,
        "n_tasks": T,
        "sequential": sequential,
        "access": access,
        "stream": "f" * 64,
        "task_names": [f"task {j}" for j in range(T)],
        "columns": [{"name": f"task {j}", "role": "task", "metric": "accuracy"} for j in range(T)],
        "events": [{"kind": "task" if task >= 0 else "untrained", "task": task, "step": None} for task in tasks],
        "matrix": [[[round(value * n / 100), n] for value in row] for row in rows],
        "curves": {},
        "diagnostics": {},
    }


def record(
    seed=0,
    A=((90.0,), (80.0, 95.0)),
    *,
    method="er",
    scenario="split_digits",
    model="mlp",
    variant="",
    names=None,
    identity=None,
    cost=None,
    **of_result,
):
    """Return one record; `identity` adds to or replaces parts of its configuration."""
    whole = {
        "names": {"method": method, "scenario": scenario, "model": model, "optimizer": "sgd", **(names or {})},
        "method": {"_target_": f"clbench.methods.{method}", "version": 1},
        "scenario": {"n_tasks": 2},
        "model": {"hidden": [100, 100]},
        "optimizer": {"lr": 0.1},
        "trainer": {"epochs": 1},
        "eval": {"every": None},
        "data_sha256": "0" * 64,
        **(identity or {}),
        "seed": seed,
    }
    spent = {
        "seconds": 2.0 + seed,
        "train_seconds": 1.0,
        "eval_seconds": 1.0,
        "samples": 1000,
        "samples_per_second": 1000.0,
        "peak_memory_bytes": 10,
        "method_state_bytes": 256 * seed,
        "parameters": 1000,
        "flops": None,
        "bytes_sent": 0,
        **(cost or {}),
    }
    return Record(whole, result([list(row) for row in A], **of_result), spent, {"variant": variant, "clbench": "0.1.0"})
