"""How many workers, and what they see."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.errors import ConfigError
from clbench.runner import devices


@settings(deadline=None)
@given(st.one_of(st.just("auto"), st.integers(1, 50)), st.integers(1, 8), st.integers(1, 40))
def test_on_a_cpu_there_is_at_least_one_worker_and_no_more_than_cells(workers: int | str, threads: int, cells: int) -> None:
    found = devices.slots(workers, "cpu", threads, cells)
    assert 1 <= len(found) <= cells
    assert len(found) <= (workers if isinstance(workers, int) else devices.cores())
    assert {slot["OMP_NUM_THREADS"] for slot in found} == {str(threads)}
    assert not any("CUDA_VISIBLE_DEVICES" in slot for slot in found)


def test_one_worker_per_gpu_and_no_two_on_the_same_before_all_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "visible_gpus", lambda device: ["0", "3"])
    seen = [slot["CUDA_VISIBLE_DEVICES"] for slot in devices.slots("auto", "auto", 1, 10)]
    assert seen == ["0", "3"]
    seen = [slot["CUDA_VISIBLE_DEVICES"] for slot in devices.slots(4, "cuda", 1, 10)]
    assert seen == ["0", "3", "0", "3"]


def test_a_cpu_is_never_asked_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.subprocess, "run", lambda *a, **k: pytest.fail("torch was asked"))
    assert devices.visible_gpus("cpu") == []


def test_cuda_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match="no CUDA device"):
        devices.slots("auto", "cuda", 1, 1)
