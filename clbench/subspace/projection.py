"""Projections of a weight's update `[out, d]` and its bias's update `[out]`, by the cheaper of two thin matrix products."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clbench.subspace.basis import complement
from clbench.utils.cpu_matmul import mm, subtract_product


@dataclass(frozen=True)
class Projector:
    """The component `W U diag(shares) U^T` of an update W, or W minus this component.

    Args:
        basis: U without the bias's row, `[d, k]`.
        constant: the bias's row of U, `[k]`, or None.
        shares: `[k]`, or None: all 1.
        keeps: True: return the component in U. False: return the update without this component.
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
        kept = subtract_product(weight, along, self.basis.mT)
        return kept, None if bias is None else bias - along @ self._row(bias)

    def _row(self, bias: Tensor) -> Tensor:
        return bias.new_zeros(self.basis.shape[1]) if self.constant is None else self.constant


def remove(basis: Tensor, bias: bool, importance: Tensor | None = None) -> Projector:
    """Return the projector that removes the component in span(basis).

    If the basis fills more than half of the space, the projector computes the component in the complement. This takes fewer
    operations, and the result lies in the allowed space to its own precision.

    >>> project = remove(torch.tensor([[1.0], [0.0], [0.0]]), bias=False)
    >>> project(torch.tensor([[5.0, 6.0, 7.0]]), None)[0].tolist()
    [[0.0, 6.0, 7.0]]

    Args:
        basis: `[d, k]` orthonormal. With `bias` its last row belongs to the bias.
        bias: whether the last row of `basis` belongs to the bias.
        importance: share in [0, 1] of each direction's component that is removed, `[k]`; None: the whole component.
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
    """Return the projector that leaves only the component in span(basis); arguments as of `remove`."""
    return _make(basis, bias, None, True)


def _make(basis: Tensor, bias: bool, shares: Tensor | None, keeps: bool) -> Projector:
    top = basis[:-1] if bias else basis
    # Column after column in memory: for a few rows, the product with U and the product with its transpose are both fast then.
    return Projector(top.mT.contiguous().mT, basis[-1].contiguous() if bias else None, shares, keeps)
