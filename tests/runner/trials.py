"""Stand-ins for the trial: quick, torch-free, and each with its own way of ending."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clbench.cells import Cell
from clbench.errors import DivergedError
from clbench.records import Record

Report = Callable[[dict[str, Any]], None]


def make_cell(results_dir: Path, seed: int = 0, method: str = "naive", **config: Any) -> Cell:
    """Return a cell; `config` goes to the method's node, where the trials below read what to do."""
    nodes = {"method": {"_target_": method, **config}, "scenario": {"setting": "class"}}
    names = {"method": method, "scenario": "split_digits", "model": "mlp", "optimizer": "sgd"}
    identity = {"names": names, **nodes, "data_sha256": "0", "seed": seed}
    return Cell(nodes, identity, results_dir=str(results_dir), device="cpu")


def good(cell: Cell, report: Report) -> Record:
    """End well."""
    report({"event": "start", "tasks": 2, "resumed_at": 0})
    for task in range(2):
        report({"event": "epoch", "task": task, "epoch": 1, "epochs": 1})
        report({"event": "task", "task": task, "acc": 90.0 + cell.seed})
    return Record(cell.identity, {"value": cell.seed, "threads": os.environ.get("OMP_NUM_THREADS"), "process": os.getpid()})


def by_seed(cell: Cell, report: Report) -> Record:
    """Seed 1 raises, 2 is killed, 3 leaves, 4 diverges, 5 prints into everything; the others end well."""
    if cell.seed == 1:
        raise RuntimeError("seed one\nis unlucky")
    if cell.seed == 2:
        sys.stderr.write("the last words\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    if cell.seed == 3:
        sys.exit("a plug-in that leaves")
    if cell.seed == 4:
        raise DivergedError("the loss is nan in task 0", "lower optimizer.lr")
    if cell.seed == 5:
        print('{"event": "done"}')
        os.write(1, b"not json\n")
    return good(cell, report)


def stranger(cell: Cell, report: Report) -> Record:
    """Return the record of something else."""
    return Record({**cell.identity, "seed": cell.seed + 1})


def forever(cell: Cell, report: Report) -> Record:
    """Say which process this is, and never end."""
    report({"event": "start", "tasks": 1, "resumed_at": 0, "process": os.getpid()})
    while True:
        signal.pause()


def must_not_run(cell: Cell, report: Report) -> Record:
    """Leave a trace of having been called."""
    Path(cell.results_dir, "called").touch()
    return good(cell, report)


def deaf(cell: Cell, report: Report) -> Record:
    """Say which process this is, and never end, in a call that lets no other thread of Python run."""
    report({"event": "print", "text": str(os.getpid())})
    ctypes.PyDLL(None).pause()
    return Record(cell.identity)
