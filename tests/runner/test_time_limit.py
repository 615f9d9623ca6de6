"""Runs that take longer than `runner.time_limit`."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from clbench.errors import ConfigError
from clbench.execution import Execution
from clbench.loggers.base import Logger, Loggers, RunInfo
from clbench.run_spec import RunSpec
from clbench.runner import own_process, worker_pool, worker_process
from clbench.runner.progress import Display
from clbench.runner.run_specs import run_specs
from clbench.runner.worker_pool import Worker
from clbench.store.failures import load_failures
from clbench.utils import time_limit
from clbench.utils.processes import descendants
from clbench.utils.time_limit import TooLongError, call_within
from tests.runner.run_functions import make_spec

REASON, REMEDY = "took longer than runner.time_limit=1 seconds", "give a higher runner.time_limit"


def limited(folder: Path, *limits: float) -> list[RunSpec]:
    """Return a run with each limit. Only a run that never ends has a short one: no test depends on the machine's speed."""
    return [
        replace(make_spec(folder, seed), execution=Execution(device="cpu", time_limit=limit)) for seed, limit in enumerate(limits)
    ]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_over_its_limit_fails_alone_and_resumes_with_a_higher_one(tmp_path: Path, workers: int) -> None:
    stopped, other = run_specs(limited(tmp_path, 1, 600), Display(), workers, "tests.runner.run_functions.endless_at_first")
    assert (stopped.status, other.status) == ("failed", "done")
    assert stopped.reason == REASON
    assert stopped.remedy.startswith(REMEDY)
    assert (stopped.spec.checkpoints / "task-0000.pt").exists()
    outcomes = run_specs(limited(tmp_path, 600, 600), Display(), workers, "tests.runner.run_functions.endless_at_first")
    assert [outcome.status for outcome in outcomes] == ["done", "present"]


def test_a_worker_in_a_call_without_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "GRACE", 0.2)
    (outcome,) = run_specs(limited(tmp_path, 1), Display(), 1, "tests.runner.run_functions.deaf")
    assert outcome.status == "failed"
    assert outcome.reason == REASON
    assert outcome.remedy.startswith(REMEDY)


def test_a_run_that_catches_everything_is_killed_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "GRACE", 0.2)
    stuck, *others = run_specs(limited(tmp_path, 1, 600, 600), Display(), 1, "tests.runner.run_functions.swallowing")
    assert (stuck.status, stuck.reason) == ("failed", REASON)
    assert [outcome.status for outcome in others] == ["done", "done"]
    (failure,), _ = load_failures(tmp_path)
    assert (failure.kind, failure.seed) == ("time_limit", 0)


def test_seeds_of_a_stack_that_hang_take_no_others_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed 0 had ended in the killed process, seed 2 had not begun: both begin anew in another process."""
    monkeypatch.setattr(worker_pool, "GRACE", 0.2)
    outcomes = run_specs(limited(tmp_path, 1, 1, 1), Display(), 1, "tests.runner.run_functions.one_hangs", largest_stack=3)
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done"]
    assert outcomes[1].reason == REASON


def test_a_worker_that_hangs_at_its_start_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "START", 0.0)
    (outcome,) = run_specs(limited(tmp_path, 1e-9), Display(), 1, "tests.runner.run_functions.good")
    assert (outcome.status, outcome.reason) == ("failed", "took longer than runner.time_limit=1e-09 seconds")


def test_a_run_whose_worker_never_begins_gets_another_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed 0 ended well, and its process then hangs."""
    said: list[str] = []

    class Listening(Display):
        def event(self, spec: RunSpec, message: Any) -> None:
            if message["event"] == "begin" and spec.seed == 1:
                monkeypatch.setattr(worker_pool, "START", 600.0)
            if message["event"] == "again":
                said.append(message["text"])

        def finished(self, outcome: Any) -> None:
            monkeypatch.setattr(worker_pool, "START", -599.0 if outcome.spec.seed == 0 else 600.0)

    outcomes = run_specs(limited(tmp_path, 600, 600), Listening(), 1, "tests.runner.run_functions.leaves_a_trap")
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    assert said == [f"{outcomes[1].spec.label}: its process did not begin; tried again in a new one"]


