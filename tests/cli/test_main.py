"""The command line as a user meets it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clbench.records import load_all, record_files
from tests.command_line import QUICK, clbench, command

pytestmark = pytest.mark.usefixtures("own_folder")


def test_help_lists_what_there_is_and_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "plugin" / "method").mkdir(parents=True)
    (tmp_path / "plugin" / "method" / "mine_alone.yaml").write_text("_target_: mine.Mine")
    check = "import sys; from clbench.cli.main import main; main(); assert 'torch' not in sys.modules, 'torch was imported'"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", check, "--help", "--config-dir", "plugin"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for word in (
        "gpm",
        "split_digits",
        "mlp",
        "sgd",
        "cosine",
        "quick",
        "npz",
        "mine_alone",
        "submitit_slurm",
        "seeds=",
        "results_dir=",
        "clbench -m",
    ):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120
    assert not (tmp_path / "runs").exists()


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert clbench(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("clbench ")


def test_the_configuration_is_shown_as_it_will_be_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert clbench(monkeypatch, "--cfg", "job", "scenario.online=true", "method=er") == 0
    text = capsys.readouterr().out
    assert text.startswith("method:\n")
    assert re.search(r"^  epochs: 1$", text, re.MULTILINE)
    assert "protocol" not in text
    assert "${" not in text
    assert clbench(monkeypatch, "--cfg", "job", "-p", "trainer.epochs", "trainer.epochs=3") == 0
    assert capsys.readouterr().out == "3\n"
    assert clbench(monkeypatch, "--cfg", "job", "-p", "nonsense") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("method=nonsense",), "choose one of: adam_nscl, agem, bad_teacher, compose"),
        (("scenario=nonsense",), "split_digits"),
        (("trainer.epoch=3",), "did you mean trainer.epochs"),
        (("+nonsense=3",), "unknown key nonsense=3"),
        (("seeds=0",), "seeds=0"),
        (("device=tpu",), "device='tpu'"),
        (("results_dir=taken",), "taken"),
        (("-m", "results_dir=taken"), "taken"),
        (("--config-dir", "nowhere"), "nowhere"),
        (("method=er,ewc",), "--multirun"),
        (("-m", "method=ewc,si", "method.strength=1"), "'method.strength=choice(VALUE)'"),
        (("-m", "+experiment=fot/pmnist,fot/cifar100", "federated.clients=9"), "'federated.clients=choice(VALUE)'"),
        (("model=null",), "model=null"),
        (("--config-dir", "broken", "method=bad"), "broken"),
        (("scenario=split", "scenario/dataset=npz", "scenario.dataset.path=absent.npz"), "absent.npz"),
        (("method._target_=clbench.methods.naive.Nobody", *QUICK), "Nobody"),
    ],
)
def test_an_error_is_one_message_and_status_1(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    words: tuple[str, ...],
    said: str,
) -> None:
    (tmp_path / "taken").write_text("a file in the place of a folder")
    (tmp_path / "broken" / "method").mkdir(parents=True)
    (tmp_path / "broken" / "method" / "bad.yaml").write_text("_target_: [never closed")
    assert clbench(monkeypatch, *words) == 1
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown
    assert "Error executing job" not in shown
    assert (tmp_path / "taken").read_text() == "a file in the place of a folder"


@pytest.mark.parametrize("words", [("results_dir=a,b",), ("seeds=2", "results_dir=choice(a,b)")])
def test_several_folders_for_one_sweep_are_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert clbench(monkeypatch, "--multirun", *words, *QUICK) == 1
    shown = capsys.readouterr().err
    assert "gives a sweep several folders" in shown
    assert "give one folder" in shown
    assert list(tmp_path.iterdir()) == []


def test_the_full_error_is_there_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra.errors import MissingConfigException

    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(MissingConfigException):
        clbench(monkeypatch, "method=nonsense")
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


def test_a_run_ends_with_the_leaderboard_and_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert clbench(monkeypatch, "seeds=2", "results_dir=out", *QUICK) == 0
    shown = capsys.readouterr().out
    assert "1/2 split_digits class naive (epochs=1) seed 0  accuracy" in shown
    assert "2 trained, 0 already there, 0 failed" in shown
    assert "\x1b" not in shown
    assert {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")} == {
        "leaderboard.md",
        *(path.name for path in record_files(tmp_path / "out")),
    }
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    table = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "naive" in table
    assert clbench(monkeypatch, "seeds=3", "results_dir=out", *QUICK) == 0
    assert "1 trained, 2 already there, 0 failed" in capsys.readouterr().out
    assert clbench(monkeypatch, "seeds=3", "results_dir=out", *QUICK) == 0
    assert "Nothing to train: all 3 runs were already there in out." in capsys.readouterr().out
    assert {record.seed for record in load_all(tmp_path / "out")[0]} == {0, 1, 2}


def test_when_all_is_there_torch_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert clbench(monkeypatch, *QUICK) == 0
    check = "import sys; from clbench.cli.main import main; main(); assert 'torch' not in sys.modules, 'torch was imported'"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", check, *QUICK],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Nothing to train" in done.stdout


def test_a_failed_run_stops_no_other(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert clbench(monkeypatch, "seeds=1", *QUICK) == 0
    path = record_files(tmp_path / "runs")[0]
    path.write_text("{")
    capsys.readouterr()
    assert clbench(monkeypatch, "seeds=3", *QUICK) == 1
    shown = capsys.readouterr()
    assert "2 trained, 0 already there, 1 failed" in shown.out
    assert shown.err.count("failed: split_digits class naive (epochs=1) seed 0:") == 1
    assert str(path.relative_to(tmp_path)) in shown.err
    assert "left out" not in shown.err
    assert path.read_text() == "{"


def test_a_sweep_goes_on_after_jobs_that_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert clbench(monkeypatch, "-m", "method=nonsense,naive,joint", "scenario.n_tasks=7,5", *QUICK) == 1
    shown = capsys.readouterr()
    assert "2 trained, 0 already there, 4 failed" in shown.out
    assert shown.err.count("there is no method=nonsense") == 2
    assert shown.err.count("n_tasks=7") >= 2
    assert "Traceback" not in shown.err
    assert len(record_files(tmp_path / "runs")) == 2


def test_an_interrupt_is_no_failure_and_loses_nothing(tmp_path: Path) -> None:
    running = command("seeds=2", "trainer.epochs=100000", "runner.workers=1", "device=cpu")
    assert running.stdout is not None
    assert "2 runs to train" in running.stdout.readline()
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert record_files(tmp_path / "runs") == []


def test_a_foreign_file_among_good_records_is_said_and_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    foreign = tmp_path / "runs" / "notes.json"
    foreign.write_text(json.dumps({"mine": 1}))
    assert clbench(monkeypatch, *QUICK) == 0
    shown = capsys.readouterr()
    assert "1 trained, 0 already there, 0 failed" in shown.out
    assert "notes.json" in shown.err
    assert foreign.read_text() == json.dumps({"mine": 1})
