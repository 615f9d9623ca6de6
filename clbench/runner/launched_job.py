"""A job in the process of another launcher: its working folder, and its share of the machine."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import sleep
from typing import Any

from clbench.errors import ConfigError
from clbench.runner.devices import driver_present, visible_gpus
from clbench.utils.interrupts import ignore_in_job

COMMAND = "CLBENCH_COMMAND"
"""Environment variable with the process id of the command that started a sweep."""
RAY_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Environment variable of Ray: with 0 its processes listen and connect on the loopback alone, on every system."""
RAY_CURRENT = "ray_current_cluster"
"""File of Ray with the address of the cluster on this machine."""
WATCHER = "clbench: end with the command"
PAUSE = 1.0
"""Seconds between two checks that the command still runs."""
ON_THIS_MACHINE = ("JoblibLauncher", "LocalLauncher")
"""Launchers whose jobs must end with the command. Ray ends its jobs itself; the jobs of a queue shall outlive the command."""

NO_GPU = "{name} gives its jobs no GPU"
REMEDY = "{key}=1 gives each of them one"
GPUS = {
    "RayLauncher": ("hydra/launcher=ray", "hydra.launcher.ray.remote.num_gpus"),
    "LocalLauncher": ("hydra/launcher=submitit_local", "hydra.launcher.gpus_per_node"),
}
"""Launchers that hide all GPUs from a job unless a key asks for some: name of the launcher, and the key."""


def enter_folder(folder: str, plugins: Sequence[str]) -> None:
    """Give paths and modules the meaning that they have for the command that started the sweep.

    Args:
        folder: working folder of the command.
        plugins: folders given with `--config-dir`.

    Raises:
        ConfigError: this machine has no such folder.
    """
    if not os.path.isdir(folder):
        raise ConfigError(
            f"the sweep was started in {folder}, and {socket.gethostname()} has no such folder",
            "start it in a folder that all machines share, or with a launcher that stays on one machine",
        )
    if not os.path.samefile(folder, os.getcwd()):
        os.chdir(folder)
    sys.path.extend(entry for entry in [folder, *plugins] if entry not in sys.path)


def share(launcher: Mapping[str, Any], device: str, workers: int | str, number: int) -> int | str:
    """Return how many workers a job may have, and hide the GPUs of other jobs.

    Args:
        launcher: Hydra's node of the launcher.
        device: `auto`, `cpu` or `cuda`.
        workers: of the configuration; a number is returned unchanged.
        number: number of the job in its sweep.

    Raises:
        ConfigError: `device=cuda`, but the launcher gives no GPU.
    """
    kind = _kind(launcher)
    if device == "cuda" and kind in GPUS and not _gpus(launcher):
        name, key = GPUS[kind]
        raise ConfigError(f"device=cuda, but {NO_GPU.format(name=name)}", REMEDY.format(key=key))
    own: int | str = workers
    if kind == "JoblibLauncher":  # it knows nothing of GPUs: the jobs take turns
        own = 1
        gpus = list(visible_gpus(device))
        if gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    elif kind == "LocalLauncher":
        own = workers if _gpus(launcher) else launcher.get("cpus_per_task") or 1
    elif kind == "RayLauncher" and not _gpus(launcher):
        own = max(1, int(launcher["ray"]["remote"].get("num_cpus") or 1))
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # some versions of Ray would show all
    return own if workers == "auto" else workers


def hint(launcher: Mapping[str, Any], devices: Collection[str]) -> str:
    """Return a hint if jobs for these devices go to a launcher that gives them no GPU of this machine; else nothing."""
    kind = _kind(launcher)
    if kind not in GPUS or _gpus(launcher) or set(devices) <= {"cpu"} or not driver_present():
        return ""
    name, key = GPUS[kind]
    return f"{NO_GPU.format(name=name)}; {REMEDY.format(key=key)}"


def keep_ray_local(launcher: Mapping[str, Any]) -> None:
    """Let Ray listen on the loopback alone if the launcher starts Ray for this sweep: nobody else shall send jobs to Ray.

    Nothing changes if Ray joins a cluster: one that the launcher's address or `RAY_ADDRESS` names, or one on this machine.
    A value of the environment variable that the user has set holds. To be called before Ray is imported.
    """
    if _kind(launcher) != "RayLauncher":
        return
    init = launcher["ray"].get("init") or {}
    address = init.get("address") or os.environ.get("RAY_ADDRESS")
    folder = init.get("_temp_dir") or os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    joins = address != "local" if address else any(os.path.exists(path) for path in _clusters(str(folder)))
    if not joins:
        os.environ.setdefault(RAY_CLUSTERS, "0")


def _clusters(folder: str) -> list[str]:
    """Return the files in which Ray keeps the address of a cluster on this machine."""
    return [os.path.join(folder, "ray", RAY_CURRENT), os.path.join(folder, RAY_CURRENT), f"/tmp/ray/{RAY_CURRENT}"]


def _kind(launcher: Mapping[str, Any]) -> str:
    return str(launcher.get("_target_", "")).rpartition(".")[2]


def _gpus(launcher: Mapping[str, Any]) -> float:
    given = launcher["ray"]["remote"].get("num_gpus") if _kind(launcher) == "RayLauncher" else launcher.get("gpus_per_node")
    return float(given or 0)


@contextmanager
def out_of_reach(launcher: Mapping[str, Any]) -> Iterator[None]:
    """Within the block, the processes that submitit starts on this machine are not reached by Ctrl-C; the command ends them.

    Their interpreters would write tracebacks on the terminal.

    Args:
        launcher: Hydra's node of the launcher.
    """
    if _kind(launcher) != "LocalLauncher":
        yield
        return
    from submitit.local import local

    start = local.start_controller

    def masked(*arguments: Any, **options: Any) -> Any:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # which new processes inherit
        try:
            return start(*arguments, **options)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    local.start_controller = masked
    try:
        yield
    finally:
        local.start_controller = start


def end_with_command(launcher: Mapping[str, Any]) -> None:
    """End this process when the command that started the sweep on this machine has ended for any reason.

    An immediate end is safe: records and checkpoints are complete or absent.
    """
    command = int(os.environ.get(COMMAND, 0))
    watched = any(thread.name == WATCHER for thread in threading.enumerate())
    if _kind(launcher) not in ON_THIS_MACHINE or command in (0, os.getpid()) or watched:
        return
    ignore_in_job()

    def watch() -> None:
        while _alive(command):
            sleep(PAUSE)
        os._exit(1)

    threading.Thread(target=watch, name=WATCHER, daemon=True).start()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
