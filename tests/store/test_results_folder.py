"""The results folder is tried out before training, and a folder that vanished is not made again."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from clbench.errors import StoreError, UnwritableError
from clbench.store.results_folder import CHECKPOINTS, examine, prepare, require, there


def test_a_new_folder_is_made_and_stays_empty(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    mark = prepare(folder)
    require(folder, mark)
    assert [path.name for path in folder.rglob("*")] == [CHECKPOINTS]


def test_a_disk_without_room_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**options: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(UnwritableError, match=f"results_dir={tmp_path} cannot be written: No space left") as caught:
        prepare(tmp_path)
    assert "choose another results_dir" in caught.value.remedy


@pytest.mark.parametrize("how", ["removed", "renamed", "a file", "another folder", "a dangling link"])
def test_a_folder_that_is_gone_is_said(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "runs"
    mark = prepare(folder)
    folder.rename(tmp_path / "other")
    if how == "removed":
        shutil.rmtree(tmp_path / "other")
    elif how == "a file":
        folder.touch()
    elif how == "another folder":
        folder.mkdir()
    elif how == "a dangling link":
        folder.symlink_to("nowhere")
    assert not there(folder, mark)
    with pytest.raises(UnwritableError, match="is gone"):
        require(folder, mark)


def test_checkpoints_alone_may_go(tmp_path: Path) -> None:
    mark = prepare(tmp_path)
    (tmp_path / CHECKPOINTS).rmdir()
    require(tmp_path, mark)


def test_without_a_mark_nothing_is_checked(tmp_path: Path) -> None:
    require(tmp_path / "nowhere", "")


def test_a_loop_of_links_is_refused_and_a_missing_folder_is_not(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    examine(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="cannot be read"):
        examine(tmp_path / "loop")
