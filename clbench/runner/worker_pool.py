"""Worker processes: start, one run at a time, replacement after a death, stop. `schedule` decides the order of the runs."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from time import monotonic

from clbench.errors import StoreError
from clbench.run_spec import RunSpec
from clbench.runner.device_memory import Needs, says_out_of_memory
from clbench.runner.execute import failure_log, log_failure
from clbench.runner.outcome import Status
from clbench.runner.schedule import Schedule
from clbench.runner.worker_messages import End, Message, Report, decode
from clbench.store.failures import Kind
from clbench.utils.time_limit import too_long

Inbox = queue.SimpleQueue[tuple["Worker", tuple[str, Message] | None]]
"""Of (worker, (id of the run, message)); None: the worker's output has ended."""
ALONE = "; it had its device to itself"
"""Added to the reason of a run that was out of memory without another run on its device."""
SMALLER = "lower trainer.batch_size or eval.batch_size, give data.residence=host, or use a device with more memory"
LONG = 120
"""Characters of a reason in the line about another try."""
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
        deadline: the worker is killed then, because of `runner.time_limit`; by then it should have stopped the run itself.
        late: True after the worker was killed for that.
    """

    process: subprocess.Popen[str]
    slot: dict[str, str]
    log: Path
    spec: RunSpec | None = None
    mark: int = 0
    number: int = 0
    deadline: float = inf
    late: bool = False


def run(
    specs: Sequence[RunSpec],
    slots: Sequence[dict[str, str]],
    logs: Path,
    function: str,
    notify: Report,
    needs: Needs | None = None,
    budgets: Mapping[str, int] | None = None,
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

    Raises:
        StoreError: the logs cannot be written.
        KeyboardInterrupt: passed on, with the workers stopped.
    """
    schedule = Schedule(specs, slots, needs, budgets)
    inbox: Inbox = queue.SimpleQueue()
    workers: list[Worker] = []

    def fill() -> None:
        for number, spec in schedule.start():
            worker = next((w for w in workers if w.number == number), None)
            if worker is None:
                worker = _start(slots[number], logs / f"worker-{number}.log", function, inbox)
                worker.number = number
                workers.append(worker)
            _give(worker, spec, notify)
        for worker in [worker for worker in workers if worker.spec is None]:  # an idle worker would keep its memory
            _let_go(worker, workers, leaving)

    def over(worker: Worker, end: End) -> None:
        """End the worker's run, or schedule another try."""
        assert worker.spec is not None
        spec, worker.spec, worker.deadline = worker.spec, None, inf
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

    leaving: list[Worker] = []
    try:
        fill()
        while any(worker.spec for worker in workers):
            patience = min(worker.deadline for worker in workers) - monotonic()
            try:
                worker, answer = inbox.get(timeout=None if patience == inf else max(patience, 0.0))
            except queue.Empty:
                for worker in workers:
                    if worker.deadline <= monotonic():
                        worker.process.kill()
                        worker.deadline = inf
                        worker.late = True
                continue
            if answer is None:
                if worker in leaving:
                    leaving.remove(worker)
                if worker in workers:
                    workers.remove(worker)
                if worker.spec is None:
                    continue
                end, report = _death(worker)
                limit = worker.spec.execution.time_limit
                if worker.late and limit is not None:
                    error = too_long(limit)
                    end, report = End(Status.FAILED, error.what, error.remedy, kind=Kind.TIME_LIMIT), str(error)
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
                else:
                    notify(run, message)
    finally:
        _stop([*workers, *leaving])


def _start(slot: dict[str, str], log: Path, function: str, inbox: Inbox) -> Worker:
    # The worker finds modules where this process finds them (the folder of a plug-in). -P keeps the working folder from the
    # first place of the search path. In a session of its own the worker gets no Ctrl-C; this process stops it.
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment = {**os.environ, **slot, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-P", "-m", "clbench.runner.worker", "--function", function]
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


def _listen(worker: Worker, inbox: Inbox) -> None:
    assert worker.process.stdout is not None
    with worker.process.stdout as answers:
        for line in answers:
            try:
                inbox.put((worker, decode(line)))
            except json.JSONDecodeError:  # the last line of a worker that was killed while it wrote
                continue
    inbox.put((worker, None))


def _give(worker: Worker, spec: RunSpec, notify: Report) -> None:
    """Give the worker its next run."""
    assert worker.process.stdin is not None
    worker.spec = spec
    notify(spec.id, {"event": "begin"})
    worker.mark = worker.log.stat().st_size
    with suppress(BrokenPipeError):  # it is dead; the inbox has its end
        worker.process.stdin.write(json.dumps(spec.to_dict()) + "\n")
        worker.process.stdin.flush()


def _let_go(worker: Worker, workers: list[Worker], leaving: list[Worker]) -> None:
    """Let an idle worker end, which frees its memory."""
    assert worker.process.stdin is not None
    if worker in workers:
        workers.remove(worker)
        leaving.append(worker)
    with suppress(BrokenPipeError):
        worker.process.stdin.close()


def _death(worker: Worker) -> tuple[End, str]:
    """Return the end of a dead worker's run, and the full report for its log."""
    code = worker.process.wait()
    killed = code == -signal.SIGKILL
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        reason = f"its process was ended by {name}{' (often: out of memory)' if killed else ''}"
    else:
        reason = f"its process ended by itself with status {code}"
    with open(worker.log, "rb") as file:
        file.seek(worker.mark)
        lines = file.read().decode("utf-8", "replace").splitlines()
    last = " / ".join([line.strip() for line in lines if line.strip()][-2:])
    if last:
        reason += f"; its last output: {last}"
    memory = killed or says_out_of_memory(last)
    end = End(Status.FAILED, reason, out_of_memory=memory, kind=Kind.OUT_OF_MEMORY if memory and not killed else Kind.KILLED)
    return end, "\n".join([reason, "", *lines, ""])


def _stop(workers: Sequence[Worker]) -> None:
    for worker in workers:
        if worker.spec is not None:
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
