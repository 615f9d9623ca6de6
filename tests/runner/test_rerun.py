"""`rerun`: runs with a record are trained again, and the record is replaced when the new one is complete."""

from __future__ import annotations

import fcntl
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clbench.execution import Execution
from clbench.records import read, record_files, record_path
from clbench.run_spec import RunSpec
from clbench.runner.outcome import Outcome
from clbench.runner.progress import Display
from clbench.runner.run_specs import run_specs
from tests.runner.run_functions import make_spec

FUNCTIONS = "tests.runner.run_functions"


def again(spec: RunSpec) -> RunSpec:
    return replace(spec, execution=Execution(device="cpu", rerun=True))


def run(specs: list[RunSpec], function: str = "good", workers: int = 0, **more: Any) -> list[Outcome]:
    return run_specs(specs, more.pop("display", Display()), workers, f"{FUNCTIONS}.{function}", **more)


@pytest.mark.parametrize(("workers", "stack"), [(0, 1), (2, 1), (1, 3)])
def test_rerun_trains_again_and_replaces_the_record(tmp_path: Path, workers: int, stack: int) -> None:
    specs = [make_spec(tmp_path, seed) for seed in (0, 6, 7)]
    run(specs[:2])
    before = {path.name: read(path).digest for path in record_files(tmp_path)}
    function = "good" if stack == 1 else "several"
    outcomes = run([again(spec) for spec in specs], function, workers, largest_stack=stack)
    assert [outcome.status for outcome in outcomes] == ["done"] * 3
    after = {path.name: read(path).digest for path in record_files(tmp_path)}
    assert len(after) == 3
    assert workers == 0 or all(after[name] != digest for name, digest in before.items()), "they name another process"
    assert [outcome.status for outcome in run(specs, "must_not_run")] == ["present"] * 3


def test_the_older_record_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, 1)
    run([spec])
    path = record_path(tmp_path, spec.id)
    before = path.read_bytes()
    seen = []

    class Watcher(Display):
        def event(self, spec: RunSpec, message: Any) -> None:
            seen.append(path.read_bytes())

    (outcome,) = run([again(spec)], display=Watcher())
    assert outcome.status == "done"
    assert seen
    assert set(seen) == {before}
    (outcome,) = run([again(spec)], "by_seed")
    assert outcome.status == "failed"
    assert read(path).result["value"] == 1, "a failure replaces no record"


def test_a_run_that_is_trained_again_starts_from_its_beginning(tmp_path: Path) -> None:
    """A checkpoint may come from other code."""
    spec = make_spec(tmp_path)
    checkpoint = spec.checkpoints / "task-0000.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    run([again(spec)], "list_checkpoints")
    assert (tmp_path / "checkpoints").read_text() == ""


def test_a_record_that_another_process_replaces_meanwhile_counts(tmp_path: Path) -> None:
    """The other process trains the run again, too: the run is not trained a third time."""
    spec = make_spec(tmp_path)
    run([spec])
    path = record_path(tmp_path, spec.id)
    lock = spec.checkpoints / "lock"
    lock.parent.mkdir(parents=True)

    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        class Other(Display):
            def postponed(self, outcome: Outcome) -> None:
                made = read(path)
                made.provenance["by"] = "the other process"
                body = json.loads(path.read_text())
                path.write_text(json.dumps(body | {"provenance": made.provenance, "sha256": made.digest}))
                file.close()

        (outcome,) = run([again(spec)], "must_not_run", display=Other(), wait=None)
    assert outcome.status == "present"
    assert read(path).provenance["by"] == "the other process"
    assert not (tmp_path / "called").exists()


def test_a_damaged_record_is_not_replaced(tmp_path: Path) -> None:
    spec = make_spec(tmp_path)
    path = record_path(tmp_path, spec.id)
    path.write_text('{"format": 1')
    (outcome,) = run([again(spec)], "must_not_run")
    assert outcome.status == "failed"
    assert "damaged" in outcome.reason
    assert path.read_text() == '{"format": 1'
