"""What the command promises: bad input is one message, nothing is trained twice, nothing stored is lost."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from clbench.records import load_all, record_files
from tests.command_line import clbench

HERE = ("trainer.epochs=1", "runner.workers=0", "device=cpu")
MORTAL = """
import os, signal
from dataclasses import dataclass
from pathlib import Path
from clbench.methods import Method

@dataclass
class Mortal(Method):
    \"\"\"Dies in its third task, once.\"\"\"
    note: str

    def setup(self, learner, stream):
        self.count = 0

    def end_task(self, learner, task, history):
        self.count += 1
        if task.index == 2 and not Path(self.note).exists():
            Path(self.note).touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setenv("COLUMNS", "200")


def npz(path, **change):
    g = np.random.default_rng(0)
    arrays = {
        "x_train": g.integers(0, 255, (60, 6, 6), dtype=np.uint8),
        "y_train": np.arange(60) % 6,
        "x_test": g.integers(0, 255, (30, 6, 6), dtype=np.uint8),
        "y_test": np.arange(30) % 6,
    } | change
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["method=nonsense"], ["method=nonsense", "naive"]),
        (["scenario=split_nonsense"], ["scenario=split_nonsense", "split_digits"]),
        (["model=nonsense"], ["model=nonsense", "mlp"]),
        (["method.nonsense=3"], ["method.nonsense"]),
        (["+method.nonsense=3"], ["method.nonsense", "takes"]),
        (["nonsense=3"], ["nonsense"]),
        (["scenario.n_tasks=20"], ["scenario.n_tasks=20", "10 classes"]),
        (["scenario.n_tasks=3"], ["scenario.n_tasks=3", "can be 1, 2, 5, 10"]),
        (["scenario.setting=nonsense"], ["scenario.setting", "nonsense", "task"]),
        (["trainer.epochs=0"], ["trainer.epochs=0", "greater than or equal to 1"]),
        (["trainer.batch_size=0"], ["trainer.batch_size=0"]),
        (["optimizer.lr=-0.1"], ["optimizer.lr=-0.1", "greater than 0"]),
        (["optimizer.lr=quick"], ["optimizer.lr='quick'", "number"]),
        (["method=er", "method.buffer_size=0"], ["method.buffer_size=0"]),
        (["method=er", "method.buffer_size=2.5"], ["method.buffer_size=2.5", "integer"]),
        (["method=gpm", "method.threshold=1.5"], ["method.threshold=1.5"]),
        (["method=compose", "+method@method.parts.er=er", "+method@method.parts.gpm=gpm"], ["er", "gpm", "projected away"]),
        (["trainer/schedule=plateau"], ["scenario.valid_fraction"]),
        (["optimizer.lr=1e30", "trainer.epochs=5"], ["the loss became", "optimizer.lr=1e+30"]),
        (["seeds=0"], ["seeds=0"]),
        (["runner.wait=-1"], ["runner.wait=-1", "seconds"]),
        (["device=cuda"], ["device=cuda", "device=cpu"]),
        (["scenario=four_datasets", "scenario.setting=domain", "data.root=."], ["domain", "setting=class or"]),
        (["scenario=split_mnist", "data.root=."], ["mnist", "data.download=true"]),
        (["scenario=split", "scenario/dataset=npz", "scenario.dataset.path=absent.npz"], ["absent.npz"]),
    ],
)
def test_bad_input_is_one_message(monkeypatch, capsys, words, said):
    if "device=cuda" in words:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    given = {word.split("=")[0] for word in words}
    status = clbench(monkeypatch, *[word for word in HERE if word.split("=")[0] not in given], *words)
    out, err = capsys.readouterr()
    assert status == 1
    for part in said:
        assert part in err, f"{part!r} is not in:\n{err}"
    assert "Traceback" not in out + err
    assert len(err.strip().splitlines()) <= 3
    assert not record_files(Path("runs")) if Path("runs").exists() else True


