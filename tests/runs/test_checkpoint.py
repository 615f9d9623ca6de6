"""Checkpoints: whole or absent, checked when read, never executed."""

import errno
import hashlib
import os

import pytest
import torch

from clbench.errors import StoreError
from clbench.runs import checkpoint
from tools.safety.hostile_files import FILES

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
    path.with_suffix(".sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(StoreError, match="cannot be read"):
        checkpoint.load(tmp_path, CPU)


def _resealed(path, body):
    torch.save(body, path)
    path.with_suffix(".sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())


def _renamed(folder, task):
    for path in sorted(folder.glob("task-0002.*")):
        path.rename(path.with_stem(f"task-{task:04d}"))


@pytest.mark.parametrize("task", [9999, 1, 0])
def test_a_renamed_checkpoint_is_noticed(tmp_path, task):
    checkpoint.save(tmp_path, 2, TREE)
    _renamed(tmp_path, task)
    with pytest.raises(StoreError, match=rf"task-{task:04d}.pt was stored after task 2: it was renamed or copied") as caught:
        checkpoint.load(tmp_path, CPU)
    assert caught.value.remedy == f"delete the folder {tmp_path} to train this run from its beginning"


def test_a_checkpoint_of_another_run_is_noticed(tmp_path):
    ours, theirs = tmp_path / "a", tmp_path / "b"
    checkpoint.save(theirs, 1, TREE)
    ours.mkdir()
    for path in theirs.iterdir():
        (ours / path.name).write_bytes(path.read_bytes())
    with pytest.raises(StoreError, match=r"belongs to another run \(b\): it was copied"):
        checkpoint.load(ours, CPU)


def test_two_swapped_checkpoints_are_noticed(tmp_path):
    for task in (1, 2):
        checkpoint.save(tmp_path, task, TREE, alone=False)
    for ending in ("pt", "sha256"):
        (tmp_path / f"task-0001.{ending}").rename(tmp_path / "x")
        (tmp_path / f"task-0002.{ending}").rename(tmp_path / f"task-0001.{ending}")
        (tmp_path / "x").rename(tmp_path / f"task-0002.{ending}")
    for at in (None, 1, 2):
        with pytest.raises(StoreError, match="renamed or copied"):
            checkpoint.load(tmp_path, CPU, at)


@pytest.mark.parametrize(
    "name",
    [
        "task-x.pt",
        "task-.pt",
        "task-1.pt",
        "task-00001.pt",
        "task--001.pt",
        "task-0001 (copy).pt",
        "task-0001.pt.bak",
        "task-٣٣٣٣.pt",
    ],
)
def test_files_with_other_names_are_no_checkpoints(tmp_path, name):
    checkpoint.save(tmp_path, 0, TREE)
    (tmp_path / name).write_bytes(b"x")
    assert checkpoint.stored(tmp_path) == [0]
    assert checkpoint.load(tmp_path, CPU)[0] == 0
    checkpoint.save(tmp_path, 1, TREE)
    assert checkpoint.load(tmp_path, CPU)[0] == 1


@pytest.mark.parametrize("ending", [".pt", ".sha256"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "link to an endless device", "link to nothing", "empty", "noise"])
def test_another_kind_of_file_is_named_at_once(tmp_path, ending, kind):
    checkpoint.save(tmp_path, 2, TREE)
    path = (tmp_path / "task-0002").with_suffix(ending)
    path.unlink()
    FILES[kind](path, {})
    with pytest.raises(StoreError, match="task-0002") as caught:
        checkpoint.load(tmp_path, CPU)
    assert "delete the folder" in caught.value.remedy
    assert caught.value.line.isprintable()
    checkpoint.save(tmp_path, 3, TREE)  # the next one is stored all the same
    assert checkpoint.load(tmp_path, CPU)[0] == 3


@pytest.mark.parametrize(
    "body",
    [
        [1, 2],
        torch.zeros(2),
        {"format": 3, "run": "a", "task": 2, "tree": {}},
        {"format": 2, "run": "a", "task": 2},
        {"format": 2, "run": "a", "task": 2, "tree": []},
        {"format": 2, "run": "a", "task": "2", "tree": {}},
        {"format": 2, "run": None, "task": 2, "tree": {}},
    ],
    ids=str,
)
def test_other_content_is_named(tmp_path, body):
    folder = tmp_path / "a"
    folder.mkdir()
    _resealed(folder / "task-0002.pt", body)
    with pytest.raises(StoreError, match="task-0002") as caught:
        checkpoint.load(folder, CPU)
    assert caught.value.line.isprintable()
    assert "delete the folder" in caught.value.remedy


def test_a_checkpoint_of_the_first_layout_is_read(tmp_path):
    _resealed(tmp_path / "task-0002.pt", TREE)
    task, tree = checkpoint.load(tmp_path, CPU)
    assert task == 2
    assert tree["events"] == TREE["events"]


def test_no_message_advises_to_execute_what_a_file_holds(tmp_path):
    class Surprise:
        def __reduce__(self):
            return (os.system, ("true",))

    _resealed(tmp_path / "task-0000.pt", {"x": Surprise()})
    with pytest.raises(StoreError) as caught:
        checkpoint.load(tmp_path, CPU)
    assert "weights_only" not in str(caught.value)
    assert len(caught.value.line) < 500
