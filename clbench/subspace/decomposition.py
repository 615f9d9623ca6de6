"""Singular value decompositions of weights, in two parts: large singular values, which stay, and small ones, which learn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clbench.subspace.factorise import svd


@dataclass(frozen=True)
class TwoPartSVD:
    """W = (U_high * S_high) V_high + (U_low * S_low) V_low, largest singular values first.

    Args:
        high: U `[out, k]`, S `[k]` and V `[k, in]` (rows) of the k largest singular values.
        low: U `[out, p - k]`, S `[p - k]` and V `[p - k, in]` of the others; p = min(out, in).
    """

    high: tuple[Tensor, Tensor, Tensor]
    low: tuple[Tensor, Tensor, Tensor]


def decompose(weight: Tensor, rank: int) -> TwoPartSVD:
    """Return the thin singular value decomposition of `weight` `[out, in]`, in two parts after the first `rank` triples.

    Computed in single precision, or in the weight's own precision if that is higher. Every part is a separate contiguous tensor.

    >>> decompose(torch.diag(torch.tensor([3.0, 2.0])), rank=1).high[1].tolist()
    [3.0]
    """
    exact = weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
    u, s, v = svd(exact)
    parts = (u[:, :rank], s[:rank], v[:rank]), (u[:, rank:], s[rank:], v[rank:])
    high, low = (tuple(each.contiguous().clone() for each in part) for part in parts)
    return TwoPartSVD((high[0], high[1], high[2]), (low[0], low[1], low[2]))


def compose(u: Tensor, s: Tensor, v: Tensor, rest: Tensor | None = None) -> Tensor:
    """Return (u * s) v `[out, in]`, plus `rest` if it is given.

    >>> compose(torch.ones(2, 1), torch.tensor([3.0]), torch.ones(1, 2)).tolist()
    [[3.0, 3.0], [3.0, 3.0]]
    """
    return (u * s) @ v if rest is None else torch.addmm(rest, u * s, v)


def keep_off(step: Tensor, basis: Tensor) -> Tensor:
    """Subtract from the columns of `step` `[d, r]`, in place, their component in span(basis); return its coordinates `[k, r]`.

    >>> step = torch.tensor([[3.0], [2.0]])
    >>> keep_off(step, torch.tensor([[1.0], [0.0]])).tolist(), step.tolist()
    ([[3.0]], [[0.0], [2.0]])

    Args:
        step: `[d, r]`; may be a transposed view.
        basis: `[d, k]` orthonormal.
    """
    along = basis.mT @ step
    step.addmm_(basis, along, alpha=-1)
    return along
