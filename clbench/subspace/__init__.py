"""Subspaces of layer inputs: orthonormal bases from inputs, and projections of updates from bases.

Conventions. A layer's weight is a matrix `W` `[out, d]` (of a convolution: `[out, C_in/groups * k * k]`). The layer's inputs are
rows `x` `[n, d]` with `y = x W^T`. With a bias, every row gets a constant 1 at its end, and the bias is the last column of `W`.
A basis is thin: `U` `[d, k]` with orthonormal columns, k <= d. Every row of a weight gradient is a combination of the layer's
inputs. So an update with rows orthogonal to U leaves the outputs on all inputs in span(U) unchanged (Saha et al., ICLR 2021,
section 4).
"""

from clbench.subspace.basis import complement, extend, leading, null_space, relax
from clbench.subspace.decomposition import compose, decompose, keep_off
from clbench.subspace.factorise import eigh, eigvalsh, refuse_not_finite, svd, svdvals
from clbench.subspace.layer_inputs import Call, Weight, weights, with_one
from clbench.subspace.projection import Projector, keep, remove

__all__ = [
    "Call",
    "Projector",
    "Weight",
    "complement",
    "compose",
    "decompose",
    "eigh",
    "eigvalsh",
    "extend",
    "keep",
    "keep_off",
    "leading",
    "null_space",
    "refuse_not_finite",
    "relax",
    "remove",
    "svd",
    "svdvals",
    "weights",
    "with_one",
]
