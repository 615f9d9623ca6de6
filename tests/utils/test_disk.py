"""Errors of files name the disk, its free space, and a remedy."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from clbench.errors import StoreError
from clbench.utils import disk


def failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "reason", "cure"),
    [
        (errno.ENOSPC, "is full (", "free space on {disk}, or leave"),
        (errno.EDQUOT, "your quota on the disk {disk}", "delete files of yours on {disk}, or leave"),
        (errno.EFBIG, "a file on the disk {disk} may not be so large", "or leave"),
        (errno.EROFS, "the disk {disk} can only be read", "mount {disk} for writing, or leave"),
        (errno.EIO, "the disk {disk} has a fault", "check {disk}"),
        (errno.EACCES, "Permission denied in {folder}", "check the permissions of {folder}, or leave"),
    ],
)
def test_the_reason_names_the_disk_and_the_remedy_fits(tmp_path: Path, number: int, reason: str, cure: str) -> None:
    names = {"disk": disk.mount_point(tmp_path), "folder": tmp_path}
    what, remedy = disk.explain(failure(number), tmp_path / "not" / "there", "leave")
    assert reason.format(**names) in what
    assert cure.format(**names) in remedy
    assert len((what + remedy).splitlines()) == 1


def test_a_disk_without_inodes_is_told_from_a_full_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = os.statvfs(tmp_path)
    values = list(found)
    values[7] = 0  # f_favail
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(values))
    what, remedy = disk.explain(failure(errno.ENOSPC), tmp_path)
    assert "room for no more files" in what
    assert remedy.startswith("delete files on ")


def test_a_file_and_a_dangling_link_in_the_way_are_told_apart(tmp_path: Path) -> None:
    taken, link = tmp_path / "taken", tmp_path / "link"
    taken.touch()
    link.symlink_to("nowhere")
    error = failure(errno.EEXIST)
    assert disk.explain(error, taken)[0] == f"{taken} is a file"
    assert disk.explain(error, link)[0] == f"{link} is a link that leads nowhere"


def test_a_file_above_the_folder_is_named(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.touch()
    assert disk.explain(failure(errno.ENOTDIR), taken / "a" / "b", "leave") == (f"{taken} is a file", "remove it, or leave")


def test_an_error_without_a_name_names_the_full_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk.unnamed(failure(errno.ENOSPC), [tmp_path])[0] == "No space left on device"
    monkeypatch.setattr(disk, "_free", lambda folder: 0.0)
    what, remedy = disk.unnamed(failure(errno.ENOSPC), [tmp_path, tmp_path / "below"])
    assert what.count(f"{disk.mount_point(tmp_path)} (") == 1
    assert remedy == f"free space on {disk.mount_point(tmp_path)}"


def test_an_error_of_the_disk_is_found_behind_another() -> None:
    outer = StoreError("the page cannot be written")
    outer.__cause__ = failure(errno.EDQUOT)
    assert disk.of_the_machine(outer)
    outer.__cause__ = failure(errno.ENOENT)
    assert not disk.of_the_machine(outer)
