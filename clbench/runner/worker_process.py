"""One worker process: its start, its messages, its end. `worker_pool` has several."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import BinaryIO

from clbench.errors import StoreError
from clbench.run_spec import RunSpec
from clbench.runner.device_memory import says_out_of_memory
from clbench.runner.outcome import Status
from clbench.runner.worker_messages import End, Message, decode
from clbench.store.failures import Kind
from clbench.utils import processes
from clbench.utils.regular_files import open_regular

Inbox = queue.SimpleQueue[tuple["Worker", tuple[str, Message] | None]]
"""Of (worker, (id of the run, message)); None: the worker has ended."""
TAIL = 100_000
"""Largest number of bytes of a dead worker's output that are read and reported."""
GRACE = 5.0
"""Seconds between the request to end and the kill of a worker."""


@dataclass
class Worker:
    """A running process.

    Args:
        process: the process.
        slot: its environment variables.
        log: file of its standard error.
        spec: its present run; None while it is idle.
        mark: length of the log in bytes at the start of the run.
        number: number of its slot.
        timed: ids of the runs whose time limit counts now; empty before the first limit begins.
        over: ids of the runs of its stack that have ended.
        given: number of runs that the worker has got so far.
        mute: True after the worker was killed because it had closed its output.
        ended: set when the process has ended.
        deadline: the worker is killed then, because of `runner.time_limit`; by then it should have stopped the run itself.
        late: True after the worker was killed for that; it gets no other run.
    """

    process: subprocess.Popen[str]
    slot: dict[str, str]
    log: Path
    spec: RunSpec | None = None
    mark: int = 0
    number: int = 0
    deadline: float = inf
    late: bool = False
    timed: Sequence[str] = ()
    over: set[str] = field(default_factory=set)
    given: int = 0
    mute: bool = False
    ended: threading.Event = field(default_factory=threading.Event)

    def log_size(self) -> int:
        """Return the length of the log in bytes; 0 without a log."""
        try:
            return self.log.stat().st_size
        except OSError:
            return 0


def start(slot: dict[str, str], log: Path, function: str, inbox: Inbox) -> Worker:
    """Start a worker; its messages and its end go to `inbox`.

    Args:
        slot: environment variables.
        log: file for its standard error.
        function: dotted name of the function that trains a run.
        inbox: takes the messages, and None when the process has ended.

    Raises:
        StoreError: the process cannot be started.
    """
    # The worker finds modules where this process finds them (the folder of a plug-in). -P keeps the working folder from the
    # first place of the search path. In a session of its own the worker gets no Ctrl-C; this process stops it.
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment = {**os.environ, **slot, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-P", "-m", "clbench.runner.worker", "--function", function]
    try:
        with _opened(log) as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # also the group of the processes that a run starts: they end with the worker
            )
    except OSError as error:
        raise StoreError(
            f"a worker cannot be started: {error.filename or command[0]}: {error.strerror or error}",
            "free memory, or give a smaller number of processes (runner.workers=1)",
        ) from error
    worker = Worker(process, slot, log)
    listener = threading.Thread(target=_listen, args=(worker, inbox), daemon=True)
    listener.start()
    threading.Thread(target=_await, args=(worker, listener, inbox), daemon=True).start()
    return worker


def _opened(log: Path) -> BinaryIO:
    """Open the log of a worker. Where it cannot be written (full disk, a pipe), the worker works without one."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return open(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666), "ab")
    except OSError:
        return open(os.devnull, "ab")


def _listen(worker: Worker, inbox: Inbox) -> None:
    """Pass messages on, and kill a worker that has closed its output: nobody would notice its end."""
    assert worker.process.stdout is not None
    with worker.process.stdout as answers:
        for line in answers:
            try:
                inbox.put((worker, decode(line)))
            except (ValueError, KeyError, TypeError):  # a worker was killed while it wrote, or a run has written here
                continue
    if not worker.ended.wait(GRACE):
        worker.mute = True
        processes.kill_all_of(worker.process.pid)


def _await(worker: Worker, listener: threading.Thread, inbox: Inbox) -> None:
    """Wait for the worker's end, end the processes that its runs have left, and say so to the inbox.

    Such a process may hold the worker's output open. The end of the output is therefore waited for in vain.
    """
    with suppress(ChildProcessError):
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, worker.process.pid, os.WEXITED | os.WNOWAIT)  # its number stays taken until `wait`
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    worker.ended.set()
    listener.join(GRACE)
    inbox.put((worker, None))


def death(worker: Worker) -> tuple[End, str]:
    """Return the end of a dead worker's run, and the full report for its log."""
    code = worker.process.wait()
    killed = code == -signal.SIGKILL
    if worker.mute:
        reason, killed = "its process closed the stream through which it reports", False
    elif code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        reason = f"its process was ended by {name}{' (often: out of memory)' if killed else ''}"
    else:
        reason = f"its process ended by itself with status {code}"
    lines: list[str] = []
    with suppress(OSError), open_regular(worker.log) as file:  # the log may be gone
        file.seek(max(worker.mark, worker.log_size() - TAIL))
        lines = file.read().decode("utf-8", "replace").splitlines()
    last = " / ".join([line.strip() for line in lines if line.strip()][-2:])
    if last:
        reason += f"; its last output: {last}"
    memory = killed or says_out_of_memory(last)
    end = End(Status.FAILED, reason, out_of_memory=memory, kind=Kind.OUT_OF_MEMORY if memory and not killed else Kind.KILLED)
    return end, "\n".join([reason, "", *lines, ""])
