"""Partitions: the samples of each client in a task. Drawn within each task, from its labels alone, with one generator.

A partition is any object with `positions` (`Partition`). Your own class plugs in by `_target_`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clbench.errors import ConfigError


class Partition(Protocol):
    """A rule that divides the samples of a task among clients."""

    def positions(self, labels: Tensor, clients: int, min_samples: int, generator: torch.Generator) -> list[Tensor]:
        """Return the positions of every client's samples: int64 on the CPU, ascending.

        Every position is in exactly one list. The result depends only on the arguments.

        Args:
            labels: labels of the task's samples, int64 `[n]` on the CPU.
            clients: number of lists to return.
            min_samples: minimum number of samples of each client.
            generator: a torch generator on the CPU, the only source of randomness.

        Raises:
            ConfigError: the samples cannot be divided in this way.
        """
        ...


@dataclass(frozen=True)
class IID:
    """All samples, shuffled and cut into equal parts (McMahan et al., AISTATS 2017, section 3). Sizes differ by at most one."""

    def positions(self, labels: Tensor, clients: int, min_samples: int, generator: torch.Generator) -> list[Tensor]:
        """See `Partition.positions`."""
        _check(len(labels), clients, min_samples)
        order = torch.randperm(len(labels), generator=generator)
        return [part.sort().values for part in order.tensor_split(clients)]


@dataclass(frozen=True)
class Shards:
    """Samples sorted by class and cut into `clients * per_client` shards. Each client draws `per_client` of them.

    McMahan et al., AISTATS 2017, section 3 (their "pathological non-IID"). Sizes of shards differ by at most one. Samples are
    shuffled within each class first, so that a shard does not depend on the order in the data's file.

    Args:
        per_client: shards of each client. If shards end at the ends of classes, a client has at most so many classes; otherwise
            at most twice as many.
    """

    per_client: int

    def __post_init__(self) -> None:
        if self.per_client < 1:
            raise ConfigError(
                f"federated.partition.per_client={self.per_client} is below 1", "give each client one shard or more"
            )

    def positions(self, labels: Tensor, clients: int, min_samples: int, generator: torch.Generator) -> list[Tensor]:
        """See `Partition.positions`."""
        n = len(labels)
        _check(n, clients, min_samples)
        smallest = self.per_client * (n // (clients * self.per_client))  # for any draw
        if smallest < min_samples:
            raise ConfigError(
                f"federated.min_samples={min_samples}: in a task with {n} samples, {clients} clients with "
                f"{self.per_client} shards each may get only {smallest}",
                "lower federated.clients, federated.partition.per_client or federated.min_samples",
            )
        order = torch.randperm(n, generator=generator)
        order = order[labels[order].argsort(stable=True)]
        shards = order.tensor_split(clients * self.per_client)
        drawn = torch.randperm(len(shards), generator=generator).view(clients, self.per_client).tolist()
        return [torch.cat([shards[shard] for shard in mine]).sort().values for mine in drawn]


@dataclass(frozen=True)
class Dirichlet:
    """For each class, a draw from Dir(alpha) gives the clients' shares of its samples.

    Li et al., ICDE 2022 (NIID-Bench, "distribution-based label imbalance"). Hsu et al. 2019 (arXiv 1909.06335) do the opposite:
    they draw each client's shares of the classes, and all clients have equally many samples.

    A draw with fewer than `min_samples` samples for some client is repeated, at most `redraws` times. (Li et al. repeat without
    a limit, which never succeeds for many clients and a small alpha.) After the last draw, samples move. Each client with too
    few samples takes them one by one from the client with the most samples, from that client's largest class. This is the
    smallest change of the last draw that satisfies `min_samples`.

    Args:
        alpha: concentration. Large: every client has almost the same share of every class. Near 0: almost all samples of a class
            are at one client.
        redraws: number of draws after the first.
    """

    alpha: float
    redraws: int = 100

    def __post_init__(self) -> None:
        if not 1e-300 <= self.alpha < math.inf:  # a smaller alpha overflows in a division
            raise ConfigError(f"federated.partition.alpha={self.alpha} is not positive", "0.5 is usual; 100 is nearly IID")
        if self.redraws < 0:
            raise ConfigError(f"federated.partition.redraws={self.redraws} is below 0", "give 0 (only the first draw) or more")

    def positions(self, labels: Tensor, clients: int, min_samples: int, generator: torch.Generator) -> list[Tensor]:
        """See `Partition.positions`."""
        n = len(labels)
        _check(n, clients, min_samples)
        order = torch.randperm(n, generator=generator)
        order = order[labels[order].argsort(stable=True)]
        sizes = torch.unique(labels, return_counts=True)[1].numpy()
        random = np.random.default_rng(
            int(torch.randint(2**62, (), generator=generator))
        )  # torch draws no Dirichlet from a generator
        for _ in range(1 + self.redraws):
            counts = _rounded(_shares(self.alpha, clients, len(sizes), random), sizes)
            if counts.sum(0).min() >= min_samples:
                break
        return _assigned(order, counts, _moves(counts, min_samples))


def _check(n: int, clients: int, min_samples: int) -> None:
    """Raise a ConfigError if `n` samples are too few for so many clients."""
    for name, value in (("clients", clients), ("min_samples", min_samples)):
        if value < 1:
            raise ConfigError(f"federated.{name}={value} is below 1", f"set federated.{name} to 1 or more")
    if clients * min_samples > n:
        raise ConfigError(
            f"federated.clients={clients} with federated.min_samples={min_samples} need {clients * min_samples} samples, "
            f"a task has {n}",
            f"at most {n // min_samples} clients have as many"
            if n >= min_samples
            else f"lower federated.min_samples to {n // clients} or less",
        )


def _shares(alpha: float, clients: int, classes: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return a draw from Dir(alpha) over the clients for each class, float64 `[classes, clients]`.

    Computed from logarithms of gamma variates, because variates for a small alpha are too small for a float. Gamma(alpha) has the
    distribution of Gamma(alpha + 1) * U^(1 / alpha) (Marsaglia and Tsang, ACM TOMS 2000, section 6).
    """
    logs = np.log(random.standard_gamma(alpha + 1, (classes, clients)))
    logs -= random.standard_exponential((classes, clients)) / alpha  # -log U is exponential
    weights = np.exp(logs - logs.max(1, keepdims=True))
    return np.asarray(weights / weights.sum(1, keepdims=True))


