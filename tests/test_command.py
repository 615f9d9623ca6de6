"""What every way of starting runs has in common."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from clbench import command
from clbench.records import load_all


def test_one_process_at_a_time_rewrites_the_leaderboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(folder: Path) -> Any:
        other = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)
        looked.append(folder)
        return load_all(folder)

    looked: list[Path] = []
    monkeypatch.setattr(command, "load_all", look)
    command.conclude(tmp_path, [], None)
    command.conclude(tmp_path, [], None)  # the lock is given back
    assert looked == [tmp_path, tmp_path]
