"""Memory needs of runs: what earlier runs measured, budgets of devices, and how a lack of memory shows."""

from __future__ import annotations

import errno
import gc
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from clbench.records import Record
from clbench.run_spec import RunSpec
from clbench.utils.system import available_memory

GIB = 2**30
CPU = "cpu"
"""Name of the device of workers without a GPU."""
SIGNS = re.compile(
    r"OutOfMemoryError|MemoryError|out of memory|can't allocate memory|cannot allocate memory|unable to allocate|"
    r"_ALLOC_FAILED|cudaErrorMemoryAllocation",
    re.IGNORECASE,
)
"""Words of torch (CUDA, cuBLAS, cuDNN, the host's allocator), numpy and the system for a lack of memory."""


@dataclass(frozen=True)
class Limits:
    """The numbers of admission; `conf/runner/default.yaml` has the values and their sources.

    Args:
        share: of the memory that is free when a sweep starts, in (0, 1]; simultaneous runs may need so much together.
        unknown: GiB for a run without a similar earlier run, by kind of device (`cpu`, `cuda`).
        context: GiB of a process on a GPU in addition to its tensors.
        margin: factor on a measured need.
    """

    share: float
    unknown: Mapping[str, float]
    context: float
    margin: float


@dataclass
class Needs:
    """The need of each configuration, learned from finished runs.

    Args:
        limits: the numbers.
        kind: kind of the devices, `cpu` or `cuda`.
    """

    limits: Limits
    kind: str
    _measured: dict[str, int] = field(default_factory=dict)
    _alike: dict[tuple[str, str], int] = field(default_factory=dict)
    _raised: dict[str, int] = field(default_factory=dict)

    def of(self, spec: RunSpec) -> int:
        """Return the bytes to reserve for `spec` and the runs stacked with it.

        This is the measured need of the same configuration with any seed. Without one, it is the largest measured need with
        the same model and scenario; without one, `unknown`. A configuration that was out of memory reserves at least twice
        its earlier reservation.
        """
        known = self._measured.get(spec.config_id, self._alike.get(_like(spec), 0))
        context = self.limits.context * GIB if self.kind == "cuda" else 0
        need = known * self.limits.margin if known else self.limits.unknown[self.kind] * GIB
        return max(int(need * (1 + len(spec.stacked)) + context), self._raised.get(spec.config_id, 0))

    def learn(self, spec: RunSpec, peak: int) -> None:
        """Note that `spec` and the runs stacked with it needed `peak` bytes together."""
        peak = peak // (1 + len(spec.stacked))
        self._measured[spec.config_id] = max(peak, self._measured.get(spec.config_id, 0))
        self._alike[_like(spec)] = max(peak, self._alike.get(_like(spec), 0))
        self._raised.pop(spec.config_id, None)

    def raise_for(self, spec: RunSpec) -> None:
        """Note that `spec` was out of memory with its reservation."""
        self._raised[spec.config_id] = 2 * self.of(spec)


def recorded_peak(record: Record) -> tuple[str, int] | None:
    """Return (kind of device, peak memory in bytes) of a record's run; None if the record does not have them."""
    peak = record.cost.get("peak_memory_bytes")
    stacked = record.provenance.get("stacked", 1)
    return (str(record.provenance.get("device")).partition(":")[0], peak // stacked) if isinstance(peak, int) else None


def budgets(limits: Limits, slots: Sequence[Mapping[str, str]], gpus: Mapping[str, int]) -> dict[str, int]:
    """Return the bytes that the runs on each device may need together; a device of unknown memory is left out.

    Args:
        limits: the numbers.
        slots: environment variables of each worker.
        gpus: free bytes of each GPU.
    """
    if any("CUDA_VISIBLE_DEVICES" in slot for slot in slots):
        return {name: int(limits.share * free) for name, free in gpus.items() if free > 0}
    available = available_memory()
    return {} if available is None else {CPU: int(limits.share * available)}


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether `error`, or an error that caused it, is a lack of memory.

    Python and numpy raise MemoryError, the system an OSError with ENOMEM. torch's own class is a RuntimeError. Its allocator
    for the host, cuBLAS and cuDNN raise a plain RuntimeError: here the text of torch's message has to decide.
    """
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        if isinstance(error, RuntimeError) and says_out_of_memory(f"{type(error).__name__}: {error}"):
            return True
        error = error.__cause__
    return False


def says_out_of_memory(text: str) -> bool:
    """Return whether a text of another program (torch, the C++ runtime) reports a lack of memory."""
    return SIGNS.search(text) is not None


def peak() -> int | None:
    """Return the peak memory of this process in bytes since `clear`: on the GPU if it uses one, else on the host."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_reserved())
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def clear() -> None:
    """Free the GPU memory that the last run left in torch's cache, and reset `peak`."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: resets VmHWM, and with it getrusage's ru_maxrss


def _like(spec: RunSpec) -> tuple[str, str]:
    return spec.names["scenario"], spec.names["model"]
