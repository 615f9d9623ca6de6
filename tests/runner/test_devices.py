"""How many workers, and what they see."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.errors import ConfigError
from clbench.runner import devices


@settings(deadline=None)
@given(st.one_of(st.just("auto"), st.integers(1, 50)), st.integers(1, 8), st.integers(1, 40))
def test_on_a_cpu_there_is_at_least_one_worker_and_no_more_than_runs(workers: int | str, threads: int, runs: int) -> None:
    found = devices.slots(workers, "cpu", threads, runs)
    assert 1 <= len(found) <= runs
    assert len(found) <= (workers if isinstance(workers, int) else devices.cores())
    assert {slot["OMP_NUM_THREADS"] for slot in found} == {str(threads)}
    assert not any("CUDA_VISIBLE_DEVICES" in slot for slot in found)


def test_one_worker_per_gpu_and_no_two_on_the_same_before_all_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "visible_gpus", lambda device: {"0": 1, "3": 1})
    monkeypatch.setattr(devices, "cores", lambda: 1)
    seen = [slot["CUDA_VISIBLE_DEVICES"] for slot in devices.slots("auto", "auto", 1, 10)]
    assert seen == ["0", "3"]
    seen = [slot["CUDA_VISIBLE_DEVICES"] for slot in devices.slots(4, "cuda", 1, 10)]
    assert seen == ["0", "3", "0", "3"]


def test_a_gpu_has_workers_as_there_are_cores_which_memory_then_lets_work_or_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cores", lambda: 7)
    for threads, runs, expected in ((1, 50, [4, 3]), (2, 50, [2, 1]), (1, 3, [2, 1]), (9, 50, [1, 1])):
        seen = [slot["CUDA_VISIBLE_DEVICES"] for slot in devices.slots("auto", "auto", threads, runs, {"a": 1, "b": 1})]
        assert [seen.count("a"), seen.count("b")] == expected


def test_a_cpu_is_never_asked_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.subprocess, "run", lambda *a, **k: pytest.fail("torch was asked"))
    assert devices.visible_gpus("cpu") == {}


@pytest.mark.parametrize(
    ("named", "printed", "expected"),
    [
        (None, "[7, 8]", {"0": 7, "1": 8}),
        ("3, GPU-abc", "[7, 8]", {"3": 7, "GPU-abc": 8}),
        ("3,4,5", "[7]", {"3": 7}),
        (None, "[]", {}),
        (None, "no torch here", {}),
    ],
)
def test_gpus_go_by_the_names_that_choose_them(
    monkeypatch: pytest.MonkeyPatch, named: str | None, printed: str, expected: dict[str, int]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    answer = devices.subprocess.CompletedProcess([], 0, stdout=printed)
    monkeypatch.setattr(devices.subprocess, "run", lambda *a, **k: answer)
    assert devices.visible_gpus("cuda") == expected


def test_what_torch_is_asked_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.visible_gpus("cuda") == {}
    done = devices.subprocess.run([devices.sys.executable, "-c", devices.ASK], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_cuda_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ConfigError, match="no CUDA device"):
        devices.slots("auto", "cuda", 1, 1)
