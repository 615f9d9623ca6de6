"""After a run that could not be stored no other run is begun, and a vanished results folder is not made again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clbench.errors import UnwritableError
from clbench.records import Record, record_files
from clbench.run_spec import RunSpec
from clbench.runner.outcome import Outcome, Status
from clbench.runner.progress import Display
from clbench.runner.run_specs import run_specs
from clbench.runner.sweep import Summary, failures, still_stored, update
from tests.runner.run_functions import good, make_spec


def remove_folder(spec: RunSpec, report: Callable[[dict[str, Any]], None]) -> Record:
    """Remove the results folder during the run of seed 0."""
    if spec.seed == 0:
        shutil.rmtree(spec.results_dir)
    return good(spec, report)


def no_room(spec: RunSpec, report: Callable[[dict[str, Any]], None]) -> Record:
    """Find no room for a checkpoint."""
    Path(spec.results_dir, f"begun-{spec.seed}").touch()
    raise UnwritableError("the checkpoint cannot be written: the disk is full", "free space")


def run(specs: list[RunSpec], name: str, workers: int) -> list[Outcome]:
    return run_specs(specs, Display(), workers, f"{__name__}.{name}")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_full_disk_stops_the_sweep_with_one_reason(tmp_path: Path, workers: int) -> None:
    outcomes = run([make_spec(tmp_path, seed) for seed in range(4)], "no_room", workers)
    assert [outcome.status for outcome in outcomes] == [Status.FAILED] * 4
    assert [outcome.begun for outcome in outcomes] == [True, False, False, False]
    assert [path.name for path in tmp_path.glob("begun-*")] == ["begun-0"]
    lines = failures(Summary(outcomes))
    assert len(lines) == 2
    assert "the disk is full -> free space" in lines[0]
    assert lines[1].startswith("not begun: 3 runs")
    assert not (tmp_path / "failed").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_removed_folder_is_said_and_not_made_again(tmp_path: Path, workers: int) -> None:
    folder = tmp_path / "runs"
    outcomes = run([make_spec(folder, seed) for seed in range(3)], "remove_folder", workers)
    assert "is gone" in outcomes[0].reason
    assert [outcome.begun for outcome in outcomes] == [True, False, False]
    assert not folder.exists()


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_a_worker_needs_no_log(tmp_path: Path, kind: str) -> None:
    if kind == "file":
        (tmp_path / ".logs").touch()
    else:
        (tmp_path / ".logs").symlink_to("nowhere/at/all")
    (outcome,) = run_specs([make_spec(tmp_path)], Display(), 1, "tests.runner.run_functions.good")
    assert outcome.status is Status.DONE
    assert len(record_files(tmp_path)) == 1


def test_a_record_that_was_removed_meanwhile_is_no_success(tmp_path: Path) -> None:
    (outcome,) = run_specs([make_spec(tmp_path)], Display(), 0, "tests.runner.run_functions.good")
    assert still_stored(outcome) == outcome
    outcome.spec.record_file.unlink()
    found = still_stored(outcome)
    assert found.status is Status.FAILED
    assert f"results_dir={tmp_path}" in found.reason


def test_a_table_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.md"
    assert update(path, "table") == ""
    path.unlink()
    path.mkdir()
    (path / "something").touch()
    said = update(path, "table")
    assert said.startswith("not updated: ")
    assert len(said.splitlines()) == 1


def test_a_table_that_is_right_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.md"
    update(path, "table")
    before = path.stat().st_ino
    assert update(path, "table") == ""
    assert path.stat().st_ino == before
    update(path, "another table")
    assert path.read_text() == "another table"
