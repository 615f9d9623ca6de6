"""Runs that follow from the outcomes of others, as in a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clbench.records import read
from clbench.run_spec import RunSpec
from clbench.runner.outcome import Outcome
from clbench.runner.progress import Display
from clbench.runner.run_specs import Following, run_specs
from tests.runner.run_functions import make_spec

FUNCTIONS = "tests.runner.run_functions"


def search(folder: Path, workers: int, function: str = "good", length: int = 4) -> tuple[list[Any], list[int]]:
    """Run two chains of runs: seed s is followed by s + 10, until the chain has `length` runs."""
    seen: list[int] = []

    def after(outcome: Outcome) -> list[RunSpec]:
        seed = outcome.spec.seed
        seen.append(seed)
        return [make_spec(folder, seed + 10)] if seed < 10 * (length - 1) else []

    first = [make_spec(folder, seed) for seed in (1, 5)]
    outcomes = run_specs(first, Display(), workers, f"{FUNCTIONS}.{function}", following=Following(after, 2 * length))
    return outcomes, seen


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_each_run_is_run_once_and_followed_once(tmp_path: Path, workers: int) -> None:
    outcomes, seen = search(tmp_path, workers)
    assert {outcome.status for outcome in outcomes} == {"done"}
    assert sorted(seen) == sorted(outcome.spec.seed for outcome in outcomes) == [1, 5, 11, 15, 21, 25, 31, 35]


@pytest.mark.parametrize("workers", [0, 2])
def test_stored_runs_are_followed_too(tmp_path: Path, workers: int) -> None:
    search(tmp_path, 0, length=2)
    outcomes, seen = search(tmp_path, workers)
    assert [outcome.spec.seed for outcome in outcomes if outcome.status == "present"] == [1, 5, 11, 15]
    assert sorted(seen) == [1, 5, 11, 15, 21, 25, 31, 35]
    again, seen = search(tmp_path, workers)
    assert {outcome.status for outcome in again} == {"present"}
    assert len(seen) == len(again) == 8


def test_a_failed_run_is_followed(tmp_path: Path) -> None:
    outcomes, seen = search(tmp_path, 2, "by_seed")
    assert {outcome.spec.seed: str(outcome.status) for outcome in outcomes} == {
        1: "failed",  # its worker goes on
        **dict.fromkeys([5, 11, 15, 21, 25, 31, 35], "done"),
    }
    assert len(seen) == 8


def test_workers_stay_while_runs_may_follow(tmp_path: Path) -> None:
    """A worker takes seconds to import its libraries: the second run of each chain finds one that is there."""
    outcomes, _ = search(tmp_path, 2)
    processes = {read(outcome.spec.record_file).result["process"] for outcome in outcomes}
    assert len(processes) <= 2


def test_equal_runs_are_followed_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def after(outcome: Outcome) -> list[RunSpec]:
        calls.append(outcome.spec.seed)
        return [make_spec(tmp_path, seed) for seed in (0, 1, 2)]

    outcomes = run_specs([make_spec(tmp_path)], Display(), 0, f"{FUNCTIONS}.good", following=Following(after, 3))
    assert sorted(calls) == [outcome.spec.seed for outcome in outcomes] == [0, 1, 2]
