"""What the displays say about runs without a step, and about one-time work."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from clbench.execution import Execution
from clbench.run_spec import RunSpec
from clbench.runner import progress
from clbench.runner.outcome import Outcome, Status
from clbench.runner.progress import LiveDisplay, PlainDisplay
from clbench.runner.progress_text import stalled
from tests.runner.run_functions import make_spec

MINUTE = 60.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time; a test moves it."""
    now = [1000.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


class Plain:
    """A plain display, and the lines that it has written."""

    def __init__(self) -> None:
        self.file = io.StringIO()
        self.display = PlainDisplay(Console(file=self.file, width=300))

    def lines(self) -> list[str]:
        """Return the lines since the last call."""
        text = self.file.getvalue()
        self.file.seek(0)
        self.file.truncate()
        return text.splitlines()

    def after(self, clock: list[float], seconds: float) -> list[str]:
        """Let the time pass, tick, and return the lines."""
        clock[0] += seconds
        self.display.tick()
        return self.lines()


def test_a_run_without_a_step_is_said_ever_more_rarely(tmp_path: Path, clock: list[float]) -> None:
    plain, spec = Plain(), make_spec(tmp_path)
    plain.display.event(spec, {"event": "begin"})
    assert plain.after(clock, 9 * MINUTE) == []
    assert plain.after(clock, MINUTE) == [f"no step for 10 min: {spec.label} ({progress.STALLED_HINT})"]
    assert plain.after(clock, 9 * MINUTE) == []
    assert plain.after(clock, MINUTE)[0].startswith("no step for 20 min: ")
    assert plain.after(clock, 19 * MINUTE) == []
    assert plain.after(clock, MINUTE)[0].startswith("no step for 40 min: ")


def test_an_epoch_of_twenty_minutes_full_of_steps_is_no_stall(tmp_path: Path, clock: list[float]) -> None:
    plain, spec = Plain(), make_spec(tmp_path)
    plain.display.event(spec, {"event": "begin"})
    for _ in range(20):
        assert plain.after(clock, MINUTE) == []
        plain.display.event(spec, {"event": "alive"})
    assert plain.after(clock, 10 * MINUTE) != []
    plain.display.event(spec, {"event": "alive"})
    assert plain.after(clock, 9 * MINUTE) == []
    assert plain.after(clock, MINUTE) != []


def test_runs_that_stall_together_share_a_line_and_ended_runs_do_not_stall(tmp_path: Path, clock: list[float]) -> None:
    plain, specs = Plain(), [make_spec(tmp_path, seed) for seed in range(4)]
    for spec in specs:
        plain.display.event(spec, {"event": "begin"})
    plain.display.finished(Outcome(specs[0], Status.DONE))
    plain.display.postponed(Outcome(specs[1], Status.BUSY))
    plain.lines()
    (line,) = plain.after(clock, 10 * MINUTE)
    assert f": {specs[2].label}, {specs[3].label} (" in line
    plain.display.event(specs[2], {"event": "again", "text": "later"})
    plain.display.finished(Outcome(specs[3], Status.FAILED))
    plain.lines()
    assert plain.after(clock, 60 * MINUTE) == []


def within(spec: RunSpec, notice: float | None) -> RunSpec:
    """Return the run with another threshold."""
    return replace(spec, execution=Execution(stall_notice=notice))


def test_the_threshold_is_a_key_and_null_turns_it_off(tmp_path: Path) -> None:
    spec = make_spec(tmp_path)
    assert stalled(within(spec, None), 1e9) == ""
    assert stalled(within(spec, 5.0), 4.9) == ""
    assert stalled(within(spec, 5.0), 5.0) == "no step for 5 s"
    assert stalled(spec, 599.0) == ""


def test_short_work_has_no_line(tmp_path: Path, clock: list[float]) -> None:
    plain, spec = Plain(), make_spec(tmp_path)
    plain.display.event(spec, {"event": "work", "text": "short: 1/2"})
    plain.display.event(spec, {"event": "work", "text": ""})
    assert plain.after(clock, MINUTE) == []


def test_long_work_has_a_line_now_and_then(tmp_path: Path, clock: list[float]) -> None:
    plain, spec, said = Plain(), make_spec(tmp_path), list[str]()
    for second in range(40):
        plain.display.event(spec, {"event": "work", "text": f"features: {second}/40"})
        said += plain.after(clock, 1)
    assert said == [f"{spec.label}: features: 4/40", f"{spec.label}: features: 34/40"]


def test_the_live_display_shows_both_beside_the_run(tmp_path: Path, clock: list[float]) -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    shown, spec = LiveDisplay(console), make_spec(tmp_path)

    def drawn() -> str:
        with console.capture() as capture:
            console.print(shown)
        return capture.get()

    shown.event(spec, {"event": "begin"})
    shown.event(spec, {"event": "work", "text": "features of tiny: 12,000/50,000"})
    assert "features of tiny: 12,000/50,000" in drawn()
    assert "no step" not in drawn()
    clock[0] += 12 * MINUTE
    assert "no step for 12 min" in drawn()
    shown.event(spec, {"event": "work", "text": ""})
    assert "no step" not in drawn()
    assert "features" not in drawn()
    clock[0] += 10 * MINUTE
    assert "no step for 10 min" in drawn()
    shown.event(spec, {"event": "alive"})
    assert "no step" not in drawn()
