"""Stand-ins for the function that trains a run: quick, without torch, and each with its own end."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from clbench.errors import ConfigError, DivergedError
from clbench.execution import Execution
from clbench.records import Record, record_path
from clbench.run_spec import RunSpec
from clbench.runner import device_memory

Report = Callable[[dict[str, Any]], None]


def make_spec(results_dir: Path, seed: int = 0, method: str = "naive", **config: Any) -> RunSpec:
    """Return a run; `config` goes to the method's node, where the functions below read what to do."""
    nodes = {"method": {"_target_": method, **config}, "scenario": {"setting": "class"}}
    names = {"method": method, "scenario": "split_digits", "model": "mlp", "optimizer": "sgd"}
    identity = {"names": names, **nodes, "data_sha256": "0", "seed": seed}
    return RunSpec(nodes, identity, results_dir=str(results_dir), execution=Execution(device="cpu"))


def good(spec: RunSpec, report: Report) -> Record:
    """End well."""
    report({"event": "start", "tasks": 2, "resumed_at": 0})
    for task in range(2):
        report({"event": "epoch", "task": task, "epoch": 1, "epochs": 1})
        report({"event": "task", "task": task, "acc": 90.0 + spec.seed})
    return Record(spec.identity, {"value": spec.seed, "threads": os.environ.get("OMP_NUM_THREADS"), "process": os.getpid()})


