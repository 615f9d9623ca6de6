"""A limit on the memory that a call may take, set by the system."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clbench.utils.system import available_memory

STATM = Path("/proc/self/statm")


@contextmanager
def memory_limit(share: float) -> Iterator[None]:
    """Let this process take no more than a share of the free memory within the context; larger requests fail cleanly.

    The limit concerns the host's memory on Linux. Elsewhere, and where a lower limit holds already, nothing changes.

    Args:
        share: of the memory that is free now, in (0, 1].
    """
    free = available_memory()
    try:
        import resource

        held = int(STATM.read_text().split()[5]) * resource.getpagesize()
    except (ImportError, OSError, ValueError, IndexError):
        free = None
    if free is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = held + int(share * free)
    if soft != resource.RLIM_INFINITY and soft <= wanted:
        yield
        return
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
