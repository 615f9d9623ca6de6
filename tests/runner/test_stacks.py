"""Cells that are given out together: who goes with whom, and that each has its own end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.cells import Cell
from clbench.records import record_files
from clbench.runner import run_cells
from clbench.runner.claim import claim
from clbench.runner.memory import GIB, Limits, Needs
from clbench.runner.stacks import stack_up, together, unstack
from tests.runner.test_run_cells import TRIALS, Recorder
from tests.runner.trials import make_cell


def run(cells: list[Cell], trial: str = "several", workers: int = 2, stack: int | str = 5, display: Any = None) -> list[Any]:
    return run_cells(cells, display or Recorder(), workers, f"{TRIALS}.{trial}", stack=stack)


def stacked(count: int) -> Cell:
    cells = [make_cell(Path("x"), seed) for seed in range(count)]
    (stack,) = together(cells, stack_up(cells, count))
    return stack


def asked(folder: Path) -> list[str]:
    return sorted((folder / "asked").read_text().splitlines())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), unique=True), st.integers(1, 6), st.data())
def test_nobody_is_lost_and_nobody_goes_with_strangers(pairs: list[tuple[str, int]], most: int, data: st.DataObject) -> None:
    cells = [make_cell(Path("x"), seed, method) for method, seed in pairs]
    stacks = stack_up(cells, most)
    left = [cell for cell in cells if data.draw(st.booleans())]
    given_out = together(left, stacks)
    every = [each for stack in given_out for each in unstack(stack)]
    assert sorted(each.id for each in every) == sorted(cell.id for cell in left)
    assert all(not each.beside for each in every)
    for stack in given_out:
        assert len({each.config_id for each in unstack(stack)}) == 1
        assert len(unstack(stack)) <= most
    for one in left:
        for other in left:
            beside = any({one.id, other.id} <= {each.id for each in unstack(stack)} for stack in given_out)
            assert beside == (stacks[one.id] == stacks[other.id]), "what is done does not change who goes with whom"


def test_a_stack_travels_to_another_process() -> None:
    stack = stacked(3)
    again = Cell.from_dict(stack.to_dict())
    assert [cell.id for cell in unstack(again)] == [cell.id for cell in unstack(stack)]


@pytest.mark.parametrize("workers", [0, 2])
def test_each_of_a_stack_has_its_record_and_its_end(tmp_path: Path, workers: int) -> None:
    cells = [make_cell(tmp_path, seed) for seed in (0, 1, 4, 6, 7)]
    display = Recorder()
    outcomes = run(cells, workers=workers, stack=3, display=display)
    assert asked(tmp_path) == ["0 1 4", "6 7"]
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "failed", "done", "done"]
    assert "unlucky" in outcomes[1].reason
    assert "the loss is nan" in outcomes[2].reason
    assert [outcome.accuracy for outcome in outcomes] == [90.0, None, None, 96.0, 97.0]
    assert sorted(display.ended) == sorted(cell.id for cell in cells)
    assert len(record_files(tmp_path)) == 3
    assert sorted(path.name for path in (tmp_path / ".checkpoints").iterdir()) == sorted(cells[i].id for i in (1, 2))


def test_what_is_there_and_what_others_are_at_is_left_out(tmp_path: Path) -> None:
    cells = [make_cell(tmp_path, seed) for seed in (0, 6, 7)]
    run(cells[:1])
    with claim(cells[2]):
        outcomes = run(cells, workers=0)
    assert [outcome.status for outcome in outcomes] == ["present", "done", "busy"]
    assert asked(tmp_path) == ["0", "6"]


def test_a_killed_process_fails_all_it_was_at(tmp_path: Path) -> None:
    outcomes = run([make_cell(tmp_path, seed) for seed in (0, 2, 6)], workers=1)
    assert [outcome.status for outcome in outcomes] == ["failed"] * 3
    assert all("SIGKILL" in outcome.reason for outcome in outcomes)
    assert [outcome.status for outcome in run([make_cell(tmp_path, seed) for seed in (0, 6)])] == ["done"] * 2


def test_a_stack_that_is_out_of_memory_by_itself_fails_for_that_reason(tmp_path: Path) -> None:
    outcomes = run([make_cell(tmp_path, seed) for seed in (0, 6, 7)], "short_of_memory", workers=1)
    assert [outcome.status for outcome in outcomes] == ["failed"] * 3
    assert all("out of memory" in outcome.reason for outcome in outcomes)


def test_only_gpus_stack_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [make_cell(tmp_path / "cpu", seed) for seed in (0, 6)]
    (tmp_path / "cpu").mkdir()
    run(cells, "good", stack="auto")
    assert len(record_files(tmp_path / "cpu")) == 2
    (tmp_path / "gpu").mkdir()
    monkeypatch.setattr("clbench.runner.devices.visible_gpus", lambda device: {"0": 8 * GIB})
    run([make_cell(tmp_path / "gpu", seed) for seed in (0, 6)], stack="auto")
    assert asked(tmp_path / "gpu") == ["0 6"]


def test_a_stack_needs_the_memory_of_all() -> None:
    needs = Needs(Limits(0.9, {"cpu": 1, "cuda": 4}, 0.5, 1.0), "cuda")
    stack = stacked(4)
    assert needs.of(stack) == int(16.5 * GIB)
    needs.learn(stack, 8 * GIB)
    assert needs.of(stack) == int(8.5 * GIB)
    assert needs.of(unstack(stack)[0]) == int(2.5 * GIB)
