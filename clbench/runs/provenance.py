"""The provenance of a record: code, packages, machine, time."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from clbench.utils import cpu_matmul

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
        "clbench": _version("clbench"),
        "git_commit": git_commit(),
        "packages": {
            package: _version(package) for package in (*PACKAGES, *(name for name in WHERE_USED if name in sys.modules))
        },
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


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def git_commit() -> str | None:
    """Return the commit of clbench's own checkout, with `+` if it has uncommitted changes; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "-uno")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
