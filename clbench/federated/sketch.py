"""Random sketches of layer inputs at FOT's clients, and the principal subspace that the server takes from their sum.

With the inputs of client k as rows `X_k` `[n_k, d]` and random `G_k` `[n_k, m]`, a sketch is `X_k^T G_k` `[d, m]`. The sum over
clients is `[X_1^T .. X_K^T] [G_1; ..; G_K]`. Its columns are random combinations of all inputs. If m is a few times d, its
leading left singular vectors are nearly those of the pooled inputs (Bakman et al., ICLR 2024: global principal subspace
extraction, GPSE). All values that clients send here can be summed over clients, so the server needs only the sums.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from clbench import subspace

Distribution = Literal["normal", "uniform"]
Ratio = Literal["energy", "norm"]


def columns(rows: int, width: int, distribution: Distribution, draws: torch.Generator, like: Tensor) -> Tensor:
    """Return random G `[rows, width]` with the dtype and device of `like`: standard `normal`, or `uniform` in [-1, 1).

    The scale has no effect: the singular values of a sum of sketches are compared only with each other.
    """
    empty = torch.empty(rows, width, device=like.device, dtype=like.dtype)
    return empty.normal_(generator=draws) if distribution == "normal" else empty.uniform_(-1, 1, generator=draws)


def missed(rows: Tensor, basis: Tensor | None) -> Tensor:
    """Return `rows` `[n, d]` without their component in `basis` `[d, k]`; None: an empty basis."""
    if basis is None or basis.shape[1] == 0:
        return rows
    basis = basis.to(rows.dtype)
    return torch.addmm(rows, rows @ basis, basis.mT, alpha=-1)


class Sketch:
    """A client's sketch of one layer, summed batch by batch. It stores no inputs."""

    def __init__(self, basis: Tensor | None) -> None:
        """Start an empty sketch.

        Args:
            basis: the server's basis `[d, k]`, orthonormal. The sketch leaves out the inputs' component in it.
        """
        self.basis = basis
        self.matrix: Tensor | None = None
        """The sum `[d, m]` so far."""
        self.rows = 0
        self._energies: Tensor | None = None

    def add(self, rows: Tensor, random: Tensor) -> None:
        """Add inputs `[n, d]`, combined by `random` `[n, m]`, which must be new for every batch, layer and client."""
        rest = missed(rows, self.basis)
        energies = torch.stack([each.to(torch.float64).square().sum() for each in (rows, rest)])
        self._energies = energies if self._energies is None else self._energies + energies
        self.matrix = rest.mT @ random if self.matrix is None else self.matrix.addmm_(rest.mT, random)
        self.rows += len(rows)

    def energies(self) -> Tensor:
        """Return the energies that accompany the matrix, summed over all batches. The server sums them over clients.

        With the inputs as rows X `[n, d]` and the basis U they are: n, the squared Frobenius norm of X, that of `X - X U U^T`,
        and n times the ratio of the two norms (for the authors' mean).

        Returns:
            `[4]` in double precision, on the device of the inputs, so that there is no copy to the host.
        """
        if self._energies is None:
            return torch.zeros(4, dtype=torch.float64)
        whole, rest = self._energies
        ratio = torch.where(whole > 0, rest / whole, 0).sqrt()
        return torch.stack([torch.full_like(whole, self.rows), whole, rest, self.rows * ratio])


def held(summed: Tensor, ratio: Ratio) -> float:
    """Return the share of the pooled inputs' energy in the basis.

    Args:
        summed: sum over clients of `Sketch.energies`, `[4]`.
        ratio: `energy`: 1 - ||X_missed||^2 / ||X||^2, exactly this share. `norm`: 1 - w, with w the mean over clients of
            ||X_missed|| / ||X||, weighted by their rows, as in the authors' program. w is the root of the missing share, so the
            held share is too small, and more directions are added than the threshold asks for.
    """
    rows, whole, rest, norms = summed.tolist()
    left = rest / whole if ratio == "energy" and whole > 0 else norms / rows if rows > 0 else 0.0
    return min(1.0, max(0.0, 1 - left))


def extend(
    basis: Tensor | None, summed: Tensor, energies: Tensor, threshold: float, ratio: Ratio = "energy", at_least_one: bool = False
) -> Tensor:
    """Return `basis` with the fewest new directions that make it hold a share `threshold` of the pooled inputs' energy.

    Let r be the share that the basis misses. The new directions must hold a share (r - (1 - threshold)) / r of the sketch's
    energy (Bakman et al., and `expand_orth_set` of the authors' program). If this share is not positive, no direction is added.

    Args:
        basis: `[d, k]` orthonormal, the basis that the clients' sketches leave out; None: an empty basis.
        summed: sum of the clients' sketches, `[d, m]`.
        energies: sum of their energies, `[4]`.
        threshold: share of energy, in [0, 1]; 0 adds nothing.
        ratio: see `held`.
        at_least_one: whether to add one direction even if the basis holds enough energy, as in the authors' program.

    Returns:
        `[d, k + r]` orthonormal, in the precision of `summed`.
    """
    return subspace.extend(basis, summed.mT, threshold, held=held(energies, ratio), least=int(at_least_one))
