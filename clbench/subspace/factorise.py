"""Eigenvalues and singular values of any finite matrix, and a clear error for values that are not finite.

The routines of LAPACK sometimes do not converge on finite matrices, for example in single precision where most inputs of a layer
are zero. The decomposition is then made again in double precision, of the matrix divided by its largest entry. Matrices on which
the first attempt succeeds have the same result as with torch's own functions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clbench.errors import DivergedError

FAILED = torch.linalg.LinAlgError  # type: ignore[attr-defined]

REMEDY = "lower optimizer.lr or the method's strength, or set trainer.clip_norm"


def refuse_not_finite(values: Tensor, what: str = "a matrix that is to be decomposed", remedy: str = REMEDY) -> None:
    """Refuse `values` that are not all finite: training has diverged. Waits for the device.

    Args:
        values: of any shape.
        what: the name of the values in the message.
        remedy: what the user can do.

    Raises:
        DivergedError: a value is infinite or not a number.
    """
    wrong = int((~values.isfinite()).sum())
    if wrong:
        shape = " x ".join(map(str, values.shape))
        raise DivergedError(f"{what} ({shape}) has {wrong} values that are infinite or not a number", remedy)


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues `[d]`, ascending, and the eigenvectors `[d, d]`, as columns, of a symmetric matrix `[d, d]`.

    >>> eigh(torch.diag(torch.tensor([2.0, 1.0])))[0].tolist()
    [1.0, 2.0]

    Raises:
        DivergedError: the matrix has values that are not finite.
    """
    return _again(matrix, lambda each: tuple(torch.linalg.eigh(each)), _eigh_by_svd, scaled=0)  # type: ignore[return-value]


def svd(matrix: Tensor, full: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Return U, S, V^T of a matrix `[n, d]`, largest singular values first; `full` as `full_matrices` of torch.

    >>> svd(torch.diag(torch.tensor([2.0, 3.0])))[1].tolist()
    [3.0, 2.0]

    Raises:
        DivergedError: the matrix has values that are not finite.
    """

    def plain(each: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.linalg.svd(each, full_matrices=full))

    def turned(each: Tensor) -> tuple[Tensor, ...]:
        u, s, vh = torch.linalg.svd(each.mT, full_matrices=full)
        return vh.mT, s, u.mT

    return _again(matrix, plain, turned, scaled=1)  # type: ignore[return-value]


def eigvalsh(matrix: Tensor) -> Tensor:
    """Return the eigenvalues `[d]`, ascending, of a symmetric matrix `[d, d]`; errors as of `eigh`.

    >>> eigvalsh(torch.diag(torch.tensor([2.0, 1.0]))).tolist()
    [1.0, 2.0]
    """
    return _again(matrix, lambda each: (torch.linalg.eigvalsh(each),), lambda each: _eigh_by_svd(each)[:1], scaled=0)[0]


def svdvals(matrix: Tensor) -> Tensor:
    """Return the singular values of a matrix `[n, d]`, largest first; errors as of `svd`.

    >>> svdvals(torch.diag(torch.tensor([2.0, 3.0]))).tolist()
    [3.0, 2.0]
    """
    return _again(matrix, lambda each: (torch.linalg.svdvals(each),), lambda each: (torch.linalg.svdvals(each.mT),), scaled=0)[0]


def _again(
    matrix: Tensor, plain: Callable[[Tensor], tuple[Tensor, ...]], other: Callable[[Tensor], tuple[Tensor, ...]], scaled: int
) -> tuple[Tensor, ...]:
    """Return `plain(matrix)`; where that fails, the same in double precision, and at last `other` in double precision.

    Args:
        matrix: to decompose.
        plain: the decomposition.
        other: the same by another algorithm.
        scaled: position of the part that grows with the matrix.
    """
    try:
        found = plain(matrix)
        if bool(found[scaled].isfinite().all()):
            return found
    except FAILED:
        pass
    refuse_not_finite(matrix)
    largest = matrix.double().abs().max()
    exact = matrix.double() / largest
    try:
        found = plain(exact)
    except FAILED:
        found = other(exact)
    parts = list(found)
    parts[scaled] = parts[scaled] * largest
    return tuple(part.to(matrix.dtype) for part in parts)


def _eigh_by_svd(matrix: Tensor) -> tuple[Tensor, ...]:
    """Return what `eigh` does: the singular vectors of a symmetric matrix, with the sign by which the two sides differ."""
    u, s, vh = torch.linalg.svd(matrix)
    values, order = (s * torch.sign((u * vh.mT).sum(0))).sort()
    return values, u[:, order]
