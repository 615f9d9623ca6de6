"""A run is executed by one process at a time, and killed processes leave nothing behind."""

from __future__ import annotations

import builtins
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from clbench.errors import StoreError
from clbench.records import Record, record_path, write
from clbench.run_spec import RunSpec
from clbench.runner import lock as locks
from clbench.runner import run_specs as runner
from clbench.runner.lock import available, lock_run
from clbench.runner.progress import Display
from clbench.runner.run_specs import run_specs
from tests.runner.run_functions import make_spec

GOOD = "tests.runner.run_functions.good"


def test_the_second_process_gets_the_name_of_the_first(tmp_path: Path) -> None:
    spec = make_spec(tmp_path)
    with lock_run(spec) as first, lock_run(spec) as second:
        assert first is None
        assert second is not None
        assert second.startswith(f"process {os.getpid()} on ")
        assert not available(spec)
    assert available(spec)
    with lock_run(spec) as again:
        assert again is None


def test_a_lock_that_was_removed_while_we_opened_it_is_not_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a third process would make a new lock file at the same place, and two would be at the run."""
    spec, lock, removed = make_spec(tmp_path), fcntl.flock, []

    def remove_first(file: Any, how: int) -> None:
        if not removed:
            removed.append(file)
            shutil.rmtree(spec.checkpoints)
        lock(file, how)

    monkeypatch.setattr(locks.fcntl, "flock", remove_first)
    with lock_run(spec) as other:
        assert removed
        assert other is None
        with lock_run(spec) as second:
            assert second is not None


def test_a_folder_that_vanishes_before_the_lock_is_made_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, removed = make_spec(tmp_path), []

    def vanishing(path: Path, *words: Any, **more: Any) -> Any:
        if not removed:
            removed.append(path)
            shutil.rmtree(spec.checkpoints)
        return builtins.open(path, *words, **more)

    monkeypatch.setattr(locks, "open", vanishing, raising=False)
    assert [outcome.status for outcome in run_specs([spec], Display(), 0, GOOD)] == ["done"]
    assert removed


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / ".checkpoints").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"), lock_run(make_spec(tmp_path)):
        pass


def left_by_a_kill(spec: RunSpec) -> list[Path]:
    """Leave what a process leaves that is killed between storing a record and clearing up, or before."""
    half = Path(spec.results_dir) / f".{spec.id}.0123456789abcdef.tmp"
    half.write_text('{"format": 1, "id"')
    old = spec.checkpoints / "task-0001.pt"
    old.parent.mkdir(parents=True)
    old.write_text("state")
    return [half, old, old.parent]


def test_what_a_killed_process_left_of_a_stored_run_is_removed(tmp_path: Path) -> None:
    stored, other = make_spec(tmp_path, 0), make_spec(tmp_path, 1)
    path = write(Record(stored.identity), tmp_path)
    mine, foreign = left_by_a_kill(stored), left_by_a_kill(other)
    content = path.read_bytes()
    assert [outcome.status for outcome in run_specs([stored], Display(), 0, "tests.runner.run_functions.must_not_run")] == [
        "present"
    ]
    assert not any(file.exists() for file in mine)
    assert all(file.exists() for file in foreign)
    assert path.read_bytes() == content


def test_what_is_in_use_is_not_removed(tmp_path: Path) -> None:
    spec = make_spec(tmp_path)
    write(Record(spec.identity), tmp_path)
    left = left_by_a_kill(spec)
    with lock_run(spec) as other:
        assert other is None
        run_specs([spec], Display(), 0, GOOD)
        assert all(file.exists() for file in left)


def test_a_half_written_record_is_removed_by_who_goes_on(tmp_path: Path) -> None:
    spec = make_spec(tmp_path)
    left = left_by_a_kill(spec)
    assert [outcome.status for outcome in run_specs([spec], Display(), 0, GOOD)] == ["done"]
    assert not any(file.exists() for file in left)
    assert {path.name for path in tmp_path.iterdir()} == {f"{spec.id}.json", ".checkpoints"}


class Waiting(Display):
    """Keeps messages as text."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def waiting(self, busy: Any, seconds: float | None) -> None:
        self.said.append(f"waiting for {len(busy)}")

    def finished(self, outcome: Any) -> None:
        self.said.append(f"{outcome.spec.seed} {outcome.status}")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("stores", [True, False])
def test_a_run_that_another_process_executed_is_taken_over_or_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, stores: bool
) -> None:
    """The other one ends as we wait: with its record stored, or killed."""
    specs, display = [make_spec(tmp_path, seed) for seed in range(2)], Waiting()
    with ExitStack() as other:
        assert other.enter_context(lock_run(specs[0])) is None

        def end(seconds: float) -> None:
            if stores:
                write(Record(specs[0].identity), tmp_path)
            other.close()

        monkeypatch.setattr(runner, "sleep", end)
        outcomes = run_specs(specs, display, workers, GOOD, wait=None)
    assert [outcome.status for outcome in outcomes] == ["present" if stores else "done", "done"]
    assert display.said == ["1 done", "waiting for 1", f"0 {outcomes[0].status}"]
    assert record_path(tmp_path, specs[0].id).exists()


def test_waiting_ends_when_nothing_ends_for_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs, display, clock = [make_spec(tmp_path, seed) for seed in range(3)], Waiting(), [0.0]
    with ExitStack() as first, lock_run(specs[1]) as second:
        assert first.enter_context(lock_run(specs[0])) is None
        assert second is None

        def pass_by(seconds: float) -> None:
            clock[0] += 4.0
            if clock[0] == 8.0:
                first.close()

        monkeypatch.setattr(runner, "sleep", pass_by)
        monkeypatch.setattr(runner, "monotonic", lambda: clock[0])
        outcomes = run_specs(specs, display, 0, GOOD, wait=10.0)
    assert [outcome.status for outcome in outcomes] == ["done", "busy", "done"]
    assert outcomes[1].reason.startswith("process ")
    assert display.said == ["2 done", "waiting for 2", "0 done", "1 busy"]
    assert clock[0] == 20.0  # ten seconds, counted anew at 8.0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs prctl and pidfd")
def test_a_worker_in_a_call_that_holds_pythons_lock_dies_with_its_runner(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from rich.console import Console\n"
        "from clbench.runner.run_specs import run_specs; from clbench.runner.progress import PlainDisplay\n"
        "from tests.runner.run_functions import make_spec\n"
        "spec = make_spec(Path(sys.argv[1]))\n"
        "run_specs([spec], PlainDisplay(Console(file=sys.stdout)), 1, 'tests.runner.run_functions.deaf')\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        assert "1 run to train" in parent.stdout.readline()
        worker = int(parent.stdout.readline())
        handle = os.pidfd_open(worker)
        try:
            parent.send_signal(signal.SIGKILL)
            assert select.select([handle], [], [], 60)[0], "the worker goes on alone"
        finally:
            if not select.select([handle], [], [], 0)[0]:
                os.kill(worker, signal.SIGKILL)
            os.close(handle)
    assert available(make_spec(tmp_path))
