"""How a run is executed: device, processes, memory, and what is kept. Nothing here belongs to a record's identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False, description="seconds")]
Share = Annotated[float, Field(gt=0, le=1)]
Gibibytes = Annotated[float, Field(ge=0, strict=True)]


@dataclass(frozen=True)
class Execution:
    """How a run is executed.

    Each field is the key of the same name in the node `runner`, unless `OTHER_KEYS` names another key. A new key is one field
    here and one line in `conf/runner/default.yaml`; the field's type checks the value.

    Args:
        workers: processes of the sweep, or `auto`; 0: the calling process.
        threads: CPU threads of a run.
        stack: seeds of a configuration that share every step, or `auto`.
        compile: mode of `torch.compile`; None: off.
        graph: whether steps are replayed as CUDA graphs.
        products: library of large matrix products on a CPU (`clbench.utils.cpu_matmul`).
        chunk: clients of a federated run that share every step, or `auto`.
        federated: what connects the server of a federated run with its clients: `local` (nothing) or `flower`.
        listen: where the processes of Flower's simulation engine (Ray) accept connections: on the `loopback` alone, or on the
            `network`, for anyone who reaches this machine.
        timeout: seconds to wait for a client's reply.
        wait: seconds to wait at the end of a sweep for runs of other processes; None: until these end.
        dry: whether the command only tells what it would do (`clbench.runner.dry_run`).
        time_limit: seconds that a run may take, times the number of seeds for a stack; None: no limit.
        stall_notice: seconds without a step after which the display says so; None: never.
        memory_share: of the free memory, for all concurrent runs together.
        memory_unknown: GiB for a run without a similar earlier run, by kind of device.
        memory_context: GiB of a process on a GPU besides tensors.
        memory_margin: factor on the measured memory.
        device: `auto`, `cpu` or `cuda`.
        save_models: whether the model after each task is kept.
        rerun: whether a run is trained again that has a record, or that failed.
        residence: where data is kept during the run (`clbench.scenarios.placement.place`).
        residence_share: of the free memory, for the data.
        download: whether missing data may be downloaded.
        search: folders with data.
    """

    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    threads: Count = 1
    stack: Count | Literal["auto"] = "auto"
    compile: Literal["default", "reduce-overhead", "max-autotune"] | None = None
    graph: bool = False
    products: Literal["auto", "mkl", "onednn"] = "auto"
    chunk: Count | Literal["auto"] = "auto"
    federated: Literal["local", "flower"] = "local"
    listen: Literal["loopback", "network"] = "loopback"
    timeout: Seconds = 600.0
    wait: Seconds | None = 60.0
    dry: bool = False
    time_limit: Annotated[float, Field(gt=0, allow_inf_nan=False, description="seconds")] | None = None
    stall_notice: Annotated[float, Field(gt=0, allow_inf_nan=False, description="seconds")] | None = 600.0
    memory_share: Share = 0.9
    memory_unknown: Annotated[dict[Literal["cpu", "cuda"], Gibibytes], Field(min_length=2)] = field(
        default_factory=lambda: {"cpu": 1.0, "cuda": 4.0}
    )
    memory_context: Gibibytes = 0.6
    memory_margin: Annotated[float, Field(ge=1)] = 1.25
    device: Annotated[Literal["auto", "cpu", "cuda"], Field(description="CUDA_VISIBLE_DEVICES selects among GPUs")] = "auto"
    save_models: bool = False
    rerun: bool = False
    residence: Literal["auto", "device", "host", "disk"] = "auto"
    residence_share: Share = 0.5
    download: bool = False
    search: list[str] = field(default_factory=list)


OTHER_KEYS = {
    "device": "device",
    "save_models": "save_models",
    "rerun": "rerun",
    "residence": "data.residence",
    "residence_share": "data.share",
    "download": "data.download",
    "search": "data.root",
}
"""Fields with a key outside the node `runner`: {field: key}."""
