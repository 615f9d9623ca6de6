"""Quantisation: real numbers as whole numbers of steps in a range, and back."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clbench.errors import ClbenchError
from clbench.federated.secure.field import PRIME

LOWEST, HIGHEST = -1000, 1000
"""Smallest and largest exponent of a range, for steps in double precision."""


def step(clip: float, bits: int) -> float:
    """Return the width of one of the `2 ** bits` steps in [-clip, clip].

    If `clip` is a power of two, so is the step. Then sums of multiples of the step, such as counts, are exact.

    >>> step(1.0, 3)
    0.25
    """
    return clip / float(1 << (bits - 1))


def quantise(values: Tensor, clip: float, bits: int) -> Tensor:
    """Return the nearest whole numbers of steps, as elements of the field, int64. Within the range the error is half a step.

    >>> dequantise(quantise(torch.tensor([0.3, 7.0]), 1.0, 3), 1.0, 3).tolist()
    [0.25, 1.0]

    Args:
        values: real numbers, of any shape. Values outside [-clip, clip] are clipped.
        clip: half of the range.
        bits: see `step`.
    """
    whole = values.to(torch.float64).clamp(-clip, clip).div(step(clip, bits)).round_()
    return whole.to(torch.int64).remainder_(PRIME)


def dequantise(total: Tensor, clip: float, bits: int) -> Tensor:
    """Return the real numbers, float64, that whole numbers of steps represent."""
    return total.to(torch.float64).mul_(step(clip, bits))


def exponent(name: str, values: Tensor) -> int:
    """Return the smallest e with |values| <= 2^e. Waits for the device.

    >>> exponent("weight", torch.tensor([0.5, -3.0]))
    2

    Raises:
        ClbenchError: a value is not finite, or larger than 2^1000.
    """
    largest = float(values.detach().abs().max()) if values.numel() else 0.0
    mantissa, power = math.frexp(largest) if math.isfinite(largest) else (1.0, HIGHEST + 1)
    power -= mantissa == 0.5
    if power > HIGHEST:
        raise ClbenchError(f"{name} holds {largest}, too large for a secure sum", "answers must be finite")
    return max(power, LOWEST) if largest else LOWEST
