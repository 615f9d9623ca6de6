"""Matrix products of perceptrons and bases on a CPU, by the one of torch's two libraries that serves the processor better.

torch multiplies in single precision by Intel's MKL, which leaves the AVX-512 units of AMD's processors idle. oneDNN, which
torch carries for convolutions, uses them: on Zen 5 (torch 2.14, one thread) 64 samples by 784 inputs by 256 outputs take it 0.13
ms instead of 0.25, 1000 samples 1.7 instead of 3.8. On Intel's there is nothing to gain. The choice is for the process, as the
number of threads is; it depends on the processor and on sizes only, so that on one machine a run comes out the same every
time, and changes rounding, no more. Whatever is not single precision on a CPU, or wants a derivative, is torch's own product.
"""

from __future__ import annotations

import platform
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 1_500_000
"""Multiplications of a product below which oneDNN's longer way there costs more than it saves (measured on Zen 5)."""
_onednn = False


def use(choice: str) -> str:
    """Take products from `mkl`, `onednn`, or `auto` whichever suits the processor; return which."""
    global _onednn
    _onednn = has_onednn() and (choice == "onednn" or (choice == "auto" and wants_onednn()))
    return taken()


def taken() -> str:
    """Return whose products large ones are: `mkl` stands for whatever this torch multiplies with."""
    return "onednn" if _onednn else "mkl"


def has_onednn() -> bool:
    """Return whether this torch has oneDNN's linear layer for dense tensors."""
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(there) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def wants_onednn() -> bool:
    """Return whether oneDNN is the faster one here: on AMD's processors with AVX-512."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and "AMD" in _vendor()


def _vendor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()  # on Windows it ends with the vendor
    return next((line for line in lines if line.startswith("vendor_id")), "")


def mm(a: Tensor, b: Tensor) -> Tensor:
    """Return `a` `[m, k]` times `b` `[k, n]`."""
    if _onednn and _suits(a, b.shape[1], b):
        return _linear(a, b.mT, None)
    return a.mm(b)


def less(base: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return `base` `[m, n]` minus `a` `[m, k]` times `b` `[k, n]`."""
    if _onednn and _suits(a, b.shape[1], b):
        return base - _linear(a, b.mT, None)
    return torch.addmm(base, a, b, alpha=-1)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return what a linear layer of `weight` `[out, d]` and `bias` `[out]` makes of `x` `[n, d]`."""
    if _onednn and _suits(x, weight.shape[0], weight):
        return _linear(x, weight, bias)
    return F.linear(x, weight, bias)


def _suits(a: Tensor, n: int, b: Tensor) -> bool:
    """Return whether `a` `[m, k]` by `b`, `[m, n]` in the end, is a product for oneDNN."""
    if a.dim() != 2 or a.shape[0] * a.shape[1] * n < LEAST or a.dtype is not torch.float32 or b.dtype is not torch.float32:
        return False
    return a.device.type == "cpu" and not (torch.is_grad_enabled() and (a.requires_grad or b.requires_grad))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return result


use("auto")
