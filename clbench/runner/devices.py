"""How many workers, and what each of them may see of the machine. Nothing here imports torch into this process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from clbench.errors import ConfigError


def slots(workers: int | str, device: str, threads: int, cells: int) -> list[dict[str, str]]:
    """Return the environment variables of each worker: one per core on CPUs, one per device on GPUs.

    Args:
        workers: how many, or `auto`.
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads of a worker.
        cells: there are never more workers than cells.

    Raises:
        ConfigError: `cuda` on a machine without it.
    """
    gpus = visible_gpus(device)
    if device == "cuda" and not gpus:
        raise ConfigError("device=cuda, but torch sees no CUDA device here", "use device=auto or device=cpu")
    wanted = workers if isinstance(workers, int) else len(gpus) or max(1, cores() // threads)
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    made: list[dict[str, str]] = [dict(limits) for _ in range(max(1, min(wanted, cells)))]
    for number, slot in enumerate(made):
        if gpus:
            slot["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    return made


def visible_gpus(device: str) -> list[str]:
    """Return the names that CUDA_VISIBLE_DEVICES would use for the GPUs that torch can use; none for `cpu`."""
    if device == "cpu" or (device == "auto" and not driver_present()):
        return []
    asked = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"],
        capture_output=True,
        text=True,
        check=False,
    )
    count = int(asked.stdout.strip() or 0) if asked.returncode == 0 else 0
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return (named or [str(number) for number in range(count)])[:count]


def driver_present() -> bool:
    """Return whether asking torch, which takes seconds, is worth it."""
    return shutil.which("nvidia-smi") is not None or Path("/dev/nvidiactl").exists()


def cores() -> int:
    """Return how many CPU cores this process may use, by its affinity, its control group's quota, and what Slurm gave it."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = min(count, int(os.environ.get("SLURM_CPUS_PER_TASK", count)))  # not every cluster binds tasks to their cores
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return count if quota == "max" else max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):
        return count