def test_processes_that_a_run_leaves_end_and_hold_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "GRACE", 0.2)
    specs = [make_spec(tmp_path, seed) for seed in range(3)]
    left, closed, other = run_specs(specs, Display(), 1, "tests.runner.run_functions.leaves_a_process")
    assert left.reason == "its process ended by itself with status 3"
    assert closed.reason == "its process closed the stream through which it reports"
    assert other.status == "done"
    assert descendants(os.getpid()) == []


@pytest.mark.parametrize("command", [True, False])
def test_in_this_process_a_call_without_end_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: bool
) -> None:
    """A program that uses the package is not ended."""
    said: list[Any] = []
    monkeypatch.setattr(own_process, "GRACE", -1.0)
    monkeypatch.setattr(own_process, "is_command", lambda: command)
    monkeypatch.setattr(own_process, "end_command", lambda *words: said.append(words))
    (spec,) = limited(tmp_path, 0.5)
    clock = own_process._Clock(spec, lambda run, message: said.append(message))
    clock.check()
    assert said == []
    clock.notify(spec.id, {"event": "clock", "seconds": 0.5, "runs": [spec.id]})
    clock.check()
    clock.check()
    assert said[1].kind == "time_limit"
    assert said[1].status == "failed"
    assert len(said) == 2 + command
    if command:
        text, status = said[2]
        assert status == 1
        assert "runner.workers=1" in text


def test_the_start_of_a_worker_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, give = 0.0, worker_pool._give

    def slow_start(worker: Worker, spec: RunSpec, notify: Any) -> None:
        nonlocal now
        give(worker, spec, notify)
        now += 1000

    monkeypatch.setattr(worker_pool, "_give", slow_start)
    monkeypatch.setattr(worker_pool, "monotonic", lambda: now)
    (outcome,) = run_specs(limited(tmp_path, 500), Display(), 1, "tests.runner.run_functions.good")
    assert outcome.status == "done"


def forever(*_: object) -> NoReturn:
    while True:
        signal.pause()


def test_a_logger_does_not_keep_a_run_from_its_end() -> None:
    class Slow(Logger):
        def event(self, result: dict[str, Any]) -> None:
            forever()

    def body() -> None:
        Loggers([Slow()], RunInfo({}, "", "", "", "", ""), said.append).event({})
        said.append("the run goes on")

    said: list[str] = []
    with pytest.raises(TooLongError, match=r"took longer than runner\.time_limit=0\.05 seconds"):
        call_within(0.05, body)
    assert said == []


def test_an_alarm_that_was_swallowed_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def body() -> None:
        try:
            forever()
        except BaseException as error:
            swallowed.append(error)
        forever()

    swallowed: list[BaseException] = []
    monkeypatch.setattr(time_limit, "AGAIN", 0.5)
    with pytest.raises(TooLongError):
        call_within(0.05, body)
    assert len(swallowed) == 1


def test_an_alarm_before_or_after_the_body_has_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    original, before = signal.setitimer, signal.getsignal(signal.SIGALRM)

    def setitimer(*values: Any) -> None:
        signal.raise_signal(signal.SIGALRM)
        original(*values)
        signal.raise_signal(signal.SIGALRM)
        alarms.append(values)

    alarms: list[Any] = []
    monkeypatch.setattr(signal, "setitimer", setitimer)
    assert call_within(60.0, lambda: "result") == "result"
    assert alarms == [(signal.ITIMER_REAL, 60.0, time_limit.AGAIN), (signal.ITIMER_REAL, 0)]
    assert signal.getsignal(signal.SIGALRM) == before


def test_outside_the_main_thread_there_is_a_warning() -> None:
    def body() -> None:
        with pytest.warns(UserWarning, match="not enforced"):
            done.append(call_within(1.0, lambda: True))

    done: list[bool] = []
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert done == [True]


@pytest.mark.parametrize("value", ["0", "-1", "soon"])
def test_a_limit_is_a_time(value: str) -> None:
    from clbench.config.hydra_compose import new_composer
    from clbench.config.job import make_job

    composer = new_composer()
    with pytest.raises(ConfigError, match=r"give runner\.time_limit as a number \(above 0, seconds\) or null"):
        make_job(composer([f"runner.time_limit={value}"]), composer)
