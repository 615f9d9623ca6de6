"""Checkpoints that a person has copied, renamed or changed: a run refuses them with a remedy, and never ends with less."""

import hashlib
import json
import shutil

import pytest
import torch

from clbench.errors import ClbenchError
from clbench.records import Record
from clbench.runs import checkpoint
from clbench.runs.parallel_seeds import run_stacked
from clbench.runs.run import Run
from clbench.testing import make_spec, run

CPU = torch.device("cpu")


class Interruption(BaseException):
    """What a kill is to a process."""


def stopped(spec, monkeypatch, after=2):
    """Run until the checkpoint after a task is stored, and return its file."""
    save = Run.save

    def saved(self, task, alone=True):
        save(self, task, alone)
        if task.index == after:
            raise Interruption

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", saved)
        with pytest.raises(Interruption):
            run(spec)
    return spec.checkpoints / f"task-{after:04d}.pt"


def resealed(path, body):
    torch.save(body, path)
    path.with_suffix(".sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())


def renamed(path, task):
    for each in (path, path.with_suffix(".sha256")):
        each.rename(each.with_stem(f"task-{task:04d}"))
    return path.with_stem(f"task-{task:04d}")


def refused(spec, word):
    with pytest.raises(ClbenchError, match=word) as caught:
        run(spec)
    assert caught.value.remedy == f"delete the folder {spec.checkpoints} to train this run from its beginning"
    shutil.rmtree(spec.checkpoints)
    return run(spec)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return json.dumps(run(make_spec("naive", results_dir=tmp_path_factory.mktemp("whole"))).result)


@pytest.mark.parametrize("task", [9999, 4, 0])
@pytest.mark.parametrize("layout", [1, 2])
def test_a_renamed_checkpoint_gives_no_record(tmp_path, monkeypatch, whole, task, layout):
    spec = make_spec("naive", results_dir=tmp_path)
    path = stopped(spec, monkeypatch)
    if layout == 1:
        resealed(path, checkpoint.load(spec.checkpoints, CPU)[1])
    renamed(path, task)
    again = refused(spec, "was stored after task 2")
    assert json.dumps(again.result) == whole


def test_a_checkpoint_of_the_first_layout_is_resumed(tmp_path, monkeypatch, whole):
    spec = make_spec("naive", results_dir=tmp_path)
    path = stopped(spec, monkeypatch)
    resealed(path, checkpoint.load(spec.checkpoints, CPU)[1])
    again = run(spec)
    assert again.provenance["resumed"] == 1
    assert json.dumps(again.result) == whole


@pytest.mark.parametrize("layout", [1, 2])
def test_a_checkpoint_of_another_seed_is_refused(tmp_path, monkeypatch, layout):
    ours, theirs = (make_spec("naive", results_dir=tmp_path, seed=seed) for seed in (0, 1))
    path = stopped(theirs, monkeypatch)
    if layout == 1:
        resealed(path, checkpoint.load(theirs.checkpoints, CPU)[1])
    shutil.copytree(theirs.checkpoints, ours.checkpoints)
    refused(ours, "belongs to another run")


@pytest.mark.parametrize("key", ["events", "matrix", "model", "method", "losses", "cost", "samples", "stream", "identity"])
@pytest.mark.parametrize("value", ["absent", None, [], "text"])
def test_a_checkpoint_without_a_part_is_refused(tmp_path, monkeypatch, key, value):
    spec = make_spec("naive", results_dir=tmp_path)
    stopped(spec, monkeypatch)
    tree = checkpoint.load(spec.checkpoints, CPU)[1]
    changed = {name: part for name, part in tree.items() if name != key} if value == "absent" else {**tree, key: value}
    checkpoint.save(spec.checkpoints, 2, changed)
    with pytest.raises(ClbenchError) as caught:
        run(spec)
    assert caught.value.remedy == f"delete the folder {spec.checkpoints} to train this run from its beginning"


def test_a_bad_checkpoint_costs_one_run_of_a_stack(tmp_path, monkeypatch):
    specs = [make_spec("naive", results_dir=tmp_path, seed=seed) for seed in range(3)]
    for spec in specs:
        stopped(spec, monkeypatch)
    renamed(specs[1].checkpoints / "task-0002.pt", 3)
    first, second, third = run_stacked(specs, lambda spec, message: None)
    assert isinstance(first, Record)
    assert isinstance(third, Record)
    assert isinstance(second, ClbenchError)
    assert "was stored after task 2" in second.what
