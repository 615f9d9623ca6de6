"""A failed run leaves a record of its failure, and the same code does not train the run again."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clbench.errors import ClbenchError, ConfigError, DataError, DivergedError, StoreError
from clbench.execution import Execution
from clbench.records import record_path
from clbench.run_spec import RunSpec
from clbench.runner.external_launcher import run_external
from clbench.runner.failed_runs import kind_of
from clbench.runner.outcome import Outcome
from clbench.runner.progress import Display
from clbench.runner.run_specs import run_specs
from clbench.store.failures import Failure, Kind, failure_path, load_failures, write_failure
from clbench.utils.time_limit import too_long
from tests.runner.run_functions import make_spec

FUNCTIONS = "tests.runner.run_functions"
KINDS = {1: "error", 2: "killed", 3: "error", 4: "diverged"}
"""Kinds of the failures of `by_seed`."""


def run(specs: list[RunSpec], function: str = "good", workers: int = 0, **more: Any) -> list[Outcome]:
    return run_specs(specs, Display(), workers, f"{FUNCTIONS}.{function}", **more)


def kept(folder: Path) -> dict[int, Failure]:
    found, errors = load_failures(folder)
    assert errors == []
    return {failure.seed: failure for failure in found}


def statuses(outcomes: list[Outcome]) -> dict[int, str]:
    return {outcome.spec.seed: f"{outcome.status}{' earlier' * outcome.earlier}" for outcome in outcomes}


def test_each_failed_run_is_stored_with_its_kind(tmp_path: Path) -> None:
    specs = [make_spec(tmp_path, seed) for seed in range(6)]
    run(specs, "by_seed", workers=2)
    failures = kept(tmp_path)
    assert {seed: failure.kind for seed, failure in failures.items()} == KINDS
    assert {failure.config_id for failure in failures.values()} == {specs[0].config_id}
    assert failures[4].reason == "the loss is nan in task 0"
    assert failures[4].remedy == "lower optimizer.lr"
    assert all(failure.failure["setting"] == "class" for failure in failures.values())
    assert all(failure.provenance["time"] and len(failure.provenance["source"]) == 64 for failure in failures.values())


@pytest.mark.parametrize(("workers", "stack"), [(0, 1), (1, 1), (0, 4)])
def test_the_same_code_does_not_fail_twice(tmp_path: Path, workers: int, stack: int) -> None:
    specs = [make_spec(tmp_path, seed) for seed in (0, 1, 4, 6)]
    first = run(specs, "several" if stack > 1 else "by_seed", workers, largest_stack=stack)
    assert statuses(first) == {0: "done", 1: "failed", 4: "failed", 6: "done"}
    again = run(specs, "must_not_run", workers, largest_stack=stack)
    assert statuses(again) == {0: "present", 1: "failed earlier", 4: "failed earlier", 6: "present"}
    assert [outcome.text for outcome in again] == [outcome.text for outcome in first]
    assert not (tmp_path / "called").exists()


def test_a_failure_of_the_machine_is_tried_again(tmp_path: Path) -> None:
    specs = [make_spec(tmp_path, seed) for seed in (2, 4)]
    run(specs, "by_seed", workers=1)
    assert statuses(run(specs)) == {2: "done", 4: "failed earlier"}
    assert set(kept(tmp_path)) == {4}
    assert not failure_path(tmp_path, specs[0].id).exists(), "a stored record removes the failure"


def test_rerun_and_other_code_train_again_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for change in ("rerun", "code"):
        folder = tmp_path / change
        spec = make_spec(folder, 4)
        run([spec], "by_seed")
        checkpoint = spec.checkpoints / "task-0000.pt"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.touch()
        if change == "rerun":
            spec = replace(spec, execution=Execution(device="cpu", rerun=True))
        else:
            monkeypatch.setattr("clbench.store.failures.source_sha256", lambda: "other")
        assert statuses(run([spec], "list_checkpoints")) == {4: "done"}
        assert (folder / "checkpoints").read_text() == ""
        assert kept(folder) == {}
        assert not failure_path(folder, spec.id).exists()


def test_a_failed_rerun_keeps_the_record(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, 4)
    run([spec])
    (outcome,) = run([replace(spec, execution=Execution(device="cpu", rerun=True))], "by_seed")
    assert outcome.status == "failed"
    assert not failure_path(tmp_path, spec.id).exists()
    assert statuses(run([spec], "must_not_run")) == {4: "present"}


@pytest.mark.parametrize(
    ("error", "before", "after"),
    [
        (ConfigError("x"), None, Kind.ERROR),
        (ClbenchError("x"), None, Kind.ERROR),
        (DataError("x"), None, Kind.SYSTEM),
        (StoreError("x"), None, None),
        (OSError(errno.ENOSPC, "No space left"), None, None),
        (FileNotFoundError(errno.ENOENT, "no such file"), Kind.SYSTEM, Kind.SYSTEM),
        (ImportError("x"), Kind.SYSTEM, Kind.SYSTEM),
        (DivergedError("x"), Kind.DIVERGED, Kind.DIVERGED),
        (ValueError("x"), Kind.ERROR, Kind.ERROR),
        (SystemExit(1), Kind.ERROR, Kind.ERROR),
        (MemoryError(), Kind.OUT_OF_MEMORY, Kind.OUT_OF_MEMORY),
        (too_long(3.0), Kind.TIME_LIMIT, Kind.TIME_LIMIT),
    ],
)
def test_kinds(error: BaseException, before: Kind | None, after: Kind | None) -> None:
    """Before the training starts, an error of configuration or data concerns every seed alike."""
    assert kind_of(error, started=False) == before
    assert kind_of(error, started=True) == after


@pytest.mark.parametrize("workers", [0, 1])
def test_a_refusal_before_training_is_not_stored_and_one_in_training_is(tmp_path: Path, workers: int) -> None:
    specs = [make_spec(tmp_path, seed) for seed in range(2)]
    assert statuses(run(specs, "refuse", workers)) == {0: "failed", 1: "failed"}
    (failure,) = kept(tmp_path).values()
    assert (failure.seed, failure.kind) == (1, "error")
    place = {key: failure.failure[key] for key in ("task", "step", "events", "setting", "access", "goal")}
    assert place == {"task": 1, "step": 12, "events": 3, "setting": "domain", "access": "seen", "goal": None}


def test_a_killed_run_names_the_task_it_was_in(tmp_path: Path) -> None:
    (outcome,) = run([make_spec(tmp_path)], "die_in_task_1", workers=1)
    assert outcome.status == "failed"
    failure = kept(tmp_path)[0]
    assert (failure.kind, failure.failure["task"], failure.failure["step"]) == ("killed", 1, None)


def test_out_of_memory_is_a_failure_of_the_machine(tmp_path: Path) -> None:
    (outcome,) = run([make_spec(tmp_path, how="host")], "hungry", workers=1)
    assert outcome.status == "failed"
    assert kept(tmp_path)[0].kind == "out_of_memory"
    assert not kept(tmp_path)[0].of_the_code


def test_an_interrupted_run_has_not_failed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run([make_spec(tmp_path)], "interrupt")
    assert kept(tmp_path) == {}


def test_a_failure_that_cannot_be_stored_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    (outcome,) = run([make_spec(tmp_path, 4)], "by_seed")
    assert outcome.reason.startswith("the loss is nan in task 0 (")
    assert "failure record" in outcome.reason
    assert list((tmp_path / "failed").iterdir()) == []


def test_a_damaged_failure_is_replaced(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, 4)
    run([spec], "by_seed")
    path = failure_path(tmp_path, spec.id)
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": "0"}))
    assert statuses(run([spec], "by_seed")) == {4: "failed"}
    assert kept(tmp_path)[4].kind == "diverged"


def test_a_failure_beside_a_record_is_removed(tmp_path: Path) -> None:
    spec = make_spec(tmp_path)
    run([spec])
    write_failure(Failure(spec.identity, {"kind": "error", "reason": "x"}), tmp_path)
    assert statuses(run([spec])) == {0: "present"}
    assert not failure_path(tmp_path, spec.id).exists()


def test_a_job_that_dies_leaves_failures_of_the_runs_it_had_started(tmp_path: Path) -> None:
    specs = [make_spec(tmp_path, seed) for seed in range(3)]

    def launch(numbers: list[int]) -> list[Exception]:
        run(specs[:1])
        specs[1].checkpoints.mkdir(parents=True)
        return [RuntimeError("the worker died")]

    outcomes = run_external([specs], Display(), launch, "hydra/launcher=x")
    assert statuses(outcomes) == {0: "done", 1: "failed", 2: "failed"}
    assert {seed: failure.kind for seed, failure in kept(tmp_path).items()} == {1: "killed"}
    assert record_path(tmp_path, specs[0].id).exists()


def test_a_launcher_gets_no_job_whose_runs_failed_earlier(tmp_path: Path) -> None:
    specs = [make_spec(tmp_path, seed) for seed in (0, 4)]
    run(specs, "by_seed")
    outcomes = run_external([specs], Display(), pytest.fail, "hydra/launcher=x")
    assert statuses(outcomes) == {0: "present", 4: "failed earlier"}
