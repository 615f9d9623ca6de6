"""Orthonormal bases: by energy, extended by what is new, split by angles; and null spaces."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clbench.utils.cpu_matmul import less, mm

DOUBLE = torch.float64
LEFT_OUT = 1e-3
"""Share of energy left out above which single precision is enough: a Gram matrix then knows the energies to about 1e-6."""
GRAM_NOISE = 8
"""Roundings of the total within which an eigenvalue of a Gram matrix counts as zero."""


def extend(
    basis: Tensor | None, inputs: Tensor, threshold: float, stop_short: bool = False, held: float | None = None, least: int = 0
) -> Tensor:
    """Return `basis` with the fewest new directions, so that it holds at least `threshold` of the energy of `inputs`.

    New directions are left singular vectors of what the basis misses, largest first (GPM, equations 8-9; the criterion
    counts the basis's own share). A threshold of 0 adds nothing, of 1 the whole numerical range. The columns of `basis`
    come out as they went in. Precision: see `_precision`.

    Args:
        basis: `[d, k]` orthonormal, or None.
        inputs: rows `[n, d]`.
        threshold: share of the squared Frobenius norm, in [0, 1].
        stop_short: take one direction less, so that just under `threshold` is held.
        held: share of the energy that the basis holds already, in [0, 1], where it is known: `inputs` then only say how what
            it misses is spread over directions, in any scale; at 1 nothing is added. None: measured on `inputs`.
        least: take at least so many new directions, if there are any.

    Returns:
        `[d, k + r]` orthonormal, in the dtype of `inputs`; never wider than d.
    """
    d = inputs.shape[1]
    old = inputs.new_zeros(d, 0) if basis is None else basis.to(inputs.dtype)
    if threshold <= 0 or old.shape[1] >= d or inputs.numel() == 0 or (held is not None and held >= 1):
        return old
    work, exact = _precision(inputs.dtype, threshold), threshold >= 1
    x, u = inputs.to(work), old.to(work)
    residual = less(x, mm(x, u), u.mT) if u.shape[1] else x
    energy, directions = spectrum(residual, exact)
    missing = energy.sum()
    flat = x.reshape(-1)
    total = flat.dot(flat) if held is None else missing / (1 - held)
    # The numerical rank, of what was computed in the inputs' own precision; a Gram matrix knows energies only to eps.
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
    """Return the precision in which energies are computed: single is enough where much more than its rounding is left out."""
    return DOUBLE if threshold > 1 - LEFT_OUT else torch.promote_types(dtype, torch.float32)


def spectrum(rows: Tensor, exact: bool = False) -> tuple[Tensor, Callable[[int], Tensor]]:
    """Return the squared singular values of `rows` `[n, d]`, largest first, and a function for the directions they belong to.

    The function takes a count r and returns the first r directions `[d, r]`: they cost a product, which is why only those
    wanted are made. Through the Gram matrix of the shorter side, which loses singular values below the root of the precision
    (1e-8 of the largest in double, 3e-4 in single), or `exact` through a singular value decomposition.
    """
    n, d = rows.shape
    if exact:
        _, singular, vh = torch.linalg.svd(rows, full_matrices=False)
        return singular.square(), lambda count: vh[:count].mT
    if n > d:
        values, vectors = torch.linalg.eigh(mm(rows.mT, rows))
        return values.flip(0).clamp(min=0), lambda count: vectors[:, d - count :].flip(1)
    values, vectors = torch.linalg.eigh(mm(rows, rows.mT))
    energy = values.flip(0).clamp(min=0)
    tiny = torch.finfo(rows.dtype).tiny
    return energy, lambda count: mm(rows.mT, vectors[:, n - count :].flip(1)) / energy[:count].sqrt().clamp(min=tiny)


def _off(directions: Tensor, basis: Tensor, exact: bool) -> Tensor:
    """Return `directions` `[d, r]` orthonormal among themselves and to `basis` `[d, k]`.

    A pass squares what is left of the overlap. From a Gram matrix that is small (no direction within its rounding is taken), so
    that one pass is enough, and a Cholesky factor makes them orthonormal at a third of the price of Householder's reflections.
    An `exact` decomposition may hold directions that are hardly there, and wants two ("twice is enough", says Kahan).
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

    Rows of zeros have none.
    """
    if not bool(rows.any()):
        return rows.new_zeros(rows.shape[1], 0)
    energy, directions = spectrum(rows.to(_precision(rows.dtype, share)))
    held = energy.cumsum(0) / energy.sum()
    count = min(int((held < share).sum()) + 1, len(energy))
    orthonormal: Tensor = torch.linalg.qr(directions(count).to(DOUBLE)).Q
    return orthonormal.to(rows.dtype)


def complement(basis: Tensor) -> Tensor:
    """Return an orthonormal basis `[d, d - k]` of what is orthogonal to `basis` `[d, k]`."""
    full: Tensor = torch.linalg.qr(basis.to(DOUBLE), mode="complete").Q
    return full[:, basis.shape[1] :].to(basis.dtype)


def relax(frozen: Tensor, wanted: Tensor, cosine: float) -> tuple[Tensor, Tensor]:
    """Split `frozen` into the directions near to `wanted` and the rest.

    The principal vectors of the two spaces, in closed form by one decomposition: with `frozen^T wanted = X diag(cos) Y^T`
    the columns of `frozen X` have the angles `cos` to span(wanted) (Bjorck and Golub, 1973). ROGO's greedy search (Yang et
    al., AI Open 2023) finds the same directions one by one.

    Args:
        frozen: `[d, k]` orthonormal.
        wanted: `[d, q]` orthonormal.
        cosine: of the largest angle that is still near.

    Returns:
        Near `[d, r]`, nearest first, and rest `[d, k - r]`; together an orthonormal basis of span(frozen).
    """
    x, cosines, _ = torch.linalg.svd(frozen.to(DOUBLE).mT @ wanted.to(DOUBLE), full_matrices=True)
    near = int((cosines >= cosine).sum())
    turned = (frozen.to(DOUBLE) @ x).to(frozen.dtype)
    return (turned[:, :near], turned[:, near:]) if near else (turned[:, :0], frozen)


def null_space(second_moment: Tensor, ratio: float) -> Tensor:
    """Return the directions `[d, m]` in which `second_moment` `[d, d]` is at most `ratio` times its smallest eigenvalue.

    The approximate null space of Adam-NSCL (Wang et al., CVPR 2021, section 4.2): at least one direction. Eigenvalues that
    rounding made negative, or that lie within it, count as its size.
    """
    values, vectors = torch.linalg.eigh(second_moment.to(DOUBLE))
    values = values.clamp(min=float(values[-1]) * torch.finfo(second_moment.dtype).eps)
    quiet: Tensor = vectors[:, values <= ratio * values[0]]
    return quiet.to(second_moment.dtype)
