"""Worker processes: start, one run at a time, replacement after a death, stop. `schedule` decides the order of the runs."""

from __future__ import annotations

import json
import os
import queue
import signal
import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from pathlib import Path
from time import monotonic

from clbench.run_spec import RunSpec
from clbench.runner.device_memory import Needs
from clbench.runner.execute import failure_log, log_failure
from clbench.runner.outcome import Status
from clbench.runner.schedule import Schedule
from clbench.runner.stacks import unstack
from clbench.runner.worker_messages import NOT_BEGUN, End, Report
from clbench.runner.worker_process import GRACE, Inbox, Worker, death, start
from clbench.store.failures import Kind
from clbench.utils import processes
from clbench.utils.time_limit import too_long

ALONE = "; it had its device to itself"
"""Added to the reason of a run that was out of memory without another run on its device."""
SMALLER = "lower trainer.batch_size or eval.batch_size, give data.residence=host, or use a device with more memory"
LONG = 120
"""Characters of a reason in the line about another try."""
START = 600.0
"""Seconds besides `runner.time_limit` from a run's arrival at a worker until the limit begins: libraries are imported meanwhile.

Imports take seconds, on a slow network file system minutes. Our choice is ample.
"""
TICK = 1.0
"""Seconds between two looks at the deadlines, and at what the display has to say."""


def run(
    specs: Sequence[RunSpec],
    slots: Sequence[dict[str, str]],
    logs: Path,
    function: str,
    notify: Report,
    needs: Needs | None = None,
    budgets: Mapping[str, int] | None = None,
    tick: Callable[[], None] = lambda: None,
    more: tuple[Callable[[], Sequence[RunSpec]], Callable[[RunSpec], int]] | None = None,
) -> None:
    """Execute all runs: at most one worker per slot, and as many simultaneous runs as memory allows.

    A run has failed when its worker dies, and a new worker takes over. A run that was out of memory is tried again with fewer
    runs on its device; a kill by the system counts as out of memory. The run has failed when it had its device to itself.

    Args:
        specs: in the order of their start.
        slots: environment variables of each worker.
        logs: folder of `worker-N.log`.
        function: dotted name of the function that trains a run.
        notify: takes messages as they arrive, in this thread; one `End` for each of `specs`.
        needs: memory needs of the runs; None: only slots are counted.
        budgets: bytes that the runs on a device may need together, by name of the device.
        tick: called about every second.
        more: two functions. The first is called after each end of a run, and returns further runs; idle workers then stay. The
            second gives the order of waiting runs. None: there are no further runs.

    Raises:
        StoreError: no worker can be started.
        KeyboardInterrupt: passed on, with the workers stopped.
    """
    schedule = Schedule(specs, slots, needs, budgets)
    inbox: Inbox = queue.SimpleQueue()
    workers: list[Worker] = []

    def fill() -> None:
        if more is not None:
            for spec in more[0]():
                schedule.add(spec)
            schedule.sort(more[1])
        for number, spec in schedule.start():
            worker = next((w for w in workers if w.number == number), None)
            if worker is None:
                worker = start(slots[number], logs / f"worker-{number}.log", function, inbox)
                worker.number = number
                workers.append(worker)
            _give(worker, spec, notify)
        idle = [worker for worker in workers if worker.spec is None]
        for worker in idle if more is None else []:  # an idle worker would keep its memory
            _let_go(worker, workers, leaving)

    def over(worker: Worker, end: End) -> None:
        """End the worker's run, or schedule another try."""
        assert worker.spec is not None
        spec, worker.spec, worker.deadline = worker.spec, None, inf
        if worker.late and worker in workers:  # it was killed while its last message was under way
            _let_go(worker, workers, leaving)
        if end.stops:
            for waiting in schedule.drop():
                notify(waiting.id, NOT_BEGUN)
        if not end.out_of_memory:
            schedule.end(worker.number, end.peak_memory)
            notify(spec.id, end)
            return
        _let_go(worker, workers, leaving)  # a new process has all its memory in one piece
        others = schedule.again(worker.number)
        if others is None:
            notify(spec.id, replace(end, reason=f"{end.reason}{ALONE}", remedy=SMALLER))
            return
        failure_log(spec).unlink(missing_ok=True)
        company = f"at most {others} other runs" if others else "no other run"
        reason = textwrap.shorten(end.reason, LONG, placeholder=" ...")
        notify(spec.id, {"event": "again", "text": f"{spec.label}: {reason}; tried again later, with {company} on its device"})

    def late(worker: Worker, end: End) -> None:
        """End the runs whose time was over, and let the other runs of their stack begin anew, from their checkpoints."""
        assert worker.spec is not None
        spec, worker.spec = worker.spec, None
        schedule.end(worker.number)
        if not worker.timed and worker.given > 1:  # what an earlier run has left behind keeps the worker from beginning
            schedule.add(spec)
            notify(spec.id, {"event": "again", "text": f"{spec.label}: its process did not begin; tried again in a new one"})
            return
        left = [each for each in unstack(spec) if each.id not in worker.over]
        stuck = [each for each in left if each.id in worker.timed] or left
        others = [each for each in left if each not in stuck]
        notify(spec.id, {"event": "apart", "runs": [each.id for each in others]})
        for each in stuck:
            notify(each.id, end)
        if others:
            schedule.add(replace(others[0], stacked=others[1:]))

    leaving: list[Worker] = []
    due = 0.0
    try:
        fill()
        while any(worker.spec for worker in workers):
            now = monotonic()
            if now >= due:
                due = now + TICK
                tick()
            for worker in workers:
                if worker.deadline <= now:
                    processes.kill_all_of(worker.process.pid)
                    worker.deadline = inf
                    worker.late = True
            patience = min(due, *(worker.deadline for worker in workers)) - now
            try:
                worker, answer = inbox.get(timeout=max(patience, 0.0))
            except queue.Empty:
                continue
            if answer is None:
                if worker in leaving:
                    leaving.remove(worker)
                if worker in workers:
                    workers.remove(worker)
                if worker.spec is None:
                    continue
                end, report = death(worker)
                limit = worker.spec.execution.time_limit
                if worker.late and limit is not None:
                    error = too_long(limit)
                    log_failure(worker.spec, str(error))
                    late(worker, End(Status.FAILED, error.what, error.remedy, kind=Kind.TIME_LIMIT))
                else:
                    log_failure(worker.spec, report)
                    over(worker, end)
                fill()
            elif worker.spec is not None:
                run, message = answer
                if isinstance(message, End) and run == worker.spec.id:
                    over(worker, message)
                    fill()
                elif not isinstance(message, End) and message["event"] == "clock":
                    # the worker stops the run by itself unless a call of a library never returns
                    worker.deadline = monotonic() + message["seconds"] + GRACE
                    worker.timed = message.get("runs", [])
                else:
                    if isinstance(message, End):
                        worker.over.add(run)
                    notify(run, message)
    finally:
        _stop([*workers, *leaving])


