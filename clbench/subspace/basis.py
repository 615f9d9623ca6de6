"""Orthonormal bases of layer inputs: extend, truncate by energy, split by angles, complement; and null spaces."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clbench.subspace.factorise import eigh, refuse_not_finite, svd
from clbench.utils.cpu_matmul import mm, subtract_product

DOUBLE = torch.float64
LEFT_OUT = 1e-3
"""If more energy than this share is left out, single precision is enough: the error of the energies is about 1e-6."""
GRAM_NOISE = 8
"""An eigenvalue of a Gram matrix counts as zero below so many rounding errors of the total."""


def extend(
    basis: Tensor | None, inputs: Tensor, threshold: float, stop_short: bool = False, held: float | None = None, least: int = 0
) -> Tensor:
    """Return `basis` with the fewest new directions that make it hold at least `threshold` of the energy of `inputs`.

    New directions are left singular vectors of the inputs' residual outside the basis, largest first (GPM, equations 8-9; the
    criterion counts the basis's own share). Threshold 0 adds nothing; 1 adds the whole numerical range. The old columns stay as
    they are. Precision: see `_precision`.

    >>> rows = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # energies 4 and 1
    >>> extend(None, rows, threshold=0.8).abs().tolist()
    [[1.0], [0.0], [0.0]]

    Args:
        basis: `[d, k]` orthonormal, or None.
        inputs: rows `[n, d]`.
        threshold: share of the squared Frobenius norm, in [0, 1].
        stop_short: take one direction less, so that the basis holds just under `threshold`.
        held: known share of the energy in the basis, in [0, 1]. `inputs` then only gives the distribution of the residual over
            directions, in any scale; at 1 nothing is added. None: measured on `inputs`.
        least: minimum number of new directions, as far as there are any.

    Returns:
        `[d, k + r]` orthonormal, in the dtype of `inputs`; at most d columns.

    Raises:
        DivergedError: `inputs` have values that are not finite.
    """
    d = inputs.shape[1]
    old = inputs.new_zeros(d, 0) if basis is None else basis.to(inputs.dtype)
    if threshold <= 0 or old.shape[1] >= d or inputs.numel() == 0 or (held is not None and held >= 1):
        return old
    refuse_not_finite(inputs, "the inputs of a layer")
    work, exact = _precision(inputs.dtype, threshold), threshold >= 1
    x, u = inputs.to(work), old.to(work)
    residual = subtract_product(x, mm(x, u), u.mT) if u.shape[1] else x
    energy, directions = spectrum(residual, exact)
    missing = energy.sum()
    flat = x.reshape(-1)
    total = flat.dot(flat) if held is None else missing / (1 - held)
    # The numerical rank in the precision of the inputs. A Gram matrix gives energies only to eps.
    noise = (torch.finfo(inputs.dtype).eps * max(x.shape)) ** 2
    floor = total * (noise if exact else max(noise, GRAM_NOISE * torch.finfo(work).eps))
    room = torch.minimum((energy > floor).sum(), torch.tensor(d - u.shape[1], device=energy.device))
    reached = (total - missing + energy.cumsum(0)) / total
    r = torch.where((total - missing) / total >= threshold, 0, torch.minimum((reached < threshold).sum() + 1, room))
    count = max(min(least, int(room)), int(r) - int(stop_short)) if float(total) > 0 else 0
    if count == 0:
        return old
    return torch.cat([old, _off(directions(count).to(DOUBLE), old.to(DOUBLE), exact).to(inputs.dtype)], dim=1)


def _precision(dtype: torch.dtype, threshold: float) -> torch.dtype:
    """Return the precision for energies: single is enough if the energy left out is much larger than its rounding error."""
    return DOUBLE if threshold > 1 - LEFT_OUT else torch.promote_types(dtype, torch.float32)


def spectrum(rows: Tensor, exact: bool = False) -> tuple[Tensor, Callable[[int], Tensor]]:
    """Return the squared singular values of `rows` `[n, d]`, largest first, and a function for their directions.

    The function takes a count r and returns the first r directions `[d, r]`. They cost a matrix product, so the function makes
    only those that are needed. The default uses the Gram matrix of the shorter side. It loses singular values below the root of
    the precision (1e-8 of the largest in double, 3e-4 in single). `exact` uses a singular value decomposition.

    >>> spectrum(torch.tensor([[3.0, 0.0], [0.0, 2.0]]))[0].tolist()
    [9.0, 4.0]
    """
    n, d = rows.shape
    if exact:
        _, singular, vh = svd(rows)
        return singular.square(), lambda count: vh[:count].mT
    if n > d:
        values, vectors = eigh(mm(rows.mT, rows))
        return values.flip(0).clamp(min=0), lambda count: vectors[:, d - count :].flip(1)
    values, vectors = eigh(mm(rows, rows.mT))
    energy = values.flip(0).clamp(min=0)
    tiny = torch.finfo(rows.dtype).tiny
    return energy, lambda count: mm(rows.mT, vectors[:, n - count :].flip(1)) / energy[:count].sqrt().clamp(min=tiny)


def _off(directions: Tensor, basis: Tensor, exact: bool) -> Tensor:
    """Return `directions` `[d, r]` orthonormal among themselves and to `basis` `[d, k]`.

    Each pass squares the remaining overlap. Directions from a Gram matrix have a small overlap, because directions within its
    rounding error are not taken: one pass is enough. A Cholesky factor then makes them orthonormal at a third of the cost of
    Householder reflections. An `exact` decomposition may give directions of almost no energy: it needs two passes (Kahan:
    "twice is enough").
    """
    if not exact:
        directions = directions - basis @ (basis.mT @ directions)
        factor, failed = torch.linalg.cholesky_ex(directions.mT @ directions)
        if not int(failed):
            whole: Tensor = torch.linalg.solve_triangular(factor, directions.mT, upper=False).mT
            return whole
    for _ in range(2):
        directions, _ = torch.linalg.qr(directions - basis @ (basis.mT @ directions))
    return directions


def leading(rows: Tensor, share: float) -> Tensor:
    """Return the fewest leading directions `[d, q]`, at least one, that hold `share` of the energy of `rows` `[n, d]`.

    Rows of zeros give no direction.

    >>> leading(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), share=0.8).abs().tolist()
    [[1.0], [0.0]]
    """
    if not bool(rows.any()):
        return rows.new_zeros(rows.shape[1], 0)
    energy, directions = spectrum(rows.to(_precision(rows.dtype, share)))
    held = energy.cumsum(0) / energy.sum()
    count = min(int((held < share).sum()) + 1, len(energy))
    orthonormal: Tensor = torch.linalg.qr(directions(count).to(DOUBLE)).Q
    return orthonormal.to(rows.dtype)


def complement(basis: Tensor) -> Tensor:
    """Return an orthonormal basis `[d, d - k]` of the orthogonal complement of `basis` `[d, k]`.

    >>> complement(torch.tensor([[1.0], [0.0]])).abs().tolist()
    [[0.0], [1.0]]
    """
    full: Tensor = torch.linalg.qr(basis.to(DOUBLE), mode="complete").Q
    return full[:, basis.shape[1] :].to(basis.dtype)


def relax(frozen: Tensor, wanted: Tensor, cosine: float) -> tuple[Tensor, Tensor]:
    """Split `frozen` into the directions near `wanted` and the rest.

    One decomposition gives the principal vectors of the two spaces in closed form. With `frozen^T wanted = X diag(cos) Y^T`, the
    columns of `frozen X` have the cosines `cos` to span(wanted) (Bjorck and Golub, 1973). ROGO's greedy search (Yang et al., AI
    Open 2023) finds the same directions one by one.

    Args:
        frozen: `[d, k]` orthonormal.
        wanted: `[d, q]` orthonormal.
        cosine: cosine of the largest angle that counts as near.

    Returns:
        The near directions `[d, r]`, nearest first, and the rest `[d, k - r]`. Together they are an orthonormal basis of
        span(frozen).
    """
    x, cosines, _ = svd(frozen.to(DOUBLE).mT @ wanted.to(DOUBLE), full=True)
    near = int((cosines >= cosine).sum())
    turned = (frozen.to(DOUBLE) @ x).to(frozen.dtype)
    return (turned[:, :near], turned[:, near:]) if near else (turned[:, :0], frozen)


def null_space(second_moment: Tensor, ratio: float) -> Tensor:
    """Return the eigenvectors `[d, m]` of `second_moment` `[d, d]` with at most `ratio` times its smallest eigenvalue.

    The approximate null space of Adam-NSCL (Wang et al., CVPR 2021, section 4.2), with at least one direction. Eigenvalues below
    the rounding error, negative ones included, count as the rounding error.

    >>> null_space(torch.diag(torch.tensor([1.0, 100.0])), ratio=10.0).abs().tolist()
    [[1.0], [0.0]]
    """
    values, vectors = eigh(second_moment.to(DOUBLE))
    values = values.clamp(min=float(values[-1]) * torch.finfo(second_moment.dtype).eps)
    quiet: Tensor = vectors[:, values <= ratio * values[0]]
    return quiet.to(second_moment.dtype)
