"""Hydra's own launchers, each with one sweep as a user starts it: a method of the user's own, a job that fails, and resume.

Slurm itself is not here: `tests/fake_slurm` stands for its commands, so that what is handed to them is real.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from clbench.records import load_all
from tests.command_line import clbench, command

METHOD = """
import os
from dataclasses import dataclass
from clbench.methods import Method

@dataclass
class Mine(Method):
    broken: bool

    def setup(self, learner, stream):
        assert not self.broken, "broken on purpose"
        assert os.environ.get("CUDA_VISIBLE_DEVICES", "") == os.environ.get("EXPECTED_GPUS", ""), "not the GPUs it was given"
"""
SWEEP = ("scenario.n_tasks=2", "trainer.epochs=1", "seeds=2", "device=cpu")
CASES = {
    "joblib": ("hydra.launcher.n_jobs=2",),
    "submitit_local": ("hydra.launcher.timeout_min=10",),
    "submitit_slurm": (
        "hydra.launcher.partition=gpu",
        "hydra.launcher.timeout_min=90",
        "hydra.launcher.gpus_per_node=1",
        "hydra.launcher.cpus_per_task=2",
    ),
    "ray": (  # two jobs share a GPU that Ray is told of; nothing computes on it
        "hydra.launcher.ray.init.address=local",
        "hydra.launcher.ray.init.num_cpus=2",
        "hydra.launcher.ray.init.num_gpus=1",
        "hydra.launcher.ray.init.object_store_memory=80000000",
        "hydra.launcher.ray.remote.num_gpus=0.5",
    ),
}
PACKAGES = {"joblib": "hydra_joblib_launcher", "ray": "hydra_ray_launcher"}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a plug-in; nothing of it stays in the module search path, nor in the user's own folders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "plugin" / "method").mkdir(parents=True)
    (tmp_path / "plugin" / "launched.py").write_text(METHOD)
    (tmp_path / "plugin" / "method" / "launched.yaml").write_text("_target_: launched.Mine\nversion: 1\nbroken: false\n")


def results(folder: str) -> dict[str, str]:
    records, unreadable = load_all(Path(folder))
    assert not unreadable
    return {record.id: json.dumps(record.result, sort_keys=True) for record in records}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_sweep_by_another_launcher_is_a_sweep_like_any_other(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    package = PACKAGES.get(name, "hydra_submitit_launcher")
    pytest.importorskip(f"hydra_plugins.{package}", reason=f"{package} is not installed: pip install 'clbench[launchers]'")
    monkeypatch.setenv("EXPECTED_GPUS", "0" if name == "ray" else "")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path))
    monkeypatch.setenv("PATH", f"{Path(__file__).parent / 'fake_slurm'}{os.pathsep}{os.environ['PATH']}")
    launched = ("-m", f"hydra/launcher={name}", *CASES[name], *SWEEP, "results_dir='it\\'s here'")
    process = command("--config-dir", "plugin", *launched, "method=launched", "method.broken=false,true", HOME=str(tmp_path))
    out, err = process.communicate(timeout=280)
    assert process.returncode == 1, out + err
    assert "2 trained, 0 already there, 2 failed (records and leaderboard.md: it's here)" in out, out + err
    assert "4/4 split_digits" in out
    assert "launched (broken=true, n_tasks=2, epochs=1) seed 0: AssertionError: broken on purpose" in err, err
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == sorted(
        ["it's here", "plugin", *(["jobs.log", "script.sh"] if name == "submitit_slurm" else [])]
    )
    if name == "submitit_slurm":
        script = (tmp_path / "script.sh").read_text()
        for line in ("--partition=gpu", "--time=90", "--gpus-per-node=1", "--cpus-per-task=2", "--array=0-1%2"):
            assert f"#SBATCH {line}\n" in script

    capsys.readouterr()
    monkeypatch.setenv("EXPECTED_GPUS", "")
    assert clbench(monkeypatch, "--config-dir", "plugin", *launched, "method=launched") == 0
    assert "Nothing to train: all 2 runs were already there" in capsys.readouterr().out
    own = ("method=launched", *SWEEP, "runner.workers=0", "results_dir=own")
    assert clbench(monkeypatch, "--config-dir", "plugin", "-m", *own) == 0
    assert results("it's here") == results("own")
    assert len(results("own")) == 2
    table = (tmp_path / "it's here" / "leaderboard.md").read_text()
    assert "| launched |" in table


def test_a_launcher_that_is_not_installed_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "plugin" / "hydra" / "launcher").mkdir(parents=True)
    (tmp_path / "plugin" / "hydra" / "launcher" / "gone.yaml").write_text("_target_: hydra_plugins.hydra_gone_launcher.x.Y\n")
    assert clbench(monkeypatch, "--config-dir", "plugin", "-m", "hydra/launcher=gone", "method=naive", *SWEEP) == 1
    assert "this launcher needs hydra-gone-launcher\n  -> pip install 'clbench[launchers]'" in capsys.readouterr().err