def _give(worker: Worker, spec: RunSpec, notify: Report) -> None:
    """Give the worker its next run."""
    worker.spec, worker.timed, worker.over, worker.given = spec, [], set(), worker.given + 1
    limit = spec.execution.time_limit
    worker.deadline = inf if limit is None else monotonic() + START + limit * (1 + len(spec.stacked))
    notify(spec.id, {"event": "begin"})
    worker.mark = worker.log_size()
    order = json.dumps(spec.to_dict()) + "\n"

    def write() -> None:
        assert worker.process.stdin is not None
        with suppress(OSError, ValueError):  # the worker is dead; the inbox has its end
            worker.process.stdin.write(order)
            worker.process.stdin.flush()

    # in a thread: a worker that hangs before it listens reads nothing, and a pipe takes 64 kB
    threading.Thread(target=write, daemon=True).start()


def _let_go(worker: Worker, workers: list[Worker], leaving: list[Worker]) -> None:
    """Let an idle worker end, which frees its memory."""
    assert worker.process.stdin is not None
    if worker in workers:
        workers.remove(worker)
        leaving.append(worker)
    with suppress(BrokenPipeError):
        worker.process.stdin.close()


def _stop(workers: Sequence[Worker]) -> None:
    """End all workers, and the processes that their runs have started: by SIGTERM, then by SIGKILL."""
    try:
        for worker in workers:
            if worker.spec is not None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(worker.process.pid, signal.SIGTERM)
            elif worker.process.stdin is not None:
                with suppress(OSError):
                    worker.process.stdin.close()
        deadline = monotonic() + GRACE
        for worker in workers:
            worker.ended.wait(max(0.0, deadline - monotonic()))
    finally:  # after a second Ctrl-C as well
        for worker in workers:
            if not worker.ended.is_set():
                processes.kill_all_of(worker.process.pid)
        for worker in workers:
            worker.ended.wait(GRACE)
