"""Client sampling: the participants of a round, with failing and slow clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from clbench.federated.options import Federated


@dataclass(frozen=True)
class Participants:
    """The participants of a round.

    Args:
        asked: clients that get the model, ascending.
        failing: clients among them that will not answer.
        work: share of the local steps that each of them completes.
    """

    asked: tuple[int, ...]
    failing: frozenset[int]
    work: dict[int, float]

    @property
    def responding(self) -> list[int]:
        """The clients that will answer."""
        return [client for client in self.asked if client not in self.failing]


def participants(federated: Federated, owners: Sequence[int], generator: torch.Generator) -> Participants:
    """Draw the participants of a round, without replacement.

    Every client with samples gets three draws, for any options. So participation does not depend on failures. The clients that
    fail at a low dropout also fail at a higher one.

    Args:
        federated: participation, dropout, stragglers.
        owners: clients with samples of the task.
        generator: the round's generator.
    """
    count = max(1, round(federated.participation * len(owners)))
    order = torch.randperm(len(owners), generator=generator)
    fails, slow = torch.rand(2, len(owners), generator=generator)
    asked = tuple(sorted(owners[position] for position in order[:count].tolist()))
    failing = frozenset(client for client, draw in zip(owners, fails.tolist(), strict=True) if draw < federated.dropout)
    work = {
        client: federated.straggler_work if draw < federated.stragglers else 1.0
        for client, draw in zip(owners, slow.tolist(), strict=True)
        if client in asked
    }
    return Participants(asked, failing & set(asked), work)
