"""Runs in the calling process (`runner.workers=0`): their heartbeat, and the end of a command whose run cannot be stopped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from clbench.run_spec import RunSpec
from clbench.runner.execute import execute
from clbench.runner.heartbeat import heartbeat
from clbench.runner.outcome import Status
from clbench.runner.stacks import execute_stack, unstack
from clbench.runner.worker_messages import End, Message, Report
from clbench.runner.worker_process import GRACE
from clbench.store.failures import Kind
from clbench.utils.interrupts import end_command, is_command
from clbench.utils.time_limit import too_long

if TYPE_CHECKING:
    from clbench.runner.progress import Display

TICK = 1.0
"""Seconds between two looks at the time, and at what the display has to say."""


def run_here(spec: RunSpec, function: str, notify: Report, display: Display) -> None:
    """Execute a run, or a stack, in this process.

    An alarm stops a run that takes longer than `runner.time_limit` (`clbench.utils.time_limit`). Within a call of a library that
    does not return, no alarm arrives. The run has then failed all the same. A command ends with status 1; a program that uses
    the package goes on to wait.

    Args:
        spec: the run, or the first of a stack.
        function: dotted name of the function that trains a run.
        notify: takes messages, also from another thread.
        display: its `tick` is called.
    """
    clock = _Clock(spec, notify)
    notify(spec.id, {"event": "begin"})
    with heartbeat(spec, clock.notify), _ticking(display, clock):
        end = (execute_stack if spec.stacked else execute)(spec, function, clock.notify)
        clock.deadline = inf
    notify(spec.id, end)


class _Clock:
    """Passes messages on, and ends runs that no alarm has stopped."""

    def __init__(self, spec: RunSpec, notify: Report) -> None:
        self.spec, self.deadline = spec, inf
        self._notify = notify
        self._timed: list[str] = []

    def notify(self, run: str, message: Message) -> None:
        if not isinstance(message, End) and message["event"] == "clock":
            self.deadline, self._timed = monotonic() + message["seconds"] + GRACE, message["runs"]
        self._notify(run, message)

    def check(self) -> None:
        """End the runs whose time is over, and this process, if it is a command."""
        limit = self.spec.execution.time_limit
        if monotonic() < self.deadline or limit is None:
            return
        self.deadline = inf
        error = too_long(limit)
        stuck = [each for each in unstack(self.spec) if each.id in self._timed]
        for each in stuck:
            self._notify(each.id, End(Status.FAILED, error.what, error.remedy, kind=Kind.TIME_LIMIT))
        if is_command():
            end_command(
                f"failed: {', '.join(each.label for each in stuck)}: {error.what}, in a call that does not return. With "
                "runner.workers=0 this ends the command. Finished runs are stored; runner.workers=1 lets the others go on",
                1,
            )


@contextmanager
def _ticking(display: Display, clock: _Clock) -> Iterator[None]:
    over = threading.Event()

    def tick() -> None:
        while not over.wait(TICK):
            display.tick()
            clock.check()

    ticker = threading.Thread(target=tick, name="clbench: display", daemon=True)
    ticker.start()
    try:
        yield
    finally:
        over.set()
        ticker.join()
