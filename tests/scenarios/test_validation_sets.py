"""Validation splits as evaluation sets: no test sample is read, no method sees them, and no task learns from them."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch

from clbench.config.hydra_compose import new_composer
from clbench.config.job import make_job
from clbench.data.sources.base import Data
from clbench.data.sources.digits import Digits
from clbench.data.sources.vision import Vision
from clbench.errors import ClbenchError
from clbench.metrics.matrix import splits, summary
from clbench.run_spec import RunSpec
from clbench.runs.factory import load_stream
from clbench.runs.run import train_run

COMPOSER = new_composer()
CPU = torch.device("cpu")
QUICK = ("trainer.epochs=1", "seeds=1", "logger=none")


def spec(*words: str, split: str = "valid") -> RunSpec:
    job = make_job(COMPOSER(["scenario.valid_fraction=0.2", f"eval.split={split}", *QUICK, *words]), COMPOSER)
    return job.specs()[0]


def trained(*words: str, split: str = "valid") -> dict[str, Any]:
    with TemporaryDirectory() as folder:  # no checkpoint of an earlier test
        return train_run(spec(*words, f"results_dir={folder}", split=split), lambda _: None).result


STREAMS = ["split_digits", "permuted_digits", "rotated_digits"]
SETTINGS = ["task", "domain", "class"]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("split", ["valid", "both"])
def test_no_task_learns_from_validation_samples(name: str, setting: str, split: str) -> None:
    """Permuted and rotated tasks share their images: what one task holds out, no other one learns."""
    stream = load_stream(spec(f"scenario={name}", f"scenario.setting={setting}", split=split), CPU)
    columns = [column for column in stream.evaluation if column.role == "valid"]
    assert len(columns) == len(stream.tasks)
    assert all(task.valid is None for task in stream.tasks)
    learned = {tuple(row) for task in stream.tasks for row in task.train.pool.inputs[task.train.rows].flatten(1).tolist()}
    for column in columns:
        held = column.split.pool.inputs[column.split.rows].flatten(1).tolist()
        assert held
        assert not learned & {tuple(row) for row in held}
        assert column.split.pool is not stream.tasks[0].train.pool  # out of reach of methods


def test_validation_splits_have_the_roles_and_names_of_their_tasks() -> None:
    valid, both = (trained("scenario=split_digits", split=split) for split in ("valid", "both"))
    assert [column["role"] for column in valid["columns"]] == ["valid"] * 5
    assert valid["columns"][1]["name"] == "valid 1: digits 2-3"
    assert [column["role"] for column in both["columns"]] == ["task"] * 5 + ["valid"] * 5
    assert (splits(valid), splits(both)) == (("valid",), ("test", "valid"))
    assert [row[5:] for row in both["matrix"]] == valid["matrix"]
    assert summary(both, "valid") == summary(valid) == summary(valid, "valid")
    assert summary(both) == summary(both, "test") != summary(valid)
    with pytest.raises(ClbenchError, match="measures valid splits, not test"):
        summary(valid, "test")


def test_measuring_validation_changes_no_training() -> None:
    """The validation samples are drawn as for a run on the test splits, where tasks share no images."""
    test, both = (trained("scenario=split_digits", "method=er", split=split) for split in ("test", "both"))
    assert [row[:5] for row in both["matrix"]] == test["matrix"]


def noise(pool: Any) -> Any:
    inputs = torch.randint(0, 256, pool.inputs.shape, generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    return type(pool)(inputs, pool.targets)


def test_noise_in_place_of_the_test_samples_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = trained("scenario=rotated_digits", "method=er")
    read = Digits.read
    monkeypatch.setattr(Digits, "read", lambda self, *given: Data(read(self, *given).train, noise(read(self, *given).test)))
    assert trained("scenario=rotated_digits", "method=er") == before
    assert trained("scenario=rotated_digits", "method=er", split="test")["matrix"][0] != before["matrix"][0]


def idx_files(folder: Path, n: int = 60) -> None:
    """Write a small data set in the format of MNIST."""
    random = np.random.default_rng(0)
    (folder / "MNIST" / "raw").mkdir(parents=True)
    for part, count in (("train", n), ("t10k", 20)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = (random.integers(0, 50, (count, 28, 28)) + 20 * labels[:, None, None]).astype(np.uint8)
        for kind, magic, shape, values in (
            ("images-idx3", 2051, (count, 28, 28), images),
            ("labels-idx1", 2049, (count,), labels),
        ):
            head = np.array([magic, *shape], dtype=">i4").tobytes()
            name = folder / "MNIST" / "raw" / f"{part}-{kind}-ubyte"
            name.write_bytes(head + values.tobytes())
            name.with_name(f"{name.name}.gz").write_bytes(gzip.compress(head + values.tobytes(), mtime=0))


def source(folder: Path) -> Vision:
    """Return the data set with the digests of its first files."""
    import hashlib

    raw = sorted((folder / "MNIST" / "raw").glob("*.gz"))
    files = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in raw}
    return Vision(
        name="small", n_classes=10, dataset="MNIST", train_args={"train": True}, test_args={"train": False}, files=files
    )


def test_the_files_of_the_test_part_are_not_read(tmp_path: Path) -> None:
    idx_files(tmp_path)
    made = source(tmp_path)
    before = made.load_train([tmp_path])
    assert torch.equal(before.inputs, made.load([tmp_path]).train.inputs)
    for path in (tmp_path / "MNIST" / "raw").glob("t10k*"):
        path.write_bytes(b"noise")
    after = source_of(made).load_train([tmp_path])
    assert torch.equal(before.inputs, after.inputs)
    assert torch.equal(before.targets, after.targets)
    with pytest.raises(ClbenchError, match="t10k"):
        source_of(made).load([tmp_path])


def source_of(made: Vision) -> Vision:
    """Return the same data set anew."""
    keys = ("name", "n_classes", "dataset", "train_args", "test_args", "files")
    return Vision(**{key: getattr(made, key) for key in keys})


def test_damaged_training_files_are_noticed(tmp_path: Path) -> None:
    idx_files(tmp_path)
    made = source(tmp_path)
    shutil.copy(tmp_path / "MNIST/raw/t10k-images-idx3-ubyte.gz", tmp_path / "MNIST/raw/train-images-idx3-ubyte.gz")
    with pytest.raises(ClbenchError, match="train-images"):
        made.load_train([tmp_path])


def test_a_schedule_that_needs_validation_keeps_it() -> None:
    words = ("scenario=split_digits", "trainer/schedule=plateau", "trainer.epochs=8", "scenario.task_range=[0,1]")
    assert all(task.valid is not None for task in load_stream(spec(*words), CPU).tasks)
    assert trained(*words)["n_tasks"] == 1


@pytest.mark.parametrize(
    ("words", "what", "remedy"),
    [
        (["scenario=split_digits", "scenario.valid_fraction=0"], "scenario.valid_fraction=0 holds no samples out", "=0.1"),
        (["scenario=split_digits", "eval.split=train"], "eval.split", "test or valid or both"),
        (["scenario=unlearn_digits", "method=ga"], "requests to forget", "leave eval.split out"),
    ],
)
def test_what_cannot_be_measured_is_refused(words: list[str], what: str, remedy: str) -> None:
    with pytest.raises(ClbenchError) as error:
        spec(*words)
    assert what in error.value.what
    assert remedy in error.value.remedy
