"""The number of workers, and the part of the machine that each worker sees. Nothing here imports torch into this process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from clbench.errors import ConfigError

ASK = """
import json, torch
free = []
for number in range(torch.cuda.device_count()):
    try:
        free.append(torch.cuda.mem_get_info(number)[0])
    except RuntimeError:  # it cannot be used now, for example because of an exclusive process; its run will report why
        free.append(0)
print(json.dumps(free))
"""
"""Program of a separate process that asks torch for the free bytes of every GPU."""


def slots(workers: int | str, device: str, threads: int, runs: int, gpus: Iterable[str] | None = None) -> list[dict[str, str]]:
    """Return the environment variables of each worker; memory decides how many of them work at the same time.

    Args:
        workers: their number, or `auto`: one per core, and at least one for each GPU.
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads of a worker.
        runs: number of runs, which limits the number of workers.
        gpus: names of the GPUs, as `visible_gpus` returns them; None: ask torch.

    Raises:
        ConfigError: `cuda` on a machine without a GPU.
    """
    names = list(visible_gpus(device) if gpus is None else gpus)
    if device == "cuda" and not names:
        raise ConfigError("device=cuda, but torch sees no CUDA device here", "use device=auto or device=cpu")
    wanted = workers if isinstance(workers, int) else max(1, len(names), cores() // threads)
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    made: list[dict[str, str]] = [dict(limits) for _ in range(max(1, min(wanted, runs)))]
    for number, slot in enumerate(made):
        if names:
            slot["CUDA_VISIBLE_DEVICES"] = names[number % len(names)]
    return made


def visible_gpus(device: str) -> dict[str, int]:
    """Return the free bytes of the GPUs that torch can use, by name in CUDA_VISIBLE_DEVICES; no GPU for `cpu`."""
    if device == "cpu" or (device == "auto" and not driver_present()):
        return {}
    asked = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=False)
    try:
        free = [int(count) for count in json.loads(asked.stdout)] if asked.returncode == 0 else []
    except ValueError:
        free = []
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return dict(zip(named or [str(number) for number in range(len(free))], free))


def driver_present() -> bool:
    """Return whether a GPU driver is installed. If not, torch need not be asked, which takes seconds."""
    return shutil.which("nvidia-smi") is not None or Path("/dev/nvidiactl").exists()


def cores() -> int:
    """Return how many CPU cores this process may use, by its affinity, the quota of its control group, and Slurm."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = min(count, int(os.environ.get("SLURM_CPUS_PER_TASK", count)))  # not every cluster binds tasks to their cores
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return count if quota == "max" else max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):
        return count