def test_a_data_file_cut_short_is_named(monkeypatch, capsys):
    npz("mine.npz")
    whole = Path("mine.npz").read_bytes()
    Path("mine.npz").write_bytes(whole[: len(whole) // 2])
    assert clbench(monkeypatch, *HERE, "scenario=split", "scenario/dataset=npz", "scenario.dataset.path=mine.npz") == 1
    err = capsys.readouterr().err
    assert "mine.npz" in err
    assert "Traceback" not in err


def test_ones_own_arrays_and_images_need_no_code(monkeypatch, capsys):
    from PIL import Image

    npz("mine.npz")
    assert (
        clbench(
            monkeypatch, *HERE, "scenario=split", "scenario/dataset=npz", "scenario.dataset.path=mine.npz", "scenario.n_tasks=3"
        )
        == 0
    )
    for part in ("train", "test"):
        for kind in ("cats", "dogs", "emus", "gnus"):
            Path("photos", part, kind).mkdir(parents=True)
            for i in range(6):
                pixels = np.random.default_rng(i).integers(0, 255, (9, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(Path("photos", part, kind, f"{i}.png"))
    assert (
        clbench(
            monkeypatch, *HERE, "scenario=split", "scenario/dataset=folder", "scenario.dataset.path=photos", "scenario.n_tasks=2"
        )
        == 0
    )
    assert {r.identity["names"]["scenario"] for r in load_all(Path("runs"))[0]} == {"split_mine", "split_photos"}


def test_ones_own_network_needs_one_word(monkeypatch):
    Path("my_nets.py").write_text("""
from torch import nn

class TwoLayers(nn.Sequential):
    def __init__(self, input_shape, width):
        c, h, w = input_shape
        super().__init__(nn.Flatten(), nn.Linear(c * h * w, width), nn.Tanh())
""")
    assert clbench(monkeypatch, *HERE, "model._target_=my_nets.TwoLayers", "+model.width=9") == 0
    (record,), _ = load_all(Path("runs"))
    assert record.identity["names"]["model"] == "TwoLayers"
    assert record.cost["parameters"] == 64 * 9 + 9 + 9 * 10 + 10


def test_more_seeds_train_only_the_new_ones(monkeypatch, capsys):
    assert clbench(monkeypatch, *HERE, "seeds=2") == 0
    assert "2 trained, 0 already there" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in record_files(Path("runs"))}
    assert clbench(monkeypatch, *HERE, "seeds=4") == 0
    assert "2 trained, 2 already there" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert clbench(monkeypatch, *HERE, "seeds=[3,1]") == 0
    assert "Nothing to train" in capsys.readouterr().out


def test_two_buffer_sizes_are_two_rows(monkeypatch, capsys):
    assert clbench(monkeypatch, "-m", *HERE, "method=er", "method.buffer_size=20,40,200", "scenario.setting=class,task") == 0
    capsys.readouterr()
    from clbench.cli.leaderboard import run

    assert run(["results_dir=runs", "format=json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert sorted((row["setting"], row["variant"]) for row in rows) == [
        (setting, variant)
        for setting in ("class", "task")
        for variant in ("buffer_size=20, epochs=1", "buffer_size=40, epochs=1", "epochs=1")
    ]


def mortal(monkeypatch, folder, note, *more):
    Path("mortal.py").write_text(MORTAL)
    Path("own/method").mkdir(parents=True, exist_ok=True)
    Path("own/method/mortal.yaml").write_text("_target_: mortal.Mortal\nversion: 1\nnote: ???\n")
    given = (f"method.note={Path(note).absolute()}", f"results_dir={folder}")
    return clbench(monkeypatch, "--config-dir", "own", "method=mortal", "trainer.epochs=1", "device=cpu", *given, *more)


def test_a_killed_run_goes_on_to_the_identical_result(monkeypatch, capsys):
    Path("alive").touch()
    assert mortal(monkeypatch, "undisturbed", "alive") == 0
    assert mortal(monkeypatch, "killed", "died") == 1
    assert "SIGKILL" in capsys.readouterr().err
    assert not record_files(Path("killed"))
    assert mortal(monkeypatch, "killed", "died") == 0
    (one,), (other,) = (load_all(Path(folder))[0] for folder in ("undisturbed", "killed"))
    assert one.result == other.result
    assert other.provenance["resumed"] == 1
    assert not list(Path("killed/.checkpoints").rglob("*.pt"))


def test_a_corrupt_checkpoint_is_named_and_left(monkeypatch, capsys):
    assert mortal(monkeypatch, "runs", "died") == 1
    (path,) = Path("runs/.checkpoints").rglob("*.pt")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    capsys.readouterr()
    assert mortal(monkeypatch, "runs", "died") == 1
    err = capsys.readouterr().err
    assert f"{path.name} is damaged" in err
    assert "delete the folder" in err
    assert "Traceback" not in err
    assert path.read_bytes() == bytes(data)


def test_the_models_after_each_task_are_kept_on_request(monkeypatch):
    import torch

    assert clbench(monkeypatch, *HERE, "save_models=true") == 0
    models = sorted(Path("runs/models").rglob("*.pt"))
    assert [path.name for path in models] == [f"task-{t:04d}.pt" for t in range(5)]
    assert "heads.0.weight" in torch.load(models[-1], weights_only=True)
    assert len(load_all(Path("runs"))[0]) == 1


def test_a_kill_after_a_checkpoint_loses_no_model(monkeypatch):
    from clbench.runs import checkpoint

    save = checkpoint.save

    def dies(folder, task, *rest):
        save(folder, task, *rest)
        if task == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", dies)
        assert clbench(monkeypatch, *HERE, "save_models=true") == 130
    assert clbench(monkeypatch, *HERE, "save_models=true") == 0
    assert [path.name for path in sorted(Path("runs/models").rglob("*.pt"))] == [f"task-{t:04d}.pt" for t in range(5)]


def test_one_process_at_a_time_writes_the_leaderboard_from_records_read_meanwhile(monkeypatch):
    import fcntl
    import os

    from clbench.runner import sweep

    load, tried = sweep.load_entries, []

    def read(folder):
        handle = os.open(folder / ".lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(handle)
        tried.append(folder)
        return load(folder)

    Path("runs").mkdir()
    Path("runs/.leaderboard.md.tmp").write_text("half of it, left by a killed process")
    monkeypatch.setattr(sweep, "load_entries", read)
    for times in (1, 2):  # the lock is given back
        assert clbench(monkeypatch, *HERE) == 0
        assert len(tried) == times
    assert "naive" in Path("runs/leaderboard.md").read_text()
    assert not Path("runs/.leaderboard.md.tmp").exists()


def test_measuring_within_tasks_adds_rows_and_changes_nothing_else(monkeypatch):
    from clbench.metrics.matrix import summary

    assert clbench(monkeypatch, *HERE, "results_dir=plain") == 0
    assert clbench(monkeypatch, *HERE, "results_dir=often", "eval.every=10") == 0
    (plain,), (often,) = (load_all(Path(folder))[0] for folder in ("plain", "often"))
    ends = [row for row, event in zip(often.result["matrix"], often.result["events"], strict=True) if event["kind"] != "within"]
    assert ends == plain.result["matrix"]
    assert len(often.result["matrix"]) > len(ends)
    assert summary(often.result)["anytime"] is not None
    assert summary(plain.result)["anytime"] is None


def test_a_single_pass_is_a_property_of_any_scenario(monkeypatch):
    assert clbench(monkeypatch, "runner.workers=0", "device=cpu", "scenario.online=true") == 0
    (record,), _ = load_all(Path("runs"))
    assert (record.identity["trainer"]["epochs"], record.identity["trainer"]["batch_size"]) == (1, 10)
    assert record.cost["samples"] == 1442
