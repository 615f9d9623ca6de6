"""Signs of life of a run, sent by a thread of its own: the run itself does nothing for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from clbench.run_spec import RunSpec
from clbench.runner.worker_messages import Report
from clbench.utils.one_time import listening
from clbench.utils.signs_of_life import reading

BEAT = 10.0
"""Largest number of seconds between two looks."""
SHARE = 0.25
"""Largest share of `runner.stall_notice` between two looks, so that a notice is hardly late."""


@contextmanager
def heartbeat(spec: RunSpec, report: Report) -> Iterator[None]:
    """Within the block, report `alive` whenever the run has moved on since the last look, and progress of one-time work.

    Args:
        spec: the run, or the first of a stack.
        report: takes the messages, also from another thread.
    """
    notice = spec.execution.stall_notice
    pause = BEAT if notice is None else min(BEAT, SHARE * notice)
    over = threading.Event()

    def look() -> None:
        last = reading()
        while not over.wait(pause):
            now = reading()
            if now != last:
                last = now
                report(spec.id, {"event": "alive"})

    watcher = threading.Thread(target=look, name="clbench: signs of life", daemon=True)
    watcher.start()
    try:
        with listening(lambda text: report(spec.id, {"event": "work", "text": text})):
            yield
    finally:
        over.set()
        watcher.join()
