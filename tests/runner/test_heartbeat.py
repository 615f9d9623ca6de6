"""Signs of life of a run, and progress of one-time work, on the way to the display."""

from __future__ import annotations

import queue
from dataclasses import replace
from pathlib import Path

import pytest

from clbench.execution import Execution
from clbench.runner import heartbeat as module
from clbench.runner.heartbeat import heartbeat
from clbench.runner.worker_messages import Message
from clbench.utils import one_time
from clbench.utils.signs_of_life import beat
from tests.runner.run_functions import make_spec


def test_a_run_that_moves_on_is_reported_and_one_that_does_not_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: queue.SimpleQueue[tuple[str, Message]] = queue.SimpleQueue()
    monkeypatch.setattr(module, "BEAT", 0.01)
    spec = make_spec(tmp_path)
    with heartbeat(spec, lambda run, message: said.put((run, message))):
        for _ in range(2):
            beat()
            assert said.get(timeout=60) == (spec.id, {"event": "alive"})
        with pytest.raises(queue.Empty):  # several looks later; a report would be wrong on any machine
            said.get(timeout=0.1)


def test_one_time_work_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Message] = []
    monkeypatch.setattr(one_time, "EVERY", 0.0)
    with heartbeat(make_spec(tmp_path), lambda run, message: said.append(message)), one_time.one_time("features", 2) as advance:
        advance(1)
    assert said == [{"event": "work", "text": "features: 1/2"}, {"event": "work", "text": ""}]


@pytest.mark.parametrize(("notice", "pause"), [(None, module.BEAT), (600.0, module.BEAT), (2.0, 0.5)])
def test_looks_are_as_frequent_as_the_notice_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notice: float | None, pause: float
) -> None:
    paused: list[float] = []

    class Over:
        def wait(self, seconds: float) -> bool:
            paused.append(seconds)
            return True

        def set(self) -> None:
            pass

    monkeypatch.setattr(module.threading, "Event", Over)
    spec = replace(make_spec(tmp_path), execution=Execution(stall_notice=notice))
    monkeypatch.setattr(module.threading, "Thread", _Now)
    with heartbeat(spec, lambda run, message: None):
        pass
    assert paused == [pause]


class _Now:
    """Calls its target at once, in place of a thread."""

    def __init__(self, target, **_) -> None:  # type: ignore[no-untyped-def]
        self.target = target

    def start(self) -> None:
        self.target()

    def join(self) -> None:
        pass
