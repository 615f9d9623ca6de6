"""What this machine has left. Nothing here imports anything heavy."""

from __future__ import annotations

from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Return the bytes that programs could still get without swapping; None where the system does not say.

    The smaller of what the kernel holds available, and what the control group (a container, a batch job) leaves.
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
    """Return the bytes of file contents counted in the control group's use, which the kernel gives up on demand."""
    pairs = (line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    return next((int(pair[1]) for pair in pairs if pair[0] == "inactive_file"), 0)
