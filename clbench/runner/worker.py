"""A worker process: `python -m clbench.runner.worker`. It reads runs and writes messages, one line of JSON each.

Messages use a private copy of the standard output. Output of the run itself goes to the log.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import queue
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TextIO

from clbench.run_spec import RunSpec
from clbench.runner import device_memory
from clbench.runner.execute import RUN_FUNCTION, execute
from clbench.runner.heartbeat import heartbeat
from clbench.runner.outcome import Status
from clbench.runner.stacks import execute_stack
from clbench.runner.worker_messages import Message, encode
from clbench.utils.tolerant import tolerant

PR_SET_PDEATHSIG = 1
"""Option of Linux's prctl: the signal for this process when the thread that started it ends."""


def main() -> None:
    """Execute runs until the standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--function", default=RUN_FUNCTION, help="dotted name of the function that trains a run")
    function = parser.parse_args().function
    _die_with_runner()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    orders = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout, sys.stderr = tolerant(sys.stdout), tolerant(sys.stderr)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    specs: queue.SimpleQueue[RunSpec] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders, specs), daemon=True).start()

    writing = threading.Lock()

    def send(run: str, message: Message) -> None:
        line = encode(run, message)
        with writing:  # the heartbeat is another thread
            answers.write(line)
            answers.flush()

    while True:
        spec = specs.get()
        device_memory.clear()
        with heartbeat(spec, send):
            end = execute_stack(spec, function, send) if spec.stacked else execute(spec, function, send)
        send(spec.id, replace(end, peak_memory=device_memory.peak()) if end.status is Status.DONE else end)


def _die_with_runner() -> None:
    """Let Linux end this process when the runner dies, even within a long call that holds Python's global lock.

    On other systems, and if the runner has died before, `_listen` ends this process.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _listen(orders: TextIO, specs: queue.SimpleQueue[RunSpec]) -> None:
    """Queue the runs that arrive, and end the process when the input ends.

    The input ends when the runner needs no worker any more, or has died. An immediate end is safe: records and checkpoints
    are complete or absent.
    """
    for line in orders:
        specs.put(RunSpec.from_dict(json.loads(line)))
    os._exit(0)


if __name__ == "__main__":
    main()
