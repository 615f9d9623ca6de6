"""A job in another launcher's process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clbench.errors import ConfigError
from clbench.runner import devices, launched_job

JOBLIB: dict[str, Any] = {"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"}
LOCAL: dict[str, Any] = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"}
SLURM: dict[str, Any] = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"}


def ray(**remote: Any) -> dict[str, Any]:
    return {"_target_": "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher", "ray": {"remote": remote}}


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")  # so that it is put back afterwards


@pytest.mark.parametrize(
    ("launcher", "workers"),
    [
        (JOBLIB, 1),
        (LOCAL, 1),
        ({**LOCAL, "cpus_per_task": 3}, 3),
        ({**LOCAL, "gpus_per_node": 1}, "auto"),
        (SLURM, "auto"),
        (ray(num_cpus=1, num_gpus=0), 1),
        (ray(num_cpus=4), 4),
        (ray(num_cpus=0.5), 1),
        (ray(num_cpus=4, num_gpus=0.5), "auto"),
    ],
)
def test_a_job_has_the_workers_its_launcher_gives_it(launcher: dict[str, Any], workers: int | str) -> None:
    assert launched_job.share(launcher, "cpu", "auto", 0) == workers
    assert launched_job.share(launcher, "cpu", 2, 0) == 2


def test_gpus_are_those_given_by_ray_and_go_by_turns_under_joblib(monkeypatch: pytest.MonkeyPatch) -> None:
    launched_job.share(ray(num_cpus=1, num_gpus=0.25), "auto", "auto", 3)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"
    monkeypatch.setattr(launched_job, "visible_gpus", lambda device: {"2": 1, "7": 1})
    seen = []
    for number in range(3):
        launched_job.share(JOBLIB, "auto", "auto", number)
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["2", "7", "2"]
    launched_job.share(ray(num_cpus=1, num_gpus=0), "auto", "auto", 0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_a_job_that_wants_a_gpu_and_is_given_none_is_refused_and_who_may_have_meant_one_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    none, some = ray(num_cpus=1, num_gpus=0), ray(num_cpus=1, num_gpus=0.5)
    with pytest.raises(ConfigError, match="gives its jobs no GPU"):
        launched_job.share(none, "cuda", "auto", 0)
    with pytest.raises(ConfigError, match="gives its jobs no GPU"):
        launched_job.share(LOCAL, "cuda", "auto", 0)
    launched_job.share(some, "cuda", "auto", 0)
    monkeypatch.setattr(launched_job, "driver_present", lambda: True)
    assert "hydra.launcher.ray.remote.num_gpus=1" in launched_job.hint(none, {"cpu", "auto"})
    assert "hydra.launcher.gpus_per_node=1" in launched_job.hint(LOCAL, {"auto"})
    assert not launched_job.hint(none, {"cpu"})
    assert not launched_job.hint(some, {"auto"})
    assert not launched_job.hint(SLURM, {"auto"})
    monkeypatch.setattr(launched_job, "driver_present", lambda: False)
    assert not launched_job.hint(none, {"auto"})


def test_paths_and_modules_are_those_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    launched_job.enter_folder(str(tmp_path), ["/somewhere/plugin"])
    assert Path.cwd() == tmp_path
    assert sys.path[-2:] == [str(tmp_path), "/somewhere/plugin"]
    with pytest.raises(ConfigError, match="no such folder"):
        launched_job.enter_folder(str(tmp_path / "gone"), [])


@pytest.mark.parametrize(("launcher", "ends"), [(LOCAL, True), (JOBLIB, True), (SLURM, False)])
def test_a_job_on_this_machine_ends_with_the_command(launcher: dict[str, Any], ends: bool) -> None:
    command = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    code = f"from clbench.runner import launched_job as j; j.end_with_command({launcher!r}); print('ready', flush=True); input()"
    job = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, launched_job.COMMAND: str(command.pid)},
    )
    assert job.stdout is not None
    assert job.stdout.readline() == "ready\n"
    command.communicate()
    if ends:
        assert job.wait(30) == 1
    else:
        job.communicate("\n")
        assert job.returncode == 0
    job.communicate()


def test_slurm_says_how_many_cores_a_task_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    all_of_them = devices.cores()
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert devices.cores() == 1
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "100000")
    assert devices.cores() == all_of_them


def test_ctrl_c_does_not_reach_what_submitit_starts_here(monkeypatch: pytest.MonkeyPatch) -> None:
    local = pytest.importorskip("submitit.local.local")
    monkeypatch.setattr(local, "start_controller", lambda: signal.pthread_sigmask(signal.SIG_BLOCK, []))
    before = local.start_controller()
    for launcher, blocked in ((LOCAL, True), (SLURM, False)):
        with launched_job.out_of_reach(launcher):
            assert (signal.SIGINT in local.start_controller()) is blocked
            assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    assert local.start_controller() == before


@pytest.mark.parametrize(
    ("init", "variables", "running", "expected"),
    [
        ({"address": None}, {}, False, "0"),
        ({"address": "local"}, {}, True, "0"),
        ({"address": "local"}, {"RAY_ADDRESS": "10.0.0.1:6379"}, False, "0"),
        ({"address": "10.0.0.1:6379"}, {}, False, None),
        ({"address": None}, {"RAY_ADDRESS": "10.0.0.1:6379"}, False, None),
        ({"address": None}, {}, True, None),
        ({"address": None}, {launched_job.RAY_CLUSTERS: "1"}, False, "1"),
    ],
)
def test_ray_listens_on_the_loopback_unless_it_joins_a_cluster(
    init: dict[str, Any],
    variables: dict[str, str],
    running: bool,
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RAY_ADDRESS", launched_job.RAY_CLUSTERS):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(launched_job, "_clusters", lambda folder: [str(tmp_path / "current")])
    if running:
        (tmp_path / "current").write_text("10.0.0.1:6379")
    launched_job.keep_ray_local({**ray(), "ray": {"init": init, "remote": {}}})
    assert os.environ.get(launched_job.RAY_CLUSTERS) == expected


def test_other_launchers_leave_the_environment_of_ray_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(launched_job.RAY_CLUSTERS, raising=False)
    launched_job.keep_ray_local(SLURM)
    assert launched_job.RAY_CLUSTERS not in os.environ
