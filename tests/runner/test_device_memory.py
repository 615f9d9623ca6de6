"""Memory needs of runs, and how a lack of memory shows."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from clbench.errors import ClbenchError
from clbench.records import Record
from clbench.runner import device_memory
from clbench.runner.device_memory import GIB, Limits, Needs, budgets, is_out_of_memory, recorded_peak, says_out_of_memory
from tests.runner.run_functions import make_spec

LIMITS = Limits(share=0.5, unknown={"cpu": 1, "cuda": 4}, context=0.5, margin=1.25)


def test_a_measured_need_replaces_the_assumed_need() -> None:
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


def test_a_run_that_was_out_of_memory_reserves_more_until_it_is_measured() -> None:
    needs, spec = Needs(LIMITS, "cpu"), make_spec(Path("r"))
    needs.raise_for(spec)
    needs.raise_for(spec)
    assert needs.of(spec) == 4 * GIB
    needs.learn(spec, 2 * GIB)
    assert needs.of(spec) == 2.5 * GIB


def test_a_record_has_the_need_of_its_run() -> None:
    identity = make_spec(Path("r")).identity
    assert recorded_peak(Record(identity, {}, {"peak_memory_bytes": 5}, {"device": "cuda: NVIDIA H100"})) == ("cuda", 5)
    assert recorded_peak(Record(identity, {}, {}, {"device": "cpu: x86_64"})) is None


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
        assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(OSError(errno.ENOMEM, "Cannot allocate memory"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))


def test_the_cause_of_an_error_counts() -> None:
    error = ClbenchError("the data cannot be loaded")
    assert not is_out_of_memory(error)
    error.__cause__ = MemoryError()
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("seed one is unlucky"),
        ClbenchError("the loss became nan", "lower optimizer.lr"),
        ClbenchError("model.name='out of memory' is unknown"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_other_failures_are_not(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_the_last_output_of_a_killed_process_may_say_so() -> None:
    assert says_out_of_memory("terminate called after throwing an instance of 'c10::OutOfMemoryError'")
    assert not says_out_of_memory("its process was ended by SIGTERM")


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
