"""Worker processes: started, fed one cell at a time, replaced when they die, stopped."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clbench.cells import Cell
from clbench.errors import StoreError
from clbench.runner.execute import log_failure

Message = dict[str, Any]
Notify = Callable[[Cell, Message], None]
LAST = ("done", "present", "busy", "failed")
"""Events that end a cell."""
GRACE = 5.0
"""Seconds that a worker gets to leave before it is killed."""


@dataclass
class Worker:
    """A running process.

    Args:
        process: it.
        slot: its environment variables.
        log: where its standard error goes.
        cell: what it is at; None when it has nothing to do.
        mark: length of the log in bytes when the cell was given out.
    """

    process: subprocess.Popen[str]
    slot: dict[str, str]
    log: Path
    cell: Cell | None = None
    mark: int = 0


def run(cells: Sequence[Cell], slots: Sequence[dict[str, str]], logs: Path, trial: str, notify: Notify) -> None:
    """Run all cells in one worker per slot; a cell whose worker dies has failed, and a new worker takes over.

    Args:
        cells: in the order in which they are given out.
        slots: environment variables of each worker.
        logs: folder for `worker-N.log`.
        trial: dotted name of the function that trains.
        notify: is told (cell, message) as things happen, in this thread; one message of `LAST` per cell.

    Raises:
        StoreError: the logs cannot be written.
        KeyboardInterrupt: passed on, with the workers stopped.
    """
    waiting = deque(cells)
    inbox: queue.SimpleQueue[tuple[Worker, Message | None]] = queue.SimpleQueue()
    workers: list[Worker] = []
    try:
        for number, slot in enumerate(slots[: len(cells)]):
            workers.append(_start(slot, logs / f"worker-{number}.log", trial, inbox))
            _give(workers[-1], waiting, notify)
        while any(worker.cell for worker in workers):
            worker, message = inbox.get()
            if message is None:
                workers.remove(worker)
                if worker.cell is None:
                    continue
                cell, worker.cell = worker.cell, None
                reason, story = _obituary(worker)
                log_failure(cell, story)
                notify(cell, {"event": "failed", "reason": reason})
                if waiting:
                    workers.append(_start(worker.slot, worker.log, trial, inbox))
                    _give(workers[-1], waiting, notify)
            elif worker.cell is not None:
                notify(worker.cell, message)
                if message["event"] in LAST:
                    worker.cell = None
                    _give(worker, waiting, notify)
    finally:
        _stop(workers)


def _start(slot: dict[str, str], log: Path, trial: str, inbox: queue.SimpleQueue[tuple[Worker, Message | None]]) -> Worker:
    # The worker finds modules where this process finds them (a plug-in's folder); -P keeps its own working folder from
    # going before everything else. A session of its own: Ctrl-C comes to this process alone, which stops the workers.
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment = {**os.environ, **slot, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-P", "-m", "clbench.runner.worker", "--trial", trial]
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )
    except OSError as error:
        raise StoreError(
            f"a worker cannot be started: {error.filename or log}: {error.strerror or error}",
            "free space and memory, or choose another results_dir",
        ) from error
    worker = Worker(process, slot, log)
    threading.Thread(target=_listen, args=(worker, inbox), daemon=True).start()
    return worker


def _listen(worker: Worker, inbox: queue.SimpleQueue[tuple[Worker, Message | None]]) -> None:
    assert worker.process.stdout is not None
    with worker.process.stdout as answers:
        for line in answers:
            try:
                inbox.put((worker, json.loads(line)))
            except json.JSONDecodeError:  # the last line of a worker that was killed while writing it
                continue
    inbox.put((worker, None))


def _give(worker: Worker, waiting: deque[Cell], notify: Notify) -> None:
    """Give the worker its next cell, or let it go."""
    assert worker.process.stdin is not None
    with suppress(BrokenPipeError):  # it is dead; its end is in the inbox
        if waiting:
            worker.cell = waiting.popleft()
            notify(worker.cell, {"event": "begin"})
            worker.mark = worker.log.stat().st_size
            worker.process.stdin.write(json.dumps(worker.cell.to_dict()) + "\n")
            worker.process.stdin.flush()
        else:
            worker.process.stdin.close()


def _obituary(worker: Worker) -> tuple[str, str]:
    """Return (one line, the whole story) of a worker's end."""
    code = worker.process.wait()
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = " (often: out of memory)" if name == "SIGKILL" else ""
        reason = f"its process was ended by {name}{hint}"
    else:
        reason = f"its process ended by itself with status {code}"
    with open(worker.log, "rb") as file:
        file.seek(worker.mark)
        lines = file.read().decode("utf-8", "replace").splitlines()
    last = [line.strip() for line in lines if line.strip()][-2:]
    if last:
        reason += f"; the last it said: {' / '.join(last)}"
    return reason, "\n".join([reason, "", *lines, ""])


def _stop(workers: Sequence[Worker]) -> None:
    for worker in workers:
        if worker.cell is not None:
            worker.process.terminate()
        if worker.process.stdin is not None:
            with suppress(BrokenPipeError):
                worker.process.stdin.close()
    for worker in workers:
        try:
            worker.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
