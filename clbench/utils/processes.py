"""Processes below a process: which there are, and how all of them end."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
"""Linux lists its processes here."""


def descendants(process: int) -> list[int]:
    """Return the ids of all processes that `process` or one of its descendants started and that still run.

    On a system without `/proc` the list is empty. A process whose parent has died belongs to another parent and is not found.
    """
    children: dict[int, list[int]] = {}
    with suppress(OSError):
        for folder in PROC.iterdir():
            if folder.name.isdigit():
                with suppress(OSError, ValueError, IndexError):
                    # the name, in brackets, may hold spaces and brackets itself
                    parent = int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
                    children.setdefault(parent, []).append(int(folder.name))
    found, places = [], [process]
    while places:
        below = children.get(places.pop(), [])
        found += below
        places += below
    return found


def kill(processes: Collection[int]) -> None:
    """Kill processes; those that have ended are passed over."""
    _send(signal.SIGKILL, processes)


def kill_descendants(process: int) -> None:
    """Kill all processes below `process`, with those that one of them is starting at this moment.

    Each process is stopped first: a stopped one starts no further processes and keeps those that it has. Only when a look finds
    no new one are all killed. A process that another user owns is passed over.
    """
    stopped: list[int] = []
    while new := [found for found in descendants(process) if found not in stopped]:
        _send(signal.SIGSTOP, new)
        stopped += new
    kill(stopped)


def kill_all_of(leader: int) -> None:
    """Kill a process that leads a session of its own, with the processes that it started.

    The caller must be its parent and must not have waited for its end, so that its number belongs to no other process.
    """
    _send(signal.SIGSTOP, [leader])
    kill_descendants(leader)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)  # with those whose parent has died
    kill([leader])


def _send(number: int, processes: Collection[int]) -> None:
    """Send a signal to processes; those that have ended are passed over."""
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, number)
