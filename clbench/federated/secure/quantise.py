"""Real numbers as whole steps of a range, and back."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clbench.errors import ClbenchError
from clbench.federated.secure.field import PRIME

LOWEST, HIGHEST = -1000, 1000
"""Exponents of the ranges that double precision has steps for."""


def step(clip: float, bits: int) -> float:
    """Return the width of one of the `2 ** bits` steps in [-clip, clip].

    A power of two where `clip` is one: then the sum of any multiples of the step, such as counts, is exact.
    """
    return clip / float(1 << (bits - 1))


def quantise(values: Tensor, clip: float, bits: int) -> Tensor:
    """Return the nearest whole numbers of steps, as elements of the field, int64: at most half a step off within the range.

    Args:
        values: real, of any shape; what lies outside [-clip, clip] is moved to its end.
        clip: half of the range.
        bits: see `step`.
    """
    whole = values.to(torch.float64).clamp(-clip, clip).div(step(clip, bits)).round_()
    return whole.to(torch.int64).remainder_(PRIME)


def dequantise(total: Tensor, clip: float, bits: int) -> Tensor:
    """Return the real numbers, float64, that whole numbers of steps stand for."""
    return total.to(torch.float64).mul_(step(clip, bits))


def exponent(name: str, values: Tensor) -> int:
    """Return the smallest e with |values| <= 2^e; waits for the device.

    Raises:
        ClbenchError: a value is not finite, or beyond 2^1000.
    """
    largest = float(values.detach().abs().max()) if values.numel() else 0.0
    mantissa, power = math.frexp(largest) if math.isfinite(largest) else (1.0, HIGHEST + 1)
    power -= mantissa == 0.5
    if power > HIGHEST:
        raise ClbenchError(f"{name} holds {largest}, which no secure sum can take", "answers must be finite")
    return max(power, LOWEST) if largest else LOWEST
