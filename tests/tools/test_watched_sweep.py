"""What is checked of a sweep finds what it is there to find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clbench.records import Record, read, record_path, write
from tools.watched_sweep import Sweep, contradictions


def note(task: int, process: int = 1, stored: bool = False, checkpoint: int = -1) -> dict[str, Any]:
    return {"run": "a", "process": process, "task": task, "stored": stored, "checkpoint": checkpoint}


def test_a_run_that_goes_on_in_another_process_is_no_contradiction() -> None:
    assert contradictions([note(-1), note(0), note(0, 2), note(1, 2, checkpoint=0), note(2, 3, checkpoint=1)]) == []
    assert len(contradictions([note(1, checkpoint=1)])) == 1
    assert contradictions([note(1, checkpoint=1)], stacked=True) == []
    assert len(contradictions([note(1, checkpoint=2)], stacked=True)) == 1


@pytest.mark.parametrize(
    ("notes", "said"),
    [
        ([note(0), note(1, stored=True)], "although the run was stored"),
        ([note(0), note(1, 2, checkpoint=1)], "although there was a checkpoint"),
        ([note(0), note(0, 2), note(1)], "two processes"),
    ],
)
def test_training_what_was_finished_or_twice_at_once_is_found(notes: list[dict[str, Any]], said: str) -> None:
    (found,) = contradictions(notes)
    assert said in found


def finished(folder: Path, **cost: Any) -> tuple[Sweep, Path]:
    record = Record({"seed": 0}, {"value": 1}, {"samples": 10, **cost})
    path = write(record, folder)
    return Sweep((), folder, {record.id: ({"value": 1}, 10)}), path


def test_a_finished_record_that_is_gone_or_written_again_is_found(tmp_path: Path) -> None:
    sweep, path = finished(tmp_path / "runs")
    assert sweep.changed() == []
    assert sweep.changed() == []
    record = read(path)
    path.unlink()
    assert "is gone" in sweep.changed()[0]
    write(record, tmp_path / "runs")
    assert "written again" in sweep.changed()[0]


def test_another_result_a_missing_run_and_what_is_left_behind_are_found(tmp_path: Path) -> None:
    sweep, path = finished(tmp_path / "runs")
    assert sweep.verify() == []
    sweep.expected = {name: ({"value": 2}, 11) for name in sweep.expected}
    assert [text.split(": ", 2)[2] for text in sweep.verify()] == [
        "its result differs from the undisturbed sweep's",
        "10 samples, undisturbed 11",
    ]
    (tmp_path / "runs" / ".x.1.tmp").touch()
    path.unlink()
    found = " ".join(sweep.verify())
    assert "not there" in found
    assert ".x.1.tmp" in found
    assert not record_path(tmp_path / "runs", "x").exists()
