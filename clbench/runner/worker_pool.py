"""Worker processes: started, fed one run at a time, replaced when they die, stopped. `schedule` says what comes when."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clbench.errors import StoreError
from clbench.run_spec import RunSpec
from clbench.runner.device_memory import Needs, out_of_memory
from clbench.runner.execute import failure_log, log_failure
from clbench.runner.schedule import Schedule

Message = dict[str, Any]
Notify = Callable[[RunSpec, Message], None]
LAST = ("done", "present", "busy", "failed")
"""Events that end a run."""
ALONE = (
    "; it had its device to itself -> lower trainer.batch_size or eval.batch_size, give data.residence=host, or use a device "
    "with more memory"
)
"""What is added to the reason of a run that was out of memory."""
GRACE = 5.0
"""Seconds that a worker gets to leave before it is killed."""


@dataclass
class Worker:
    """A running process.

    Args:
        process: it.
        slot: its environment variables.
        log: where its standard error goes.
        spec: what it is at; None when it has nothing to do.
        mark: length of the log in bytes when the run was given out.
        number: of its slot.
    """

    process: subprocess.Popen[str]
    slot: dict[str, str]
    log: Path
    spec: RunSpec | None = None
    mark: int = 0
    number: int = 0


def run(
    specs: Sequence[RunSpec],
    slots: Sequence[dict[str, str]],
    logs: Path,
    trial: str,
    notify: Notify,
    needs: Needs | None = None,
    budgets: Mapping[str, int] | None = None,
) -> None:
    """Run all runs, in at most one worker per slot and as many at once as memory allows.

    A run whose worker dies has failed, and a new worker takes over. A run that was out of memory, or whose worker was killed by
    the system as if it had been, is tried again with less beside it; it has failed when it had its device to itself.

    Args:
        specs: in the order in which they are given out.
        slots: environment variables of each worker.
        logs: folder for `worker-N.log`.
        trial: dotted name of the function that trains.
        notify: is told (spec, message) as things happen, in this thread; one message of `LAST` per run.
        needs: what runs need; None: only slots are counted.
        budgets: bytes that the runs on a device may need together, by its name.

    Raises:
        StoreError: the logs cannot be written.
        KeyboardInterrupt: passed on, with the workers stopped.
    """
    schedule = Schedule(specs, slots, needs, budgets)
    inbox: queue.SimpleQueue[tuple[Worker, Message | None]] = queue.SimpleQueue()
    workers: list[Worker] = []

    def fill() -> None:
        for number, spec in schedule.start():
            worker = next((w for w in workers if w.number == number), None)
            if worker is None:
                worker = _start(slots[number], logs / f"worker-{number}.log", trial, inbox)
                worker.number = number
                workers.append(worker)
            _give(worker, spec, notify)
        for worker in [worker for worker in workers if worker.spec is None]:  # it would only hold memory
            _let_go(worker, workers, leaving)

    def over(worker: Worker, message: Message) -> None:
        """Take note of the last message about a run: that it has ended, or that it is tried again."""
        assert worker.spec is not None
        spec, worker.spec = worker.spec, None
        if message["event"] != "failed" or not out_of_memory(message["reason"]):
            schedule.end(worker.number, message.get("memory"))
            notify(spec, message)
            return
        _let_go(worker, workers, leaving)  # a fresh process has all its memory in one piece
        beside = schedule.again(worker.number)
        if beside is None:
            notify(spec, {**message, "reason": f"{message['reason']}{ALONE}"})
            return
        failure_log(spec).unlink(missing_ok=True)
        notify(spec, {"event": "again", "text": f"{spec.label}: {_short(message['reason'])}; {_beside(beside)}"})

    leaving: list[Worker] = []
    try:
        fill()
        while any(worker.spec for worker in workers):
            worker, message = inbox.get()
            if message is None:
                if worker in leaving:
                    leaving.remove(worker)
                if worker in workers:
                    workers.remove(worker)
                if worker.spec is None:
                    continue
                reason, story = _obituary(worker)
                log_failure(worker.spec, story)
                over(worker, {"event": "failed", "reason": reason})
                fill()
            elif worker.spec is not None:
                if message["event"] not in LAST:
                    notify(worker.spec, message)
                    continue
                over(worker, message)
                fill()
    finally:
        _stop([*workers, *leaving])


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


def _give(worker: Worker, spec: RunSpec, notify: Notify) -> None:
    """Give the worker its next run."""
    assert worker.process.stdin is not None
    worker.spec = spec
    notify(spec, {"event": "begin"})
    worker.mark = worker.log.stat().st_size
    with suppress(BrokenPipeError):  # it is dead; its end is in the inbox
        worker.process.stdin.write(json.dumps(spec.to_dict()) + "\n")
        worker.process.stdin.flush()


def _let_go(worker: Worker, workers: list[Worker], leaving: list[Worker]) -> None:
    """Let a worker that has nothing to do leave; it takes its memory with it."""
    assert worker.process.stdin is not None
    if worker in workers:
        workers.remove(worker)
        leaving.append(worker)
    with suppress(BrokenPipeError):
        worker.process.stdin.close()


def _short(reason: str) -> str:
    """Return the first sentence of a reason."""
    return reason.split("; ")[0].split(". ")[0]


def _beside(count: int) -> str:
    return f"tried again later, with {f'at most {count} other runs' if count else 'nothing'} beside it on its device"


def _obituary(worker: Worker) -> tuple[str, str]:
    """Return (one line, the whole story) of a worker's end."""
    code = worker.process.wait()
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = " (often: out of memory)" if name == "SIGKILL" else ""  # `out_of_memory` goes by these words
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
