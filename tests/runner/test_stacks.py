"""Stacks: their members, and an own end for each member."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.records import record_files
from clbench.run_spec import RunSpec
from clbench.runner.device_memory import GIB, Limits, Needs
from clbench.runner.lock import lock_run
from clbench.runner.run_specs import run_specs
from clbench.runner.stacks import assign_stacks, form_stacks, unstack
from tests.runner.run_functions import make_spec
from tests.runner.test_run_specs import FUNCTIONS, Recorder


def run(
    specs: list[RunSpec], function: str = "several", workers: int = 2, largest: int | str = 5, display: Any = None
) -> list[Any]:
    return run_specs(specs, display or Recorder(), workers, f"{FUNCTIONS}.{function}", largest_stack=largest)


def stacked(count: int) -> RunSpec:
    specs = [make_spec(Path("x"), seed) for seed in range(count)]
    (stack,) = form_stacks(specs, assign_stacks(specs, count))
    return stack


def asked(folder: Path) -> list[str]:
    return sorted((folder / "asked").read_text().splitlines())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), unique=True), st.integers(1, 6), st.data())
def test_each_run_is_in_one_stack_of_its_configuration(pairs: list[tuple[str, int]], most: int, data: st.DataObject) -> None:
    specs = [make_spec(Path("x"), seed, method) for method, seed in pairs]
    stacks = assign_stacks(specs, most)
    left = [spec for spec in specs if data.draw(st.booleans())]
    formed = form_stacks(left, stacks)
    every = [each for stack in formed for each in unstack(stack)]
    assert sorted(each.id for each in every) == sorted(spec.id for spec in left)
    assert all(not each.stacked for each in every)
    for stack in formed:
        assert len({each.config_id for each in unstack(stack)}) == 1
        assert len(unstack(stack)) <= most
    for one in left:
        for other in left:
            together = any({one.id, other.id} <= {each.id for each in unstack(stack)} for stack in formed)
            assert together == (stacks[one.id] == stacks[other.id]), "finished runs do not change the stacks"


def test_a_stack_travels_to_another_process() -> None:
    stack = stacked(3)
    again = RunSpec.from_dict(stack.to_dict())
    assert [spec.id for spec in unstack(again)] == [spec.id for spec in unstack(stack)]


@pytest.mark.parametrize("workers", [0, 2])
def test_each_of_a_stack_has_its_record_and_its_end(tmp_path: Path, workers: int) -> None:
    specs = [make_spec(tmp_path, seed) for seed in (0, 1, 4, 6, 7)]
    display = Recorder()
    outcomes = run(specs, workers=workers, largest=3, display=display)
    assert asked(tmp_path) == ["0 1 4", "6 7"]
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "failed", "done", "done"]
    assert "unlucky" in outcomes[1].reason
    assert "the loss is nan" in outcomes[2].reason
    assert [outcome.accuracy for outcome in outcomes] == [90.0, None, None, 96.0, 97.0]
    assert sorted(display.ended) == sorted(spec.id for spec in specs)
    assert len(record_files(tmp_path)) == 3
    assert sorted(path.name for path in (tmp_path / ".checkpoints").iterdir()) == sorted(specs[i].id for i in (1, 2))


def test_stored_runs_and_runs_of_other_processes_are_left_out(tmp_path: Path) -> None:
    specs = [make_spec(tmp_path, seed) for seed in (0, 6, 7)]
    run(specs[:1])
    with lock_run(specs[2]):
        outcomes = run(specs, workers=0)
    assert [outcome.status for outcome in outcomes] == ["present", "done", "busy"]
    assert asked(tmp_path) == ["0", "6"]


def test_a_killed_process_fails_its_whole_stack(tmp_path: Path) -> None:
    outcomes = run([make_spec(tmp_path, seed) for seed in (0, 2, 6)], workers=1)
    assert [outcome.status for outcome in outcomes] == ["failed"] * 3
    assert all("SIGKILL" in outcome.reason for outcome in outcomes)
    assert [outcome.status for outcome in run([make_spec(tmp_path, seed) for seed in (0, 6)])] == ["done"] * 2


def test_a_stack_that_is_out_of_memory_by_itself_fails_for_that_reason(tmp_path: Path) -> None:
    outcomes = run([make_spec(tmp_path, seed) for seed in (0, 6, 7)], "short_of_memory", workers=1)
    assert [outcome.status for outcome in outcomes] == ["failed"] * 3
    assert all("out of memory" in outcome.reason for outcome in outcomes)
    assert all("lower trainer.batch_size" in outcome.remedy for outcome in outcomes)


def test_only_gpus_stack_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [make_spec(tmp_path / "cpu", seed) for seed in (0, 6)]
    (tmp_path / "cpu").mkdir()
    run(specs, "good", largest="auto")
    assert len(record_files(tmp_path / "cpu")) == 2
    (tmp_path / "gpu").mkdir()
    monkeypatch.setattr("clbench.runner.devices.visible_gpus", lambda device: {"0": 8 * GIB})
    run([make_spec(tmp_path / "gpu", seed) for seed in (0, 6)], largest="auto")
    assert asked(tmp_path / "gpu") == ["0 6"]


def test_a_stack_needs_the_memory_of_all() -> None:
    needs = Needs(Limits(0.9, {"cpu": 1, "cuda": 4}, 0.5, 1.0), "cuda")
    stack = stacked(4)
    assert needs.of(stack) == int(16.5 * GIB)
    needs.learn(stack, 8 * GIB)
    assert needs.of(stack) == int(8.5 * GIB)
    assert needs.of(unstack(stack)[0]) == int(2.5 * GIB)
