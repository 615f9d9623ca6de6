"""Processes below a process."""

from __future__ import annotations

import os
import select
import subprocess
from pathlib import Path

import pytest

from clbench.utils import processes
from clbench.utils.processes import descendants, kill, kill_all_of, kill_descendants


def test_children_of_children_are_found_and_all_end() -> None:
    """All of them hold the pipe open: the reader gets its end when the last has ended."""
    script = "setsid sleep 1000 & sleep 1000 & echo started; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        assert len(descendants(process.pid)) == 2
        assert process.pid in descendants(os.getpid())
        kill_all_of(process.pid)
        assert process.stdout.read() == ""
    assert descendants(process.pid) == []


def test_what_a_descendant_starts_at_this_moment_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child of the shell starts its own child after the first look at the list."""
    script = "exec 3<&0; (read go; sleep 60 & wait) <&3 & echo started; wait"
    listed = []

    def look(leader: int) -> list[int]:
        found = descendants(leader)
        listed.append(found)
        if len(listed) == 1:
            os.write(process.stdin.fileno(), b"go\n")
            while len(descendants(leader)) == len(found):
                pass
        return found

    monkeypatch.setattr(processes, "descendants", look)
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        kill_descendants(process.pid)
        process.kill()
        assert select.select([process.stdout], [], [], 30)[0], "a process still holds the output open"
        assert process.stdout.read() == b""
    assert len(listed) == 3


def test_without_a_list_of_processes_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path / "absent")
    assert descendants(os.getpid()) == []


def test_a_process_that_has_ended_is_passed_over() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    kill([process.pid])
    kill_all_of(process.pid)
