"""Checkpoints: whole or absent, checked when read, never executed."""

import errno
import os

import pytest
import torch

from clbench.errors import StoreError
from clbench.runs import checkpoint

CPU = torch.device("cpu")
TREE = {"model": {"w": torch.arange(6.0).reshape(2, 3)}, "events": [{"kind": "task", "task": 0, "step": None}], "seen": 7}


def test_round_trip_keeps_only_the_newest(tmp_path):
    checkpoint.save(tmp_path, 0, TREE)
    checkpoint.save(tmp_path, 1, TREE)
    task, tree = checkpoint.load(tmp_path, CPU)
    assert task == 1
    assert torch.equal(tree["model"]["w"], TREE["model"]["w"])
    assert tree["events"] == TREE["events"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["task-0001.pt", "task-0001.sha256"]


def test_nothing_there_is_none(tmp_path):
    assert checkpoint.load(tmp_path / "absent", CPU) is None


@pytest.mark.parametrize("harm", ["truncate", "flip", "no digest"])
def test_damage_is_named_and_the_file_left_alone(tmp_path, harm):
    checkpoint.save(tmp_path, 2, TREE)
    path = tmp_path / "task-0002.pt"
    data = bytearray(path.read_bytes())
    if harm == "truncate":
        path.write_bytes(data[: len(data) // 2])
    elif harm == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.with_suffix(".sha256").unlink()
    kept = path.read_bytes()
    with pytest.raises(StoreError, match="task-0002") as caught:
        checkpoint.load(tmp_path, CPU)
    assert "delete the folder" in caught.value.remedy
    assert path.read_bytes() == kept


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 0, TREE)

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        checkpoint.save(tmp_path, 1, TREE)
    assert checkpoint.load(tmp_path, CPU)[0] == 0
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


@pytest.mark.parametrize("ending", [".sha256", ".pt"])
def test_a_crash_before_a_rename_leaves_the_previous_one(tmp_path, monkeypatch, ending):
    checkpoint.save(tmp_path, 0, TREE)
    replace = os.replace

    def crash(source, target):
        if target.suffix == ending:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, 1, TREE)
    monkeypatch.undo()
    assert checkpoint.load(tmp_path, CPU)[0] == 0


def test_objects_are_refused_when_read(tmp_path):
    class Surprise:
        def __reduce__(self):
            return (print, ("executed",))

    path = tmp_path / "task-0000.pt"
    torch.save({"x": Surprise()}, path)
    import hashlib

    path.with_suffix(".sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(StoreError, match="cannot be read"):
        checkpoint.load(tmp_path, CPU)
