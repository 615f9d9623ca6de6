"""Projections of an update `[out, d]` and its bias's `[out]`, by whichever of two thin products is the cheaper."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clbench.subspace.basis import complement
from clbench.utils.cpu_matmul import less, mm


@dataclass(frozen=True)
class Projector:
    """`W U diag(shares) U^T`, or `W` without it.

    Args:
        basis: U without the bias's row, `[d, k]`.
        constant: the bias's row of U, `[k]`, or None.
        shares: `[k]`, or None: all 1.
        keeps: whether the component in U is what stays, else what goes.
    """

    basis: Tensor
    constant: Tensor | None
    shares: Tensor | None
    keeps: bool

    def __call__(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the projected update of a weight `[out, d]` and of its bias `[out]`, as new tensors."""
        along = mm(weight, self.basis)
        if self.constant is not None and bias is not None:
            along = torch.addr(along, bias, self.constant)
        if self.shares is not None:
            along = along * self.shares
        if self.keeps:
            return mm(along, self.basis.mT), None if bias is None else along @ self._row(bias)
        kept = less(weight, along, self.basis.mT)
        return kept, None if bias is None else bias - along @ self._row(bias)

    def _row(self, bias: Tensor) -> Tensor:
        return bias.new_zeros(self.basis.shape[1]) if self.constant is None else self.constant


def remove(basis: Tensor, bias: bool, importance: Tensor | None = None) -> Projector:
    """Return what removes the component in span(basis).

    Where the basis fills more than half of the space, the component in its complement is computed instead of taking the
    other away: fewer operations, and the result lies in the allowed space to its own precision.

    Args:
        basis: `[d, k]` orthonormal; with `bias` its last row belongs to the bias.
        bias: whether it does.
        importance: share in [0, 1] of each direction's component that is removed, `[k]`; None: all of it.
    """
    d, k = basis.shape
    if importance is None:
        return keep(complement(basis), bias) if 2 * k > d else _make(basis, bias, None, False)
    free = importance < 1
    if d - k + int(free.sum()) >= int((importance > 0).sum()):
        return _make(basis, bias, importance, False)
    rest = complement(basis)
    shares = torch.cat([rest.new_ones(rest.shape[1]), 1 - importance[free]])
    return _make(torch.cat([rest, basis[:, free]], dim=1), bias, shares, True)


def keep(basis: Tensor, bias: bool) -> Projector:
    """Return what leaves the component in span(basis) only; arguments as of `remove`."""
    return _make(basis, bias, None, True)


def _make(basis: Tensor, bias: bool, shares: Tensor | None, keeps: bool) -> Projector:
    top = basis[:-1] if bias else basis
    # Columns one after the other in memory: of a product with U and one with its transpose, a few rows at a time, both are fast.
    return Projector(top.mT.contiguous().mT, basis[-1].contiguous() if bias else None, shares, keeps)
