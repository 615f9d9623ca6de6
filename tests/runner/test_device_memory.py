"""What runs need, and what the end of memory looks like."""

from __future__ import annotations

from pathlib import Path

import pytest

from clbench.records import Record
from clbench.runner import device_memory
from clbench.runner.device_memory import GIB, Limits, Needs, budgets, out_of_memory, told
from clbench.runner.execute import one_line
from tests.runner.trials import make_spec

LIMITS = Limits(share=0.5, unknown={"cpu": 1, "cuda": 4}, context=0.5, margin=1.25)


def test_what_is_measured_takes_the_place_of_what_is_assumed() -> None:
    needs, spec = Needs(LIMITS, "cuda"), make_spec(Path("r"), 0, strength=1)
    assert needs.of(spec) == 4.5 * GIB
    needs.learn(spec, 2 * GIB)
    other_seed, alike = make_spec(Path("r"), 1, strength=1), make_spec(Path("r"), 0, method="er")
    assert needs.of(spec) == needs.of(other_seed) == needs.of(alike) == 3 * GIB
    needs.learn(other_seed, GIB)
    assert needs.of(spec) == 3 * GIB, "the most that any seed needed"
    needs.learn(alike, 4 * GIB)
    assert needs.of(alike) == 5.5 * GIB
    assert needs.of(spec) == 3 * GIB, "its own is known"


def test_on_a_cpu_there_is_no_context() -> None:
    assert Needs(LIMITS, "cpu").of(make_spec(Path("r"))) == GIB


def test_who_was_out_of_memory_reserves_more_until_it_is_measured() -> None:
    needs, spec = Needs(LIMITS, "cpu"), make_spec(Path("r"))
    needs.raise_for(spec)
    needs.raise_for(spec)
    assert needs.of(spec) == 4 * GIB
    needs.learn(spec, 2 * GIB)
    assert needs.of(spec) == 2.5 * GIB


def test_a_record_tells_what_its_run_needed() -> None:
    identity = make_spec(Path("r")).identity
    assert told(Record(identity, {}, {"peak_memory_bytes": 5}, {"device": "cuda: NVIDIA H100"})) == ("cuda", 5)
    assert told(Record(identity, {}, {}, {"device": "cpu: x86_64"})) is None


def test_budgets_are_shares_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_memory, "available_memory", lambda: 1000)
    assert budgets(LIMITS, [{"OMP_NUM_THREADS": "1"}], {}) == {"cpu": 500}
    gpus = [{"CUDA_VISIBLE_DEVICES": name} for name in ("0", "3")]
    assert budgets(LIMITS, gpus, {"0": 800, "3": 0}) == {"0": 400}
    monkeypatch.setattr(device_memory, "available_memory", lambda: None)
    assert budgets(LIMITS, [{}], {}) == {}


def test_torchs_and_numpys_own_errors_are_known() -> None:
    import numpy as np
    import torch

    for allocate in (lambda: torch.empty(2**60, dtype=torch.uint8), lambda: np.empty(2**60, dtype=np.uint8)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            allocate()
        assert out_of_memory(one_line(caught.value))
    assert out_of_memory(one_line(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")))
    assert out_of_memory(one_line(MemoryError()))
    assert out_of_memory("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


@pytest.mark.parametrize(
    "reason",
    ["RuntimeError: seed one is unlucky", "the loss became nan -> lower optimizer.lr", "its process was ended by SIGTERM"],
)
def test_other_failures_are_not(reason: str) -> None:
    assert not out_of_memory(reason)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux only")
def test_the_peak_is_counted_anew_for_each_run() -> None:
    device_memory.clear()
    before = device_memory.peak()
    block = bytearray(200_000_000)
    during = device_memory.peak()
    del block
    device_memory.clear()
    after = device_memory.peak()
    assert before is not None
    assert during is not None
    assert after is not None
    assert during - before > 150_000_000
    assert during - after > 150_000_000
