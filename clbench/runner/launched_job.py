"""A job in the process of another launcher: it settles where the sweep was started, and takes no more than it was given."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from time import sleep
from typing import Any

from clbench.errors import ConfigError
from clbench.runner.devices import driver_present, visible_gpus

COMMAND = "CLBENCH_COMMAND"
"""Environment variable: process id of the command that started a sweep."""
WATCHER = "clbench: end with the command"
PAUSE = 1.0
"""Seconds between two looks at whether the command is still there."""
ON_THIS_MACHINE = ("JoblibLauncher", "LocalLauncher")
"""Launchers whose jobs must end with the command; Ray sees to that itself, and a queue is meant to outlive it."""


NO_GPU = "{name} gives its jobs no GPU"
REMEDY = "{key}=1 gives each of them one"
GPUS = {
    "RayLauncher": ("hydra/launcher=ray", "hydra.launcher.ray.remote.num_gpus"),
    "LocalLauncher": ("hydra/launcher=submitit_local", "hydra.launcher.gpus_per_node"),
}
"""Launchers that hide all GPUs from a job unless the given key asks for some: their name, the key."""


def settle_in(folder: str, plugins: Sequence[str]) -> None:
    """Make paths and modules mean what they mean to the command that started the sweep.

    Args:
        folder: where it was started.
        plugins: folders given with `--config-dir`.

    Raises:
        ConfigError: there is no such folder on this machine.
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
    """Return how many workers a job may have, and hide from it the GPUs that are not its own.

    Args:
        launcher: Hydra's node of the launcher.
        device: `auto`, `cpu` or `cuda`.
        workers: what the configuration says; anything but `auto` stands.
        number: of the job in its sweep.

    Raises:
        ConfigError: a GPU is asked for, and the launcher gives none.
    """
    kind = _kind(launcher)
    if device == "cuda" and kind in GPUS and not _gpus(launcher):
        name, key = GPUS[kind]
        raise ConfigError(f"device=cuda, but {NO_GPU.format(name=name)}", REMEDY.format(key=key))
    own: int | str = workers
    if kind == "JoblibLauncher":  # it knows nothing of GPUs: the jobs take them by turns
        own = 1
        gpus = list(visible_gpus(device))
        if gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    elif kind == "LocalLauncher":
        own = workers if _gpus(launcher) else launcher.get("cpus_per_task") or 1
    elif kind == "RayLauncher" and not _gpus(launcher):
        own = max(1, int(launcher["ray"]["remote"].get("num_cpus") or 1))
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # else, by its version, Ray shows all
    return own if workers == "auto" else workers


def hint(launcher: Mapping[str, Any], devices: Collection[str]) -> str:
    """Return what someone with a GPU should know before jobs for these devices go to a launcher that gives them none."""
    kind = _kind(launcher)
    if kind not in GPUS or _gpus(launcher) or set(devices) <= {"cpu"} or not driver_present():
        return ""
    name, key = GPUS[kind]
    return f"{NO_GPU.format(name=name)}; {REMEDY.format(key=key)}"


def _kind(launcher: Mapping[str, Any]) -> str:
    return str(launcher.get("_target_", "")).rpartition(".")[2]


def _gpus(launcher: Mapping[str, Any]) -> float:
    given = launcher["ray"]["remote"].get("num_gpus") if _kind(launcher) == "RayLauncher" else launcher.get("gpus_per_node")
    return float(given or 0)


def end_with_command(launcher: Mapping[str, Any]) -> None:
    """End this process when the command that started the sweep on this machine has ended, however it has.

    Leaving at once is safe: records and checkpoints are written whole or not at all.
    """
    command = int(os.environ.get(COMMAND, 0))
    watched = any(thread.name == WATCHER for thread in threading.enumerate())
    if _kind(launcher) not in ON_THIS_MACHINE or command in (0, os.getpid()) or watched:
        return

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