def by_seed(spec: RunSpec, report: Report) -> Record:
    """Seed 1 raises, 2 is killed, 3 leaves, 4 diverges, 5 prints into everything; the others end well."""
    if spec.seed == 1:
        raise RuntimeError("seed one\nis unlucky")
    if spec.seed == 2:
        sys.stderr.write("the last words\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    if spec.seed == 3:
        sys.exit("a plug-in that leaves")
    if spec.seed == 4:
        raise DivergedError("the loss is nan in task 0", "lower optimizer.lr")
    if spec.seed == 5:
        print('{"event": "done"}')
        os.write(1, b"not json\n")
    return good(spec, report)


def stranger(spec: RunSpec, report: Report) -> Record:
    """Return the record of something else."""
    return Record({**spec.identity, "seed": spec.seed + 1})


def forever(spec: RunSpec, report: Report) -> Record:
    """Report the process id, and never end."""
    report({"event": "start", "tasks": 1, "resumed_at": 0, "process": os.getpid()})
    while True:
        signal.pause()


def endless_at_first(spec: RunSpec, report: Report) -> Record:
    """Never end with seed 0, unless an earlier try has left a checkpoint."""
    checkpoint = spec.checkpoints / "task-0000.pt"
    if spec.seed == 0 and not checkpoint.exists():
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.touch()
        forever(spec, report)
    return good(spec, report)


def must_not_run(spec: RunSpec, report: Report) -> Record:
    """Leave a trace of having been called."""
    Path(spec.results_dir, "called").touch()
    return good(spec, report)


def crowded(spec: RunSpec, report: Report) -> Record:
    """Let seeds 0 and 1 run at the same time with memory for one: seed 1 ends as `how` says, then seed 0 ends well.

    They meet at a pipe: opening it for reading waits for the process that opens it for writing, and reading ends with it.
    """
    how, pipe = spec.config["method"]["how"], Path(spec.results_dir, "pipe")
    if spec.seed == 0:
        with open(pipe, "rb") as meeting:
            meeting.read()
        return good(spec, report)
    if tried(spec) == 1:
        with open(pipe, "wb"):
            report({"event": "start", "tasks": 2, "resumed_at": 0})
            end_of_memory(how)
    if not record_path(Path(spec.results_dir), spec.config["method"]["first"]).exists():
        raise RuntimeError("seed 0 still runs")
    return good(spec, report)


def hungry(spec: RunSpec, report: Report) -> Record:
    """Never have enough memory."""
    tried(spec)
    end_of_memory(spec.config["method"]["how"])


def tried(spec: RunSpec) -> int:
    """Return how many times the run was tried, this one included."""
    path = Path(spec.results_dir, f"tries-{spec.seed}")
    with open(path, "a") as file:
        file.write("x")
    return path.stat().st_size


def end_of_memory(how: str) -> NoReturn:
    """End as a process without memory: by an error of torch or Python, by a kill of the system, or by torch's abort."""
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


def deaf(spec: RunSpec, report: Report) -> Record:
    """Report the process id, and never end, in a call that holds Python's global lock."""
    report({"event": "print", "text": str(os.getpid())})
    ctypes.PyDLL(None).pause()
    return Record(spec.identity)


def several(specs: Any, report: Callable[..., None]) -> Any:
    """Execute several runs or one, as `by_seed` would, and write down their seeds."""
    every = [specs] if isinstance(specs, RunSpec) else list(specs)
    with open(Path(every[0].results_dir, "asked"), "a") as file:
        file.write(" ".join(str(spec.seed) for spec in every) + "\n")
    if isinstance(specs, RunSpec):
        return by_seed(specs, report)
    made: list[Record | Exception] = []
    for spec in every:
        try:
            made.append(by_seed(spec, lambda message, spec=spec: report(spec, message)))  # type: ignore[misc]
        except Exception as error:
            made.append(error)
    return made


def short_of_memory(specs: Any, report: Callable[..., None]) -> Any:
    """Never have enough memory for more than two runs."""
    if len(specs) > 2:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return several(specs, report)


def list_checkpoints(spec: RunSpec, report: Report) -> Record:
    """Write down the names of the checkpoints at the start, and end well."""
    names = sorted(path.name for path in spec.checkpoints.glob("*.pt"))
    Path(spec.results_dir, "checkpoints").write_text(" ".join(names))
    return good(spec, report)


def refuse(spec: RunSpec, report: Report) -> Record:
    """Seed 0 is refused before training starts; seed 1 in its second task, as runs report it."""
    if spec.seed == 0:
        raise ConfigError("method.strength=-1", "give a positive one")
    about = {"setting": "domain", "access": "seen", "goal": None}
    report({"event": "start", "tasks": 2, "resumed_at": 0, **about})
    report({"event": "task", "task": 0, "acc": 90.0})
    report({"event": "stopped", "task": 1, "step": 12, "events": 3})
    raise ConfigError("method.strength=-1", "give a positive one")


def die_in_task_1(spec: RunSpec, report: Report) -> Record:
    """Be killed in the second task."""
    report({"event": "start", "tasks": 2, "resumed_at": 0})
    report({"event": "task", "task": 0, "acc": 90.0})
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("dead")


def interrupt(spec: RunSpec, report: Report) -> Record:
    """Be interrupted by the user."""
    report({"event": "start", "tasks": 2, "resumed_at": 0})
    raise KeyboardInterrupt


def one_hangs(specs: Any, report: Callable[..., None]) -> Any:
    """End well, one run after the other, each with its time limit; seed 1 holds Python's global lock for ever."""
    every = [specs] if isinstance(specs, RunSpec) else list(specs)
    for spec in every:
        message = {"event": "clock", "seconds": 1.0 if spec.seed == 1 else 600.0, "runs": [spec.id]}
        report(message) if isinstance(specs, RunSpec) else report(spec, message)
        if spec.seed == 1:
            ctypes.PyDLL(None).pause()
    made = [Record(spec.identity, {"value": spec.seed}) for spec in every]
    return made[0] if isinstance(specs, RunSpec) else made


def leaves_a_trap(spec: RunSpec, report: Report) -> Record:
    """End well; after seed 0 the process hangs before its next run begins."""

    def hang() -> None:
        while True:
            signal.pause()

    if spec.seed == 0:
        device_memory.clear = hang  # called before every run
    return good(spec, report)


def swallowing(spec: RunSpec, report: Report) -> Record:
    """Seed 0 catches every exception and never ends; the others end well."""
    while spec.seed == 0:
        with suppress(BaseException):
            signal.pause()
    return good(spec, report)


def leaves_a_process(spec: RunSpec, report: Report) -> Record:
    """Seed 0 dies, and leaves a process that has a copy of every open file; seed 1 closes all files and never ends."""
    if spec.seed == 0 and os.fork():
        os._exit(3)
    if spec.seed == 1:
        os.closerange(3, 1000)
    while spec.seed < 2:
        signal.pause()
    return good(spec, report)
