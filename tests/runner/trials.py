"""Stand-ins for the trial: quick, torch-free, and each with its own way of ending."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from clbench.cells import Cell
from clbench.errors import DivergedError
from clbench.records import Record, record_path

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


def crowded(cell: Cell, report: Report) -> Record:
    """Seeds 0 and 1 meet, and there is memory for one: seed 1 ends as `how` says, and then seed 0 well; seed 1 bears no other.

    A pipe is where they meet: to open it for reading waits for who opens it for writing, and it ends when that one does.
    """
    how, pipe = cell.config["method"]["how"], Path(cell.results_dir, "pipe")
    if cell.seed == 0:
        with open(pipe, "rb") as meeting:
            meeting.read()
        return good(cell, report)
    if tried(cell) == 1:
        with open(pipe, "wb"):
            report({"event": "start", "tasks": 2, "resumed_at": 0})
            end_of_memory(how)
    if not record_path(Path(cell.results_dir), cell.config["method"]["first"]).exists():
        raise RuntimeError("seed 0 is still at it")
    return good(cell, report)


def hungry(cell: Cell, report: Report) -> Record:
    """There is not enough memory for any, ever."""
    tried(cell)
    end_of_memory(cell.config["method"]["how"])


def tried(cell: Cell) -> int:
    """Return how many times the cell was tried, this one included."""
    path = Path(cell.results_dir, f"tries-{cell.seed}")
    with open(path, "a") as file:
        file.write("x")
    return path.stat().st_size


def end_of_memory(how: str) -> NoReturn:
    """End as a process does that finds no memory: by an error of torch's or Python's, or by the system's or torch's own hand."""
    if how == "cuda":
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has no more")
    if how == "host":
        raise MemoryError
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stderr.write("terminate called after throwing an instance of 'c10::OutOfMemoryError'\n")
    sys.stderr.flush()
    os._exit(134)


class OutOfMemoryError(RuntimeError):
    """Has the name of torch's."""


def deaf(cell: Cell, report: Report) -> Record:
    """Say which process this is, and never end, in a call that lets no other thread of Python run."""
    report({"event": "print", "text": str(os.getpid())})
    ctypes.PyDLL(None).pause()
    return Record(cell.identity)


def several(cells: Any, report: Callable[..., None]) -> Any:
    """Run cells side by side, or one, as `by_seed` would; who is asked for is written down."""
    together = [cells] if isinstance(cells, Cell) else list(cells)
    with open(Path(together[0].results_dir, "asked"), "a") as file:
        file.write(" ".join(str(cell.seed) for cell in together) + "\n")
    if isinstance(cells, Cell):
        return by_seed(cells, report)
    made: list[Record | Exception] = []
    for cell in together:
        try:
            made.append(by_seed(cell, lambda message, cell=cell: report(cell, message)))  # type: ignore[misc]
        except Exception as error:
            made.append(error)
    return made


def short_of_memory(cells: Any, report: Callable[..., None]) -> Any:
    """There is never enough memory for more than two."""
    if len(cells) > 2:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return several(cells, report)
