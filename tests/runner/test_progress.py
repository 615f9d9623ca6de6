"""The display of a sweep in progress."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from clbench.runner.outcome import Outcome, Status
from clbench.runner.progress import Display, LiveDisplay, PlainDisplay, display
from clbench.runner.progress_text import duration, position, share
from clbench.runner.run_specs import run_specs
from tests.runner.run_functions import make_spec


def test_outside_a_terminal_there_is_a_line_per_run(tmp_path: Path) -> None:
    file = io.StringIO()
    specs = [make_spec(tmp_path, seed) for seed in range(2)]
    shown = display(Console(file=file, width=40))
    assert isinstance(shown, PlainDisplay)
    run_specs(specs, shown, 0, "tests.runner.run_functions.by_seed")
    lines = file.getvalue().splitlines()
    assert "\x1b" not in file.getvalue()
    assert lines[0] == "2 runs to train, 1 at a time"
    assert lines[1].startswith("1/2 split_digits class naive seed 0  accuracy 90.0  ")
    assert lines[2].startswith("2/2 split_digits class naive seed 1  FAILED")
    assert lines[2].endswith(": RuntimeError: seed one is unlucky")


def test_on_a_terminal_the_whole_and_every_run_is_drawn(tmp_path: Path) -> None:
    file = io.StringIO()
    console = Console(file=file, width=100, height=20, force_terminal=True, color_system=None)
    shown = LiveDisplay(console)
    first, second = (make_spec(tmp_path, seed) for seed in range(2))
    with shown.shown(3, 2):
        shown.event(first, {"event": "begin"})
        shown.event(second, {"event": "begin"})
        shown.event(first, {"event": "start", "tasks": 5, "resumed_at": 0})
        shown.event(first, {"event": "task", "task": 0, "acc": 97.25})
        shown.event(first, {"event": "epoch", "task": 1, "epoch": 1, "epochs": 2})
        with console.capture() as capture:
            console.print(shown)
        assert shown.done() == pytest.approx(0.3)
        shown.finished(Outcome(first, Status.DONE))
        shown.finished(Outcome(second, Status.FAILED, "out of luck", "try again"))
        assert (shown.ended, shown.failures, shown.active) == (2, 1, {})
    text = capture.get()
    assert "0/3 runs" in text
    assert "left" in text
    for word in (
        "naive",
        "split_digits",
        "class",
        "seed 0",
        "task 2/5",
        "epoch 1/2",
        "accuracy 97.2",
        "seed 1",
        "starting",
    ):
        assert word in text
    assert "out of luck" in file.getvalue()
    assert "1 failed" in file.getvalue()


def test_a_method_that_learns_all_tasks_at_once_counts_as_one_task(tmp_path: Path) -> None:
    shown = LiveDisplay(Console(file=io.StringIO(), force_terminal=True))
    spec = make_spec(tmp_path)
    with shown.shown(1, 1):
        shown.event(spec, {"event": "start", "tasks": 1, "resumed_at": 0})
        shown.event(spec, {"event": "epoch", "task": 4, "epoch": 1, "epochs": 4})
        assert shown.done() == 0.25
        shown.event(spec, {"event": "task", "task": 4, "acc": 90.0})
        assert shown.done() == 1.0


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 20), st.integers(1, 20))
def test_the_share_of_a_run_stays_between_nothing_and_all(tasks: int, task: int, epoch: int, epochs: int) -> None:
    state = {"tasks": tasks, "task": task, "epoch": epoch, "epochs": epochs}
    assert 0.0 <= share(state) <= 1.0
    number, _, total = position(state)[0].removeprefix("task ").partition("/")
    assert 1 <= int(number) <= int(total) == tasks


def test_silence() -> None:
    shown = display(Console(file=io.StringIO(), force_terminal=True), enabled=False)
    assert type(shown) is Display


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (67.9, "1:07"), (3600, "1:00:00"), (3725, "1:02:05")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
