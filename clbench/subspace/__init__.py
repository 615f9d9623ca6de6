"""The projection core: from layer inputs to orthonormal bases, and from bases to projections.

Conventions. A layer's weight is read as a matrix `W` `[out, d]` (a convolution's as `[out, C_in/groups * k * k]`); its
inputs are rows `x` `[n, d]` with `y = x W^T`. With a bias, a constant 1 is appended to every row and the bias is the last
column of `W`. A basis is thin: `U` `[d, k]` with orthonormal columns, k <= d. Every row of a weight gradient is a
combination of the layer's inputs, so an update whose rows are orthogonal to U leaves the outputs on all inputs in span(U)
unchanged (Saha et al., ICLR 2021, section 4).
"""

from clbench.subspace.basis import complement, extend, leading, null_space, relax
from clbench.subspace.decomposition import compose, decompose, keep_off
from clbench.subspace.layer_inputs import Call, Weight, weights, with_one
from clbench.subspace.projection import Projector, keep, remove

__all__ = [
    "Call",
    "Projector",
    "Weight",
    "complement",
    "compose",
    "decompose",
    "extend",
    "keep",
    "keep_off",
    "leading",
    "null_space",
    "relax",
    "remove",
    "weights",
    "with_one",
]
