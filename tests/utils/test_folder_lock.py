"""One process at a time writes into a folder, and a killed process blocks no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from clbench.utils import folder_lock as module
from clbench.utils import one_time
from clbench.utils.folder_lock import NAME, folder_lock, holder

HOLD = (
    "import sys, time; from pathlib import Path; from clbench.utils.folder_lock import folder_lock\n"
    "with folder_lock(Path(sys.argv[1])):\n"
    "    print('locked', flush=True)\n"
    "    time.sleep(600)\n"
)


def test_the_lock_is_exclusive_and_a_kill_frees_it(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "locked\n"
            with pytest.raises(Timeout):
                FileLock(tmp_path / NAME).acquire(timeout=0)
        finally:
            os.kill(holder.pid, signal.SIGKILL)
    with folder_lock(tmp_path):
        pass


def test_the_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), folder_lock(tmp_path):
        raise ZeroDivisionError
    with folder_lock(tmp_path):
        pass


def test_a_folder_without_lock_is_used_all_the_same(tmp_path: Path) -> None:
    entered = []
    with folder_lock(tmp_path / "missing"):
        entered.append(True)
    assert entered


def test_who_waits_says_for_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENT", 0.01)
    monkeypatch.setattr(one_time, "EVERY", 0.0)
    said: list[str] = []
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:

        def hear(text: str) -> None:
            said.append(text)
            other.kill()

        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with one_time.listening(hear), folder_lock(tmp_path):
            assert said[0].startswith(f"waiting for {tmp_path / NAME}, which process {other.pid} (")
            assert said[-1] == ""


def test_a_holder_on_another_machine_has_no_name(tmp_path: Path) -> None:
    (tmp_path / NAME).touch()
    assert holder(tmp_path / NAME) == holder(tmp_path / "absent") == "another process"
