"""A worker process: `python -m clbench.runner.worker`. Reads runs as lines of JSON, answers with lines of JSON.

Answers leave through a private copy of standard output; whatever the trial itself prints goes to the log.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import queue
import signal
import threading
from contextlib import suppress
from typing import Any, TextIO

from clbench.run_spec import RunSpec
from clbench.runner import device_memory
from clbench.runner.execute import TRIAL
from clbench.runner.stacks import execute_stack

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl: the signal that a process gets when the thread that started it ends."""


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trial", default=TRIAL, help="dotted name of the function that trains")
    trial = parser.parse_args().trial
    _die_with_runner()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    orders = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    specs: queue.SimpleQueue[RunSpec] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders, specs), daemon=True).start()

    def send(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    while True:
        spec = specs.get()
        device_memory.clear()
        ended = execute_stack(spec, trial, send)
        send({**ended, "memory": device_memory.peak()} if ended["event"] == "done" else ended)


def _die_with_runner() -> None:
    """Have Linux end this process when the runner dies, even inside a long call that lets no other thread of Python run.

    Elsewhere, or if the runner is dead already, `_listen` finds out.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _listen(orders: TextIO, specs: queue.SimpleQueue[RunSpec]) -> None:
    """Queue the runs that arrive, and leave when there are no more.

    The input ends when the runner is done with us, or is dead: either way there is nobody left to work for. Leaving at
    once is safe: records and checkpoints are written whole or not at all.
    """
    for line in orders:
        specs.put(RunSpec.from_dict(json.loads(line)))
    os._exit(0)


if __name__ == "__main__":
    main()
