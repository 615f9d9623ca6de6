"""The command `clbench-tune`, as a user meets it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

from clbench.cli import tune
from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.leaderboard.entries import load_entries
from clbench.leaderboard.rows import rows
from clbench.records import load_all
from tests.command_line import QUICK, clbench

SHORT = ("scenario=split_digits", "tuning.trials=3", "tuning.seeds=2", "tuning.parallel=1", *QUICK)


def run(folder: Path, *words: str) -> int:
    try:
        tune.main([*SHORT, f"results_dir={folder}", *words])
    except SystemExit as left:
        return int(left.code or 0)  # type: ignore[arg-type]
    raise AssertionError("the command leaves with a status")


def test_it_searches_and_reports_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "method=er,naive", "seeds=2") == 0
    printed = capsys.readouterr().out
    assert "er split_digits class first_2: trial 3/3:" in printed
    assert "naive split_digits class first_2" in printed
    assert "tuned with 3 trials of 2 seeds each on the validation splits of the first 2 tasks" in printed
    assert "4 trained" in printed
    records, errors = load_all(tmp_path)
    assert not errors
    assert len(records) == 4
    for record in records:
        search = record.identity["tuning"]
        assert (search["protocol"], search["k"], search["trials"], search["seeds"]) == ("first_k", 2, 3, [1000, 1001])
        assert {column["role"] for column in record.result["columns"]} == {"task"}
        assert record.provenance["tuned_by"]["runs"] == 6
    (searched, _), (other, _) = (load_all(tmp_path / "tuning" / f"{name}-split_digits-class-first_2") for name in ("er", "naive"))
    assert {column["role"] for record in (*searched, *other) for column in record.result["columns"]} == {"valid"}
    assert {row["tuned_by"] for row in rows(load_entries(tmp_path)[0])} == {"first_2 (3 trials)"}
    assert (tmp_path / "tuning" / "er-split_digits-class-first_2" / "search.png").stat().st_size > 10_000
    assert run(tmp_path, "method=er,naive", "seeds=2") == 0
    assert "Nothing to train" in capsys.readouterr().out


def test_two_protocols_are_two_rows(tmp_path: Path) -> None:
    """Whatever they choose, and beside the values of the files."""
    assert run(tmp_path, "method=naive", "tuning.trials=1") == 0
    assert run(tmp_path, "method=naive", "tuning.trials=1", "tuning=end") == 0
    assert run(tmp_path, "method=naive", "tuning=fixed") == 0
    found = rows(load_entries(tmp_path)[0])
    assert sorted(row["tuned_by"] for row in found) == ["end (1 trials)", "first_2 (1 trials)", "fixed (given)"]
    assert len({row["config_id"] for row in found}) == 3


PLUGIN = """
from dataclasses import dataclass

from clbench.methods import Method


@dataclass
class Decay(Method):
    strength: float
    settings = {"class"}

    def edit_gradients(self, learner, batch):
        for name in learner.gradients:
            learner.gradients[name] += self.strength * learner.parameters[name]
"""


def plugin(folder: Path) -> Path:
    for part in ("method", "search"):
        (folder / part).mkdir(parents=True)
    (folder / "outside_decay.py").write_text(PLUGIN)
    (folder / "method" / "outside_decay.yaml").write_text("_target_: outside_decay.Decay\nversion: 1\nstrength: 0.01\n")
    (folder / "search" / "outside_decay.yaml").write_text("method.strength: {low: 0.0001, high: 0.1, log: true}\n")
    return folder


def test_a_method_from_outside_is_tuned_and_its_values_are_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = plugin(tmp_path / "own")
    words = ("--config-dir", str(own), "method=outside_decay", f"tuning.write={own / 'tuned'}", "optimizer.lr=0.05")
    assert run(tmp_path / "runs", *words) == 0
    assert "written: " in capsys.readouterr().out
    content = yaml.safe_load((own / "tuned" / "split_digits" / "outside_decay.yaml").read_text())
    search = content["tuned"]["searches"]["class"]
    assert (search["protocol"], search["trials"]) == ("first_k", 3)
    (record,) = load_all(tmp_path / "runs")[0]
    assert record.identity["tuning"]["search"] == search["search"]
    composer = new_composer([own])
    job = make_job(composer(["method=outside_decay", "scenario=split_digits"]), composer)
    assert job.config["method"]["strength"] == record.identity["method"]["strength"]
    assert job.tuned_by["search"] == search["search"]
    assert make_job(composer(["method=outside_decay", "scenario=split_digits", "scenario.setting=task"]), composer).tuned_by == {
        "protocol": "fixed",
        "values": "defaults",
    }


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "runs", "method=ewc", "runner.dry=true") == 0
    printed = capsys.readouterr().out
    assert "3 trials x 2 seeds, at most 6 runs, then 1 reported" in printed
    assert "method.strength" in printed
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["method=ewc", "tuning.k=5"], "tuning.k=5 of a stream with 5 tasks"),
        (["method=ewc", "tuning=frist_k"], "did you mean tuning=first_k?"),
        (["method=ewc", "tuning.trials=1,2"], "names several values"),
        (["method=ewc", "--verbose"], "unknown flag --verbose"),
        (["method=ewc", "--config-dir"], "--config-dir has no value"),
        (["method=ewc", "--config-dir", "absent"], "absent"),
        (["method=ewc,er", "tuning.name=mine"], "would share the study mine"),
        (["method=ewc", "search=erw"], "unknown search=erw"),
        (["method=gmp"], "gpm"),
    ],
)
def test_bad_input_is_one_message(words: list[str], what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, *words) == 1
    told = capsys.readouterr().err
    assert what in told
    assert "Traceback" not in told
    assert len(told.splitlines()) <= 2


def test_without_optuna_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tune, "find_spec", lambda name: None if name == "optuna" else importlib.util.find_spec(name))
    assert run(tmp_path, "method=er") == 1
    assert "pip install 'clbench[tuning]'" in capsys.readouterr().err


def test_the_command_clbench_points_to_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert clbench(monkeypatch, "method=er", "tuning=first_k") == 1
    assert "clbench-tune method=er tuning=first_k" in capsys.readouterr().err
