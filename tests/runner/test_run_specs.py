"""The outcomes of a sweep's runs."""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clbench.errors import ConfigError, StoreError
from clbench.execution import Execution
from clbench.records import Record, read, record_files, record_path, write
from clbench.run_spec import RunSpec
from clbench.runner.device_memory import GIB, Limits
from clbench.runner.progress import Display
from clbench.runner.run_specs import run_specs
from tests.runner.run_functions import make_spec

FUNCTIONS = "tests.runner.run_functions"


class Recorder(Display):
    """Keeps events and ends."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.ended: list[str] = []

    def event(self, spec: RunSpec, message: Any) -> None:
        self.events.append((spec.id, message["event"]))

    def finished(self, outcome: Any) -> None:
        self.ended.append(outcome.spec.id)


def run(specs: list[RunSpec], function: str = "good", workers: int | str = 2, display: Display | None = None) -> list[Any]:
    return run_specs(specs, display or Display(), workers, f"{FUNCTIONS}.{function}")


@pytest.mark.parametrize("workers", [0, 1, 3, "auto"])
def test_every_run_is_run_once_and_stored(tmp_path: Path, workers: int | str) -> None:
    specs = [make_spec(tmp_path, seed) for seed in (3, 0, 7)]
    display = Recorder()
    outcomes = run([*specs, specs[0]], workers=workers, display=display)
    assert [outcome.spec.seed for outcome in outcomes] == [3, 0, 7]
    assert {outcome.status for outcome in outcomes} == {"done"}
    assert [outcome.accuracy for outcome in outcomes] == [93.0, 90.0, 97.0]
    assert sorted(display.ended) == sorted(spec.id for spec in specs)
    assert {event for _, event in display.events} == {"begin", "start", "epoch", "task"}
    assert {read(path).result["value"] for path in record_files(tmp_path)} == {0, 3, 7}
    assert list((tmp_path / ".checkpoints").iterdir()) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_there_is_not_run_again(tmp_path: Path, workers: int) -> None:
    specs = [make_spec(tmp_path, seed) for seed in range(3)]
    run(specs[:2], workers=workers)
    before = {path: path.stat().st_mtime_ns for path in record_files(tmp_path)}
    outcomes = run(specs, workers=workers)
    assert [outcome.status for outcome in outcomes] == ["present", "present", "done"]
    assert all(path.stat().st_mtime_ns == before[path] for path in before)


def test_nothing_to_do_starts_nothing(tmp_path: Path) -> None:
    specs = [make_spec(tmp_path)]
    run(specs, workers=0)
    outcomes = run(specs, "must_not_run")
    assert [outcome.status for outcome in outcomes] == ["present"]
    assert not (tmp_path / "called").exists()
    assert not (tmp_path / ".logs").exists()


def test_a_failed_run_stops_no_other(tmp_path: Path) -> None:
    specs = [make_spec(tmp_path, seed) for seed in range(7)]
    outcomes = run(specs, "by_seed")
    assert [o.spec.seed for o in outcomes if o.status == "failed"] == [1, 2, 3, 4]
    assert [o.spec.seed for o in outcomes if o.status == "done"] == [0, 5, 6]
    reasons = {o.spec.seed: o.text for o in outcomes}
    assert reasons[1] == "RuntimeError: seed one is unlucky"
    assert "SIGKILL" in reasons[2]
    assert "the last words" in reasons[2]
    assert "a plug-in that leaves" in reasons[3]
    assert reasons[4] == "the loss is nan in task 0 -> lower optimizer.lr"
    assert all("\n" not in reason for reason in reasons.values())
    logs = {seed: (tmp_path / ".logs" / f"{specs[seed].id}.txt") for seed in range(7)}
    assert [seed for seed, log in logs.items() if log.exists()] == [1, 2, 3, 4]
    assert "Traceback" in logs[1].read_text()
    assert "the last words" in logs[2].read_text()


def test_one_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    outcomes = run([make_spec(tmp_path, seed) for seed in (2, 0, 1)], "by_seed", workers=1)
    assert [outcome.status for outcome in outcomes] == ["failed", "done", "failed"]


def test_a_worker_is_used_again(tmp_path: Path) -> None:
    run([make_spec(tmp_path, seed) for seed in range(3)], workers=1)
    assert len({read(path).result["process"] for path in record_files(tmp_path)}) == 1


def test_a_worker_has_the_threads_it_is_given(tmp_path: Path) -> None:
    run([make_spec(tmp_path)], workers=1)
    assert read(record_files(tmp_path)[0]).result["threads"] == "1"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_record_fails_its_own_run_and_is_left_alone(tmp_path: Path, workers: int) -> None:
    specs = [make_spec(tmp_path, seed) for seed in range(3)]
    path = record_path(tmp_path, specs[1].id)
    path.write_text('{"format": 1, "id"')
    outcomes = run(specs, workers=workers)
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done"]
    assert str(path) in outcomes[1].reason
    assert "move the file" in outcomes[1].remedy
    assert path.read_text() == '{"format": 1, "id"'


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_in_progress_elsewhere_is_not_trained_twice(tmp_path: Path, workers: int) -> None:
    specs = [make_spec(tmp_path, seed) for seed in range(2)]
    folder = tmp_path / ".checkpoints" / specs[0].id
    folder.mkdir(parents=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert [outcome.status for outcome in run(specs, workers=workers)] == ["busy", "done"]
    assert not record_path(tmp_path, specs[0].id).exists()
    assert [outcome.status for outcome in run(specs, workers=workers)] == ["done", "present"]


def test_a_record_written_meanwhile_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec(tmp_path)
    run([spec], workers=0)
    monkeypatch.setattr("clbench.runner.run_specs.already", lambda spec: None)  # as if it had not been there a moment ago
    assert [outcome.status for outcome in run([spec], "must_not_run", workers=0)] == ["present"]
    assert not (tmp_path / "called").exists()


def test_a_record_of_something_else_is_refused(tmp_path: Path) -> None:
    outcomes = run([make_spec(tmp_path)], "stranger", workers=0)
    assert outcomes[0].status == "failed"
    assert "another identity" in outcomes[0].reason
    assert record_files(tmp_path) == []


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [make_spec(tmp_path, seed) for seed in range(2)]
    checkpoint = tmp_path / ".checkpoints" / specs[0].id / "task-0000.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("kept")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        outcomes = run(specs, workers=0)
    assert [outcome.status for outcome in outcomes] == ["failed", "failed"]
    assert "No space left" in outcomes[0].reason
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []
    assert checkpoint.read_text() == "kept"
    assert [outcome.status for outcome in run(specs, workers=0)] == ["done", "done"]


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.write_text("mine")
    with pytest.raises(StoreError, match=r"results_dir=.*taken"):
        run([make_spec(path)])
    assert path.read_text() == "mine"


def test_a_function_that_cannot_be_imported_is_a_failure(tmp_path: Path) -> None:
    outcomes = run_specs([make_spec(tmp_path)], Display(), 1, "no_such_module.function")
    assert outcomes[0].status == "failed"
    assert "no_such_module" in outcomes[0].reason


def test_an_interrupt_stops_the_workers(tmp_path: Path) -> None:
    processes: list[int] = []

    class Interrupted(Display):
        def event(self, spec: RunSpec, message: Any) -> None:
            if "process" in message:
                processes.append(message["process"])
            if len(processes) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([make_spec(tmp_path, seed) for seed in range(3)], "forever", display=Interrupted())
    assert len(processes) == 2
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    assert [outcome.status for outcome in run([make_spec(tmp_path, seed) for seed in range(3)])] == ["done"] * 3


def test_cuda_without_a_gpu_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clbench.runner.devices.visible_gpus", lambda device: [])
    spec = replace(make_spec(tmp_path), execution=Execution(device="cuda"))
    with pytest.raises(ConfigError, match="device=cuda"):
        run([spec])


ENDS = ["cuda", "host", "kill", "abort"]


class Watcher(Recorder):
    """Keeps the lines about runs that are tried again."""

    def __init__(self) -> None:
        super().__init__()
        self.again: list[str] = []

    def event(self, spec: RunSpec, message: Any) -> None:
        super().event(spec, message)
        if message["event"] == "again":
            self.again.append(message["text"])


@pytest.mark.parametrize("how", ENDS)
def test_a_run_that_was_out_of_memory_is_tried_again_alone(tmp_path: Path, how: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    first = make_spec(tmp_path, 0, how=how)
    specs = [first, make_spec(tmp_path, 1, how=how, first=first.id)]
    display = Watcher()
    outcomes = run(specs, "crowded", workers=2, display=display)
    assert [(outcome.status, outcome.reason) for outcome in outcomes] == [("done", ""), ("done", "")]
    assert (tmp_path / "tries-1").read_text() == "xx"
    assert len(display.again) == 1
    assert display.again[0].startswith(specs[1].label)
    assert "with no other run on its device" in display.again[0]
    assert not (tmp_path / ".logs" / f"{specs[1].id}.txt").exists(), "no report of a failure that was none"
    assert sorted(display.ended) == sorted(spec.id for spec in specs)


@pytest.mark.parametrize("how", ENDS)
def test_only_what_is_out_of_memory_alone_has_failed(tmp_path: Path, how: str) -> None:
    specs = [make_spec(tmp_path, seed, how=how) for seed in range(2)]
    outcomes = run(specs, "hungry", workers=2)
    assert [outcome.status for outcome in outcomes] == ["failed", "failed"]
    for outcome in outcomes:
        assert (tmp_path / f"tries-{outcome.spec.seed}").read_text() == "xx", "once with the other, once alone"
        assert "it had its device to itself -> lower trainer.batch_size" in outcome.text
        assert (tmp_path / ".logs" / f"{outcome.spec.id}.txt").exists()


def test_runs_that_do_not_fit_together_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five runs that seem to need 2 GiB of 3: at no time do two of them run."""
    monkeypatch.setattr("clbench.runner.device_memory.available_memory", lambda: 3 * GIB)
    limits = Limits(share=1.0, unknown={"cpu": 2, "cuda": 2}, context=0, margin=1)
    monkeypatch.setattr("clbench.runner.device_memory.Needs.learn", lambda *a: None)
    at_it: set[str] = set()
    most: list[int] = []

    class Counter(Display):
        def event(self, spec: RunSpec, message: Any) -> None:
            at_it.add(spec.id)
            most.append(len(at_it))

        def finished(self, outcome: Any) -> None:
            at_it.discard(outcome.spec.id)

    specs = [make_spec(tmp_path, seed) for seed in range(5)]
    outcomes = run_specs(specs, Counter(), 3, f"{FUNCTIONS}.good", limits)
    assert [outcome.status for outcome in outcomes] == ["done"] * 5
    assert max(most) == 1
    outcomes = run_specs([make_spec(tmp_path, seed) for seed in range(5, 10)], Counter(), 3, f"{FUNCTIONS}.good")
    assert max(most) > 1, "without limits they run side by side"


def test_what_a_record_tells_is_known_to_the_next_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[int] = []
    monkeypatch.setattr("clbench.runner.device_memory.Needs.learn", lambda self, spec, peak: learned.append(peak))
    limits = Limits(share=1.0, unknown={"cpu": 1, "cuda": 1}, context=0, margin=1)
    specs = [make_spec(tmp_path, seed) for seed in range(2)]
    write(Record(specs[0].identity, {}, {"peak_memory_bytes": 123}, {"device": "cpu: x"}), tmp_path)
    outcomes = run_specs(specs, Display(), 1, f"{FUNCTIONS}.good", limits)
    assert [outcome.status for outcome in outcomes] == ["present", "done"]
    assert learned[0] == 123
    assert len(learned) == 2
    assert learned[1] > 2**20, "the worker tells what it measured"
