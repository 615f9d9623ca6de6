"""Where the data is kept changes no result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clbench.errors import ConfigError
from clbench.records import Record
from clbench.scenarios import placement
from clbench.scenarios.placement import choose_residence, place_stream
from clbench.testing import make_spec, run
from tests.data.files import write_images
from tests.streams import blob_stream

PLACES = ("device", "host", "disk")


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """A folder of .npy files: six classes of RGB images, each around a pattern of its own."""
    random = np.random.default_rng(0)
    patterns = random.integers(0, 200, (6, 8, 8, 3))
    folder = tmp_path / "mine"
    folder.mkdir()
    for side, n in (("train", 240), ("test", 60)):
        labels = np.arange(n) % 6
        np.save(folder / f"x_{side}.npy", (patterns[labels] + random.integers(0, 56, (n, 8, 8, 3))).astype(np.uint8))
        np.save(folder / f"y_{side}.npy", labels)
    return folder


def trained(tmp_path: Path, residence: str, method: str, *overrides: str) -> tuple[str, Record]:
    words = ["scenario.n_tasks=3", f"data.residence={residence}", f"data.root={tmp_path}", *overrides]
    spec = make_spec(method, words, results_dir=tmp_path / residence)
    return spec.id, run(spec)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("naive", ["scenario=split", "scenario.dataset.crop=2", "scenario.dataset.flip=true", "trainer.batch_size=32"]),
        ("er", ["scenario=split", "scenario.dataset.crop=2", "trainer.epochs=2", "scenario.setting=task", "eval.batch_size=7"]),
        ("er", ["scenario=permuted"]),
        ("gpm", ["scenario=rotated"]),
        (
            "ewc",
            [
                "scenario=split",
                "scenario.valid_fraction=0.1",
                "trainer/schedule=plateau",
                "trainer.schedule.patience=1",
                "trainer.epochs=3",
            ],
        ),
        ("joint", ["scenario=permuted"]),
        ("ncm", ["scenario=split"]),
        ("icarl", ["scenario=split"]),
    ],
)
def test_the_same_result_bit_for_bit(
    tmp_path: Path, arrays: Path, method: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clbench.engine.training.loop.GATHER", 50)
    streamed: list[bool] = []
    monkeypatch.setattr(
        "clbench.runs.factory.place_stream", lambda *a: streamed.append(_streams(made := place_stream(*a))) or made
    )
    words = [*words, "scenario/dataset=npz", f"scenario.dataset.path={arrays}"]
    found = [trained(tmp_path, residence, method, *words) for residence in PLACES]
    assert streamed == [False, False, True]
    assert len({name for name, _ in found}) == 1, "the residence of data is no part of a run's identity"
    for _, record in found[1:]:
        assert record.result == found[0][1].result


def _streams(stream: Any) -> bool:
    splits = [*(task.train for task in stream.tasks), *(column.split for column in stream.evaluation)]
    (streams,) = {split.pool.streams for split in splits}
    return bool(streams)


def test_a_folder_of_images_is_decoded_once_and_then_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = tmp_path / "photos"
    for seed, name in enumerate("abcdef"):
        write_images(photos / name, 15, seed=seed)
    words = (
        "scenario=split",
        "scenario/dataset=folder",
        f"scenario.dataset.path={tmp_path}/photos",
        "scenario.dataset.flip=true",
    )
    in_memory = trained(tmp_path, "host", "er", *words)
    assert not (tmp_path / "decoded").exists()
    on_disk = trained(tmp_path, "disk", "er", *words)
    assert on_disk[0] == in_memory[0]
    assert on_disk[1].result == in_memory[1].result
    kept = sorted((tmp_path / "decoded").glob("*.npy"))
    assert [np.load(path).shape for path in kept] in ([(72, 3, 6, 5), (18, 3, 6, 5)], [(18, 3, 6, 5), (72, 3, 6, 5)])
    monkeypatch.setattr("clbench.data.sources.folder.read_image", lambda *a, **k: pytest.fail("decoded again"))
    (tmp_path / "disk").rename(tmp_path / "before")
    assert trained(tmp_path, "disk", "er", *words)[1].result == in_memory[1].result


def test_validation_rows_views_and_mixed_tasks_move_along() -> None:
    stream = blob_stream(kind="permuted", valid_fraction=0.1)
    moved = place_stream(stream, torch.device("meta"), "device", 0.5)
    for task in moved.tasks:
        assert task.valid is not None
        for split in (task.train, task.valid):
            assert {t.device.type for t in (split.pool.inputs, split.pool.targets, split.rows, split.labels)} == {"meta"}
            assert split.view is not None
            assert split.view.device.type == "meta"
    assert len({id(task.train.pool) for task in moved.tasks}) == 1, "one pool stays one"
    kept = place_stream(stream, torch.device("meta"), "host", 0.5).tasks[0].train.pool
    assert (kept.inputs.device.type, kept.targets.device.type, kept.streams) == ("cpu", "meta", True)
    assert kept.inputs.data_ptr() == stream.tasks[0].train.pool.inputs.data_ptr(), "host memory is not copied"


def test_data_in_memory_cannot_be_kept_on_disk() -> None:
    with pytest.raises(ConfigError, match=r"data\.residence=disk"):
        place_stream(blob_stream(), torch.device("cpu"), "disk", 0.5)


@pytest.mark.parametrize(
    ("free", "available", "mapped", "place"),
    [
        (10**9, 10**9, True, "device"),
        (10**4, 10**9, True, "host"),
        (10**4, 10**4, True, "disk"),
        (10**4, 10**4, False, "host"),
        (10**4, None, True, "host"),
    ],
)
def test_auto_takes_the_fastest_place_where_it_fits(
    free: int, available: int | None, mapped: bool, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clbench.data.pool import Pool

    pool = Pool(torch.zeros(100, 3, 20, 20, dtype=torch.uint8), torch.zeros(100, dtype=torch.int64), mapped)  # 120,000 bytes
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**12))
    monkeypatch.setattr(placement, "available_memory", lambda: available)
    assert choose_residence([pool], torch.device("cuda"), 0.5) == place


def test_on_a_cpu_mapped_data_is_read_if_it_fits(monkeypatch: pytest.MonkeyPatch, arrays: Path, tmp_path: Path) -> None:
    seen: list[bool] = []
    monkeypatch.setattr("clbench.runs.factory.place_stream", lambda *a: seen.append(_streams(made := place_stream(*a))) or made)
    words = ["scenario=split", "scenario/dataset=npz", f"scenario.dataset.path={arrays}", "data.share=0.5"]
    for available in (10**9, 10**4):
        monkeypatch.setattr(placement, "available_memory", lambda: available)  # noqa: B023 (used within the round)
        trained(tmp_path / str(available), "auto", "naive", *words)
    assert seen == [False, True]


@pytest.mark.parametrize("word", ["data.residence=moon", "data.share=0", "data.share=1.5", "data.share=much"])
def test_what_cannot_be_used_is_named(word: str) -> None:
    with pytest.raises(ConfigError, match=word.replace(".", r"\.").split("=")[0]):
        make_spec("naive", [word])
