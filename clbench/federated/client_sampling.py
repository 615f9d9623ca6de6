"""Who takes part in a round, who fails, and who is slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from clbench.federated.options import Federated


@dataclass(frozen=True)
class Participants:
    """The clients asked in a round.

    Args:
        asked: who gets the model, ascending.
        failing: who of them will not answer.
        work: share of the local steps that each of them gets done.
    """

    asked: tuple[int, ...]
    failing: frozenset[int]
    work: dict[int, float]

    @property
    def generation_context(self) -> list[int]:
        """Those who will."""
        return [client for client in self.asked if client not in self.failing]


def participants(federated: Federated, owners: Sequence[int], generator: torch.Generator) -> Participants:
    """Draw the participants of a round, without replacement.

    Three draws are made for every client that owns samples, whatever the options are: who takes part does not depend on who
    fails, and with more failures those of fewer fail too.

    Args:
        federated: participation, dropout, stragglers.
        owners: who owns samples of the task.
        generator: of the round.
    """
    count = max(1, round(federated.participation * len(owners)))
    order = torch.randperm(len(owners), generator=generator)
    fails, slow = torch.rand(2, len(owners), generator=generator)
    asked = tuple(sorted(owners[place] for place in order[:count].tolist()))
    failing = frozenset(client for client, draw in zip(owners, fails.tolist(), strict=True) if draw < federated.dropout)
    work = {
        client: federated.straggler_work if draw < federated.stragglers else 1.0
        for client, draw in zip(owners, slow.tolist(), strict=True)
        if client in asked
    }
    return Participants(asked, failing & set(asked), work)
