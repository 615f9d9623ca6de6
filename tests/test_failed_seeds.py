"""Seeds that diverge or raise in training: one command after another, as a user sees them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import clbench as package
from clbench.errors import ClbenchError
from clbench.records import record_files
from clbench.store.failures import load_failures
from tests.command_line import QUICK, clbench

UNLUCKY = """
from dataclasses import dataclass
from clbench.methods import Method

@dataclass
class Unlucky(Method):
    \"\"\"Has a loss that is not finite in task 1, with seeds 1 and 2.\"\"\"

    def penalty(self, learner, batch, logits):
        bad = batch.task == 1 and learner.seed in (1, 2)
        return logits.sum() * float("nan") if bad else logits.new_zeros(())
"""
WORDS = ("method._target_=unlucky.Unlucky", "seeds=3", *QUICK)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "unlucky.py").write_text(UNLUCKY)


@pytest.mark.parametrize("stack", [1, 3])
def test_the_seed_that_is_left_is_one_of_three(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], stack: int
) -> None:
    words = (*WORDS, f"runner.stack={stack}")
    assert clbench(monkeypatch, *words) == 1
    assert "1 of 3 †" in capfd.readouterr().out
    table = Path("runs/leaderboard.md").read_text()
    assert "| 1 of 3 † |" in table
    assert "2 of 3 seeds failed. diverged (seeds 1, 2): the loss became nan in task 1, epoch 0" in table
    assert "† Unlucky" in table
    failures, _ = load_failures(Path("runs"))
    assert [failure.seed for failure in sorted(failures, key=lambda each: each.seed)] == [1, 2]
    for failure in failures:
        assert (failure.failure["task"], failure.failure["events"], failure.failure["goal"]) == (1, 2, None)
        assert failure.failure["step"] > 0
        assert (failure.failure["setting"], failure.failure["access"]) == ("class", "current")

    files = {path: path.stat().st_mtime_ns for path in (*record_files(Path("runs")), *Path("runs/failed").iterdir())}
    assert clbench(monkeypatch, *words) == 1
    printed = capfd.readouterr()
    assert "0 trained, 1 already there, 2 failed (2 of them in an earlier command, not trained again)" in printed.out
    assert "2 runs failed earlier and were not trained again" in printed.err
    assert "rerun=true" in printed.err
    assert all(path.stat().st_mtime_ns == time for path, time in files.items())
    (row,) = package.load("runs").rows()
    assert (row["n_seeds"], row["n_failed"], row["incomplete"]) == (1, 2, "failed seeds")


def test_rerun_trains_failed_and_finished_runs_again(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    clbench(monkeypatch, *WORDS)
    capfd.readouterr()
    assert clbench(monkeypatch, *WORDS, "rerun=true") == 1
    assert "1 trained, 0 already there, 2 failed (records" in capfd.readouterr().out


def test_python_says_which_runs_were_not_trained_again(tmp_path: Path) -> None:
    usual = {"results_dir": tmp_path / "runs", "workers": 0, "progress": False, "seeds": 2}
    overrides = ["trainer.epochs=1", "device=cpu", "optimizer.lr=1e20"]
    with pytest.raises(ClbenchError) as first:
        package.run(**usual, overrides=overrides)  # type: ignore[arg-type]
    assert "rerun" not in str(first.value)
    with pytest.raises(ClbenchError, match=r'overrides=\["rerun=true"\]'):
        package.run(**usual, overrides=overrides)  # type: ignore[arg-type]
    frame = package.load(tmp_path / "runs").to_frame()
    assert list(frame.n_failed) == [2, 2]
    assert set(frame.failure) == {"diverged"}


@pytest.mark.parametrize(
    ("words", "goal", "step"),
    [
        (("+federated=iid", "federated.rounds=2", "federated.clients=2", "optimizer.lr=1e20"), None, 0),
        (("scenario=unlearn_digits", "optimizer.lr=1e20"), "suppress", 1),
    ],
)
def test_federated_runs_and_streams_with_requests_count_alike(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], goal: str | None, step: int
) -> None:
    assert clbench(monkeypatch, *words, *QUICK) == 1
    ((failure,), _) = load_failures(Path("runs"))
    assert (failure.kind, failure.failure["task"], failure.failure["events"]) == ("diverged", 0, 1)
    assert failure.failure["goal"] == goal
    assert failure.failure["step"] >= step
    assert "| 0 of 1 † |" in Path("runs/leaderboard.md").read_text()
