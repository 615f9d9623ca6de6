"""The precision of forward passes; weights, steps and computations of methods stay in single precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

Precision = Literal["float32", "tf32", "bf16"]
"""`float32`: IEEE single precision everywhere. `tf32`: products of a CUDA device's tensor cores, with inputs rounded to 10 bits;
elsewhere the same as float32. `bf16`: torch's autocast to bfloat16, losses in single precision."""


def arithmetic(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context of a run's forward passes; it can be entered any number of times.

    Also sets, for this process, whether float32 products may use TF32: torch's own defaults let convolutions and not matrix
    products, so that "float32" would mean two things.
    """
    allow = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = allow
    torch.backends.cudnn.allow_tf32 = allow
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def full(logits: Tensor) -> Tensor:
    """Return logits in single precision, also after autocast: losses are computed from these."""
    return logits.float() if logits.dtype == torch.bfloat16 else logits
