"""Singular value decompositions of weights, split into a part that stays and a part that learns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """W = (U_high * S_high) V_high + (U_low * S_low) V_low, largest singular values first.

    Args:
        high: U `[out, k]`, S `[k]`, V `[k, in]` (rows), of the k largest singular values.
        low: U `[out, p - k]`, S `[p - k]`, V `[p - k, in]` of the others; p = min(out, in).
    """

    high: tuple[Tensor, Tensor, Tensor]
    low: tuple[Tensor, Tensor, Tensor]


def decompose(weight: Tensor, rank: int) -> Split:
    """Return the thin singular value decomposition of `weight` `[out, in]`, split after the first `rank` triples.

    In single precision, or in the weight's own if that is better; every part is a contiguous tensor of its own.
    """
    exact = weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
    u, s, v = torch.linalg.svd(exact, full_matrices=False)
    parts = (u[:, :rank], s[:rank], v[:rank]), (u[:, rank:], s[rank:], v[rank:])
    high, low = (tuple(each.contiguous().clone() for each in part) for part in parts)
    return Split((high[0], high[1], high[2]), (low[0], low[1], low[2]))


def compose(u: Tensor, s: Tensor, v: Tensor, rest: Tensor | None = None) -> Tensor:
    """Return (u * s) v `[out, in]`, and `rest` added to it."""
    return (u * s) @ v if rest is None else torch.addmm(rest, u * s, v)


def keep_off(step: Tensor, basis: Tensor) -> Tensor:
    """Take from the columns of `step` `[d, r]`, in place, what lies in span(basis); return its coordinates `[k, r]`.

    Args:
        step: `[d, r]`; a transposed view does as well.
        basis: `[d, k]` orthonormal.
    """
    along = basis.mT @ step
    step.addmm_(basis, along, alpha=-1)
    return along
