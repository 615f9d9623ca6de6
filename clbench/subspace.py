"""The projection core: from layer inputs to orthonormal bases, and from bases to projections.

Conventions. A layer's weight is read as a matrix `W` `[out, d]` (a convolution's as `[out, C_in/groups * k * k]`); its
inputs are rows `x` `[n, d]` with `y = x W^T`. A basis is thin: `U` `[d, k]` with orthonormal columns, k <= d. Every row of
a weight gradient is a combination of the layer's inputs, so an update whose rows are orthogonal to U leaves the outputs
on all inputs in span(U) unchanged (Saha et al., ICLR 2021, section 4).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def rows(layer: nn.Module, inputs: Tensor, bias: bool = False) -> Tensor:
    """Return a layer's inputs as rows `[n, d]`, ordered as `weight.flatten(1)` is; a constant 1 at the end for the bias.

    Linear: `[..., d]` flattened. Conv2d: one row per output position (im2col with the layer's own kernel, stride,
    padding, dilation); with groups, the rows of all groups one after the other, as they share no weights but the width.

    Raises:
        TypeError: the layer is of a kind whose rows are not known.
    """
    if isinstance(layer, nn.Linear):
        found = inputs.reshape(-1, inputs.shape[-1])
    elif isinstance(layer, nn.Conv2d):
        found = _patches(layer, inputs)
    else:
        raise TypeError(f"no rows known for a layer of type {type(layer).__name__}")
    return torch.cat([found, found.new_ones(found.shape[0], 1)], dim=1) if bias else found


def _patches(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    if isinstance(layer.padding, str):
        raise TypeError("a convolution whose padding is given by name has no rows; give its padding in pixels")
    padding = (layer.padding[1], layer.padding[1], layer.padding[0], layer.padding[0])
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = F.pad(inputs, padding, mode=mode)
    columns = F.unfold(padded, layer.kernel_size, dilation=layer.dilation, stride=layer.stride)
    width = columns.shape[1] // layer.groups
    grouped = columns.reshape(columns.shape[0], layer.groups, width, columns.shape[2])
    return grouped.permute(0, 1, 3, 2).reshape(-1, width)


def extend(basis: Tensor | None, inputs: Tensor, threshold: float) -> Tensor:
    """Return `basis` with the fewest new directions, so that it holds at least `threshold` of the energy of `inputs`.

    New directions are left singular vectors of what the basis misses, largest first (GPM, equations 8-9; the criterion
    counts the basis's own share). A threshold of 0 adds nothing, of 1 the whole numerical range. Computed in float64.

    Args:
        basis: `[d, k]` orthonormal, or None.
        inputs: rows `[n, d]`.
        threshold: share of the squared Frobenius norm, in [0, 1].

    Returns:
        `[d, k + r]` orthonormal, in the dtype of `inputs`; never wider than d.
    """
    x = inputs.to(torch.float64)
    d = x.shape[1]
    u = torch.zeros(d, 0, dtype=torch.float64, device=x.device) if basis is None else basis.to(torch.float64)
    total = x.square().sum()
    if threshold <= 0 or float(total) == 0.0 or u.shape[1] >= d:
        return u.to(inputs.dtype)
    residual = x - (x @ u) @ u.mT
    if x.shape[0] > d:
        values, vectors = torch.linalg.eigh(residual.mT @ residual)
        energy, directions = values.flip(0).clamp(min=0), vectors.flip(1)
    else:
        _, singular, vh = torch.linalg.svd(residual, full_matrices=False)
        energy, directions = singular.square(), vh.mT
    missing = residual.square().sum()
    # Rounding leaves a residual of relative size eps in every direction; eigh of the Gram matrix squares it once more.
    floor = total * torch.finfo(torch.float64).eps * max(x.shape)
    room = min(int((energy > floor).sum()), d - u.shape[1])
    kept = (total - missing + torch.cumsum(energy[:room], 0)) / total
    covered = float((total - missing) / total) >= threshold
    r = 0 if covered else min(room, int((kept < threshold).sum()) + 1)
    if r == 0:
        return u.to(inputs.dtype)
    orthonormal: Tensor = torch.linalg.qr(torch.cat([u, directions[:, :r]], dim=1)).Q
    return orthonormal.to(inputs.dtype)


def project_out(update: Tensor, basis: Tensor, importance: Tensor | None = None) -> Tensor:
    """Return `update` `[out, d]` with its component in span(basis) removed from every row.

    Args:
        update: `[out, d]`.
        basis: `[d, k]` orthonormal.
        importance: share in [0, 1] of each direction's component that is removed, `[k]`; None: all of it.
    """
    along = update @ basis
    return update - (along if importance is None else along * importance) @ basis.mT
