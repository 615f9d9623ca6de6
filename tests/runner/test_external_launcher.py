"""Jobs that another launcher runs: which jobs it gets, and the outcomes of their runs."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from clbench.errors import ConfigError
from clbench.run_spec import RunSpec
from clbench.runner.execute import failure_log
from clbench.runner.external_launcher import JobError, run_external
from clbench.runner.progress import Display
from clbench.runner.run_specs import run_specs
from tests.runner.run_functions import make_spec
from tests.runner.test_run_specs import Recorder


def store(specs: Sequence[RunSpec]) -> None:
    run_specs(specs, Display(), 0, "tests.runner.run_functions.good")


def run(jobs: Sequence[Sequence[RunSpec]], launch: Callable[[list[int]], Any], display: Display | None = None) -> dict[int, Any]:
    return {outcome.spec.seed: outcome for outcome in run_external(jobs, display or Display(), launch, "hydra/launcher=x")}


def test_only_jobs_with_something_left_are_launched(tmp_path: Path) -> None:
    specs = [make_spec(tmp_path, seed) for seed in range(5)]
    store(specs[:3])
    launched: list[list[int]] = []

    def launch(numbers: list[int]) -> list[None]:
        launched.append(numbers)
        store(specs[3:])
        return [None for _ in numbers]

    display = Recorder()
    found = run([specs[:2], specs[2:4], [specs[3]], [specs[4]]], launch, display)
    assert launched == [[1, 3]]  # the third job's only run is the second's
    assert [found[seed].status for seed in range(5)] == ["present"] * 3 + ["done"] * 2
    assert sorted(display.ended) == sorted(spec.id for spec in specs[3:])
    assert {outcome.status for outcome in run([specs], pytest.fail).values()} == {"present"}


def test_a_failure_belongs_to_its_run(tmp_path: Path) -> None:
    specs = [make_spec(tmp_path, seed) for seed in range(4)]
    traveled = pickle.loads(pickle.dumps(JobError("failed: seed 1", {specs[1].id: "no good"})))

    def launch(numbers: list[int]) -> list[Exception | None]:
        store(specs[:1])
        return [traveled, ConfigError("no such folder", "make it")]

    found = run([specs[:3], specs[3:]], launch)
    assert [found[seed].status for seed in range(4)] == ["done", "failed", "busy", "failed"]
    assert found[1].reason == "no good"
    assert found[3].text == "no such folder -> make it"


def test_a_launcher_that_gives_up_loses_nothing_finished(tmp_path: Path) -> None:
    specs = [make_spec(tmp_path, seed) for seed in range(2)]

    def launch(numbers: list[int]) -> list[None]:
        store(specs[:1])
        raise RuntimeError("a worker " + "died " * 100)

    found = run([[spec] for spec in specs], launch)
    assert (found[0].status, found[1].status) == ("done", "failed")
    assert found[1].reason.startswith("hydra/launcher=x gave up: RuntimeError: a worker died")
    assert len(found[1].reason) < 400
    assert "Traceback" in failure_log(specs[1]).read_text()
    with pytest.raises(KeyboardInterrupt):
        run([specs], lambda numbers: (_ for _ in ()).throw(KeyboardInterrupt))


def test_a_damaged_record_is_a_failure(tmp_path: Path) -> None:
    spec = make_spec(tmp_path)

    def launch(numbers: list[int]) -> list[None]:
        (tmp_path / f"{spec.id}.json").write_text("{")
        return [None]

    assert run([[spec]], launch)[0].status == "failed"
