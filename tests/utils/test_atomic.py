"""Files are complete or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from clbench.errors import DataError, StoreError, UnwritableError
from clbench.utils import atomic
from clbench.utils.disk import mount_point


@pytest.mark.parametrize("content", ["ä\n", "ä\n".encode(), memoryview("ä\n".encode()), lambda file: file.write("ä\n".encode())])
@pytest.mark.parametrize("shared", [True, False])
def test_text_bytes_and_functions_are_written(tmp_path: Path, content: atomic.Content, shared: bool) -> None:
    path = tmp_path / "folder" / "file.txt"
    atomic.write(path, "old", shared=shared)
    atomic.write(path, content, shared=shared)
    assert path.read_text(encoding="utf-8") == "ä\n"
    assert list(path.parent.iterdir()) == [path]


def test_an_existing_final_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic.write(path, "first", final=True)
    atomic.write(path, "second", final=True)
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_final_file_needs_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*paths: Path) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    test_an_existing_final_file_stays(tmp_path)


@pytest.mark.parametrize("shared", [True, False])
def test_a_full_disk_keeps_the_old_file_and_names_file_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    path = tmp_path / "file"
    atomic.write(path, "old", shared=shared)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError) as caught:
        atomic.write(path, "new", name="the page", remedy="buy a disk", shared=shared)
    disk = mount_point(path)
    assert caught.value.what.startswith(f"the page {path} cannot be written: No space left on device: the disk {disk} is full (")
    assert caught.value.remedy == f"free space on {disk}, or buy a disk"
    assert isinstance(caught.value, UnwritableError)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_caller_chooses_the_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match="cannot be written"):
        atomic.write(tmp_path / "file" / "below", "text", error=DataError)


def test_an_error_of_the_function_is_passed_on_and_leaves_nothing(tmp_path: Path) -> None:
    def fails(file: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        atomic.write(tmp_path / "file", fails)
    assert list(tmp_path.iterdir()) == []


def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic.write(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_what_a_killed_process_left_is_replaced_where_no_other_process_writes(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from clbench.utils import atomic\n"
        "os.fsync = lambda _: os._exit(9)\n"
        "atomic.write(Path(sys.argv[1]), 'half', shared=False)"
    )
    path = tmp_path / "file"
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == 9
    assert [left.name for left in tmp_path.iterdir()] == [".file.tmp"]
    atomic.write(path, "whole", shared=False)
    assert list(tmp_path.iterdir()) == [path]
