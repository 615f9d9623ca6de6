"""Free memory of this machine. Nothing here imports a large package."""

from __future__ import annotations

from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Return the bytes that programs can get without swapping; None on a system that does not say.

    This is the minimum of the kernel's available memory and of the rest in the control group (a container, a batch job).
    """
    try:
        lines = MEMINFO.read_text().splitlines()
        found = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        if limit == "max":
            return found
        held = int((CGROUP / "memory.current").read_text()) - _file_cache()
        return max(0, min(found, int(limit) - held))
    except (OSError, ValueError):
        return found


def _file_cache() -> int:
    """Return the bytes of cached files in the control group's use; the kernel frees them on demand."""
    pairs = (line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    return next((int(pair[1]) for pair in pairs if pair[0] == "inactive_file"), 0)
