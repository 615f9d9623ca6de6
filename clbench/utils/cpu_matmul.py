"""Matrix products of perceptrons and bases on a CPU, with the faster of torch's two libraries for the processor.

torch multiplies in single precision with Intel's MKL, which leaves the AVX-512 units of AMD's processors idle. torch also has
oneDNN for convolutions, which uses them. On Zen 5 (torch 2.14, one thread) a product of 64 samples, 784 inputs and 256 outputs
takes 0.13 ms with oneDNN and 0.25 ms with MKL; with 1000 samples 1.7 and 3.8 ms. On Intel's processors oneDNN gains nothing.

The choice holds for the process, like the number of threads. It depends on the processor and on sizes only, and changes only
rounding: on one machine a run always has the same result. Products in other types, on other devices, or with a derivative are
torch's own.
"""

from __future__ import annotations

import platform
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 1_500_000
"""Number of multiplications below which the call of oneDNN costs more than it saves (measured on Zen 5)."""
_onednn = False


def use(choice: str) -> str:
    """Choose `mkl`, `onednn`, or with `auto` the faster library for the processor; return the choice."""
    global _onednn
    _onednn = has_onednn() and (choice == "onednn" or (choice == "auto" and wants_onednn()))
    return taken()


def taken() -> str:
    """Return the library of large products; `mkl` stands for the default library of this torch."""
    return "onednn" if _onednn else "mkl"


def has_onednn() -> bool:
    """Return whether this torch has oneDNN's linear layer for dense tensors."""
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(there) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def wants_onednn() -> bool:
    """Return whether oneDNN is faster here: on AMD's processors with AVX-512."""
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


def subtract_product(base: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return `base` `[m, n]` minus `a` `[m, k]` times `b` `[k, n]`."""
    if _onednn and _suits(a, b.shape[1], b):
        return base - _linear(a, b.mT, None)
    return torch.addmm(base, a, b, alpha=-1)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the output `[n, out]` of a linear layer with `weight` `[out, d]` and `bias` `[out]` for `x` `[n, d]`."""
    if _onednn and _suits(x, weight.shape[0], weight):
        return _linear(x, weight, bias)
    return F.linear(x, weight, bias)


def _suits(a: Tensor, n: int, b: Tensor) -> bool:
    """Return whether oneDNN shall compute the product `[m, n]` of `a` `[m, k]` and `b`."""
    if a.dim() != 2 or a.shape[0] * a.shape[1] * n < LEAST or a.dtype is not torch.float32 or b.dtype is not torch.float32:
        return False
    return a.device.type == "cpu" and not (torch.is_grad_enabled() and (a.requires_grad or b.requires_grad))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return result


use("auto")
