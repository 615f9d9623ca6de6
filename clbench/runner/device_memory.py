"""What runs need of a device's memory, as far as it is known, and what the end of memory looks like."""

from __future__ import annotations

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
"""Name of the place of workers that see no GPU."""
SIGNS = re.compile(
    r"OutOfMemoryError|MemoryError|out of memory|can't allocate memory|cannot allocate memory|unable to allocate|"
    r"_ALLOC_FAILED|cudaErrorMemoryAllocation",
    re.IGNORECASE,
)
"""How torch (CUDA, cuBLAS, cuDNN, the host's allocator), numpy and the system say that memory is used up."""


@dataclass(frozen=True)
class Limits:
    """The numbers behind packing; `conf/runner/default.yaml` has them and their sources.

    Args:
        share: of the memory that is free when a sweep starts, in (0, 1]: what runs side by side may need together.
        unknown: GiB that a run is taken to need of which nothing like it was seen, by kind of device (`cpu`, `cuda`).
        context: GiB that a process takes on a GPU beside its tensors.
        margin: what was measured is multiplied by it.
    """

    share: float
    unknown: Mapping[str, float]
    context: float
    margin: float


@dataclass
class Needs:
    """What each configuration needs, learned from runs that have ended.

    Args:
        limits: the numbers.
        kind: of the devices, `cpu` or `cuda`.
    """

    limits: Limits
    kind: str
    _measured: dict[str, int] = field(default_factory=dict)
    _alike: dict[tuple[str, str], int] = field(default_factory=dict)
    _raised: dict[str, int] = field(default_factory=dict)

    def of(self, spec: RunSpec) -> int:
        """Return the bytes to reserve for `spec` and those beside it.

        What its own configuration was measured to need, with any seed; else the most that any with its model and scenario
        did; else `unknown`. A configuration that was out of memory reserves at least twice what it had.
        """
        known = self._measured.get(spec.config_id, self._alike.get(_like(spec), 0))
        context = self.limits.context * GIB if self.kind == "cuda" else 0
        need = known * self.limits.margin if known else self.limits.unknown[self.kind] * GIB
        return max(int(need * (1 + len(spec.beside)) + context), self._raised.get(spec.config_id, 0))

    def learn(self, spec: RunSpec, peak: int) -> None:
        """Take note that a run of `spec` and those beside it needed `peak` bytes."""
        peak = peak // (1 + len(spec.beside))
        self._measured[spec.config_id] = max(peak, self._measured.get(spec.config_id, 0))
        self._alike[_like(spec)] = max(peak, self._alike.get(_like(spec), 0))
        self._raised.pop(spec.config_id, None)

    def raise_for(self, spec: RunSpec) -> None:
        """Take note that `spec` was out of memory with what it had."""
        self._raised[spec.config_id] = 2 * self.of(spec)


def told(record: Record) -> tuple[str, int] | None:
    """Return (kind of device, bytes at the peak) that a record tells of its run, None if it does not."""
    peak = record.cost.get("peak_memory_bytes")
    side_by_side = record.provenance.get("stacked", 1)
    return (str(record.provenance.get("device")).partition(":")[0], peak // side_by_side) if isinstance(peak, int) else None


def budgets(limits: Limits, slots: Sequence[Mapping[str, str]], gpus: Mapping[str, int]) -> dict[str, int]:
    """Return the bytes that the runs on each device may need together, for those of which that is known.

    Args:
        limits: the numbers.
        slots: environment variables of each worker.
        gpus: bytes that are free on each GPU.
    """
    if any("CUDA_VISIBLE_DEVICES" in slot for slot in slots):
        return {name: int(limits.share * free) for name, free in gpus.items() if free > 0}
    available = available_memory()
    return {} if available is None else {CPU: int(limits.share * available)}


def out_of_memory(reason: str) -> bool:
    """Return whether the one line that tells why a run failed says that memory was used up."""
    return SIGNS.search(reason) is not None


def peak() -> int | None:
    """Return the most bytes that this process has held since `clear`: on the GPU if it uses one, else in memory."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_reserved())
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def clear() -> None:
    """Give back what the last run left cached on a GPU, and start the count of `peak` anew."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: resets VmHWM, and with it getrusage's ru_maxrss


def _like(spec: RunSpec) -> tuple[str, str]:
    return spec.names["scenario"], spec.names["model"]
