"""`runner.dry=true`: what a command would do, with nothing trained and nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import clbench
from clbench.runner.dry_run import duration, size
from tests.command_line import QUICK
from tests.command_line import clbench as command

pytestmark = pytest.mark.usefixtures("own_folder")


def test_runs_are_counted_and_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command(monkeypatch, "-m", "method=naive,joint", "seeds=3", "runner.dry=true") == 0
    shown = capsys.readouterr().out
    assert "6 runs in 2 jobs: 6 to train, 0 already there" in shown
    assert "time and disk: unknown for 6 runs" in shown
    assert command(monkeypatch, "runner.dry=true") == 0
    assert "1 run in 1 job: 1 to train" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_refused_job_is_listed_and_gives_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command(monkeypatch, "-m", "method=naive,gmp", "runner.dry=true") == 1
    shown = capsys.readouterr()
    assert "1 run in 2 jobs: 1 to train, 0 already there, 1 job refused" in shown.out
    assert "there is no method=gmp" in shown.err
    assert list(tmp_path.iterdir()) == []


def test_time_and_disk_come_from_earlier_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command(monkeypatch, *QUICK) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    capsys.readouterr()
    assert command(monkeypatch, "-m", "method=naive,joint", "trainer.epochs=1,2", "seeds=2", *QUICK[1:], "runner.dry=true") == 0
    shown = capsys.readouterr().out
    assert "8 runs in 4 jobs: 7 to train, 1 already there" in shown
    assert "time: about 1 s of training for 3 runs; unknown for 4 runs" in shown  # the same configuration, and a similar one
    assert "kB for 3 runs; unknown for 4 runs" in shown
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert command(monkeypatch, *QUICK, "rerun=true", "runner.dry=true") == 0
    assert "1 to train, 0 already there" in capsys.readouterr().out


def test_runs_that_failed_before_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert command(monkeypatch, *QUICK, "optimizer.lr=1e30") == 1
    capsys.readouterr()
    assert command(monkeypatch, *QUICK, "optimizer.lr=1e30", "runner.dry=true") == 0
    shown = capsys.readouterr().out
    assert "0 to train, 0 already there, 1 failed before and not trained again" in shown
    assert "failed before: split_digits class naive" in shown


def test_the_identity_has_no_dry_and_torch_is_not_needed(tmp_path: Path) -> None:
    check = "import sys; from clbench.cli.main import main; main(); assert 'torch' not in sys.modules, 'torch was imported'"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", check, "runner.dry=true"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_from_python_the_plan_is_printed_and_stored_records_are_returned(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert len(clbench.run(results_dir=tmp_path / "out", seeds=2, dry=True, progress=False)) == 0
    assert "2 runs in 1 job: 2 to train" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_numbers_for_people() -> None:
    assert [duration(seconds) for seconds in (0.1, 60, 61, 3600, 90061)] == ["1 s", "1 min", "1 min 1 s", "1 h", "1 d 1 h"]
    assert [size(count) for count in (0, 5_000, 123_456, 2e9)] == ["0 B", "5 kB", "123 kB", "2 GB"]