def _rounded(shares: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return whole numbers of samples `[classes, clients]` that add up to `sizes` in each class.

    Rounds the ends of the shares, not the shares. So rounding does not always put the same client at a disadvantage.
    """
    ends = np.rint(shares.cumsum(1) * sizes[:, None]).astype(np.int64)
    ends[:, -1] = sizes
    return np.diff(np.minimum(ends, sizes[:, None]), axis=1, prepend=0)


def _moves(counts: NDArray[np.int64], min_samples: int) -> list[tuple[int, int, int]]:
    """Return (class, from client, to client) of each sample that must move until every client has `min_samples`."""
    left = counts.copy()
    totals = left.sum(0)
    moves = []
    for client in np.flatnonzero(totals < min_samples).tolist():
        while totals[client] < min_samples:
            giver = int(totals.argmax())
            of_class = int(left[:, giver].argmax())
            left[of_class, giver] -= 1
            totals[giver] -= 1
            totals[client] += 1
            moves.append((of_class, giver, client))
    return moves


def _assigned(order: Tensor, counts: NDArray[np.int64], moves: list[tuple[int, int, int]]) -> list[Tensor]:
    """Return the positions of each client.

    Args:
        order: positions sorted by class, in random order within a class, int64 `[n]`.
        counts: samples `[classes, clients]`, in the order of `order`.
        moves: from `_moves`.
    """
    classes, clients = counts.shape
    owner = np.repeat(np.tile(np.arange(clients), classes), counts.ravel())
    starts = (counts.ravel().cumsum() - counts.ravel()).reshape(classes, clients)
    left = counts.copy()
    for of_class, giver, client in moves:
        left[of_class, giver] -= 1
        owner[starts[of_class, giver] + left[of_class, giver]] = client  # the giver's last remaining sample
    of_position = np.empty(len(owner), dtype=np.int64)
    of_position[order.numpy()] = owner
    ranked = torch.from_numpy(of_position.argsort(kind="stable"))
    return [part.contiguous() for part in torch.split(ranked, np.bincount(owner, minlength=clients).tolist())]
