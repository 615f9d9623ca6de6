"""The provenance of a record: code, packages, machine, time."""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch

from clbench.utils import cpu_matmul
from clbench.utils.own_code import git_commit, version

if TYPE_CHECKING:
    from clbench.run_spec import RunSpec

PACKAGES = ("torch", "torchvision", "numpy", "hydra-core")
WHERE_USED = ("transformers", "tokenizers", "peft")
"""Named in a record only if its run has loaded them."""


def provenance(spec: RunSpec, device: torch.device, resumed: int, stacked: int = 1) -> dict[str, Any]:
    """Return the record's provenance part."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "variant": spec.variant,
        "tuned_by": spec.tuned_by,
        "clbench": version("clbench"),
        "git_commit": git_commit(),
        "packages": {package: version(package) for package in (*PACKAGES, *(name for name in WHERE_USED if name in sys.modules))},
        "python": platform.python_version(),
        "device": f"{device.type}: {name}",
        "threads": torch.get_num_threads(),
        "stacked": stacked,
        "compile": spec.execution.compile,
        "graph": spec.execution.graph,
        "products": cpu_matmul.taken() if device.type == "cpu" else None,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "resumed": resumed,
    }


def _processor() -> str:
    """Return the processor and the instruction set that torch uses: results of two sets differ in the last bits."""
    return f"{platform.processor() or platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
