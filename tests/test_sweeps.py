"""Sweeps as a user meets them: batches, the command line over a sweep's file, launchers and sweepers."""

from __future__ import annotations

from pathlib import Path

import pytest

from clbench.records import load_all, record_files
from clbench.runner.sweep import best
from tests.command_line import QUICK, clbench

pytestmark = pytest.mark.usefixtures("own_folder")


def test_a_long_table_is_shortened_with_as_many_rows_of_each_scenario_and_setting():
    rows = [{"scenario": scenario, "setting": "task", "place": place} for scenario in "abc" for place in range(100)]
    assert best(rows[:200], 200) == rows[:200]
    assert [(row["scenario"], row["place"]) for row in best(rows, 6)] == [(name, place) for name in "abc" for place in range(5)]
    assert len(best(rows, 299)) == 297


def test_batches_of_a_sweep_all_run_before_the_status_tells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert clbench(monkeypatch, "-m", "method=nonsense,naive", "hydra.sweeper.max_batch_size=1", *QUICK) == 1
    assert len(record_files(tmp_path / "runs")) == 1


@pytest.mark.parametrize("words", [("+sweep=quick",), ("--multirun", "+sweep=quick")])
def test_the_command_line_wins_over_a_sweep(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert (
        clbench(
            monkeypatch,
            *words,
            "method=naive",
            "scenario=split_digits,rotated_digits",
            "seeds=[4]",
            "results_dir=out",
            *QUICK,
        )
        == 0
    )
    records = load_all(tmp_path / "out")[0]
    assert {(r.identity["names"]["scenario"], r.identity["names"]["method"], r.seed) for r in records} == {
        ("split_digits", "naive", 4),
        ("rotated_digits", "naive", 4),
    }


def test_the_quick_sweep_is_seven_methods_by_three_streams_by_five_seeds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from clbench.runner import sweep

    seen = []

    def note(jobs: list[object], broken: list[object]) -> sweep.Summary:
        seen.extend(spec for job in jobs for spec in job.specs())  # type: ignore[attr-defined]
        assert not broken
        return sweep.Summary()

    monkeypatch.setattr(sweep, "run_jobs", note)
    assert clbench(monkeypatch, "+sweep=quick") == 0
    assert len({spec.names["method"] for spec in seen}) == 7
    assert len({spec.names["scenario"] for spec in seen}) == 3
    assert len({spec.id for spec in seen}) == 105
    assert {spec.variant for spec in seen} == {""}


def test_other_launchers_work(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert clbench(monkeypatch, "-m", "hydra/launcher=basic", "method=naive,joint", *QUICK) == 0
    assert len(record_files(tmp_path / "runs")) == 2
    assert clbench(monkeypatch, "-m", "hydra/launcher=basic", "hydra/sweeper=basic", "scenario.n_tasks=7,2", *QUICK) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert len(record_files(tmp_path / "runs")) == 3


def test_a_sweeper_gets_the_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra_plugins.clbench_launcher import ClbenchSweeper

    returned: list[float] = []
    sweep = ClbenchSweeper.sweep

    def note(self: ClbenchSweeper, arguments: list[str]) -> object:
        found = sweep(self, arguments)
        returned.extend(job.return_value for batch in found for job in batch)
        return found

    monkeypatch.setattr(ClbenchSweeper, "sweep", note)
    assert clbench(monkeypatch, "-m", "method=naive,joint", *QUICK) == 0
    assert clbench(monkeypatch, "-m", "method=naive,joint", "hydra/launcher=basic", *QUICK) == 0
    assert len(returned) == 4
    assert returned[:2] == returned[2:]
    assert all(0 <= value <= 100 for value in returned)
    assert returned[0] < returned[1]


def test_one_value_for_several_methods_is_a_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert clbench(monkeypatch, "-m", "method=ewc,si", "method.strength=choice(3)", *QUICK) == 0
    records = load_all(tmp_path / "runs")[0]
    assert {(r.identity["names"]["method"], r.identity["method"]["strength"]) for r in records} == {("ewc", 3), ("si", 3)}
