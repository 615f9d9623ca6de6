"""What makes a stream federated: who owns what, how often they talk, and who fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from clbench.errors import ConfigError
from clbench.federated.secure.options import Secure
from clbench.federated.servers.base import Server

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Risk = Annotated[float, Field(ge=0, lt=1)]


@dataclass
class Federated:
    """The node `federated` of a configuration.

    Args:
        partition: how the samples of each task are dealt out to the clients (`clbench.federated.partitions`).
        server: how one model is made of theirs (`clbench.federated.servers`).
        clients: how many there are.
        participation: share of the clients with samples in a task that are asked in each of its rounds, at least one.
        rounds: per task; a list: of each task, the last entry that of all later ones.
        local_epochs: passes of a client over its samples in a round.
        local_iterations: steps of a client in a round, in as many passes as that takes; None: `local_epochs` passes.
        min_samples: that every client owns of every task, at least.
        dropout: chance of a client asked to fail before it answers, in each round.
        stragglers: chance of a client asked to be slow in a round.
        secure: how sums of clients' answers are made so that the server sees nothing else (`clbench.federated.secure`); None: the
            server adds them up itself.
        straggler_work: share of its steps that a slow client gets done; what it has then counts (Li et al., MLSys 2020, FedProx).
    """

    partition: Any
    server: Any
    clients: Count
    participation: Share
    rounds: Count | Annotated[list[Count], Field(min_length=1)]
    local_epochs: Count
    local_iterations: Count | None
    min_samples: Count
    dropout: Risk
    stragglers: Risk
    straggler_work: Share
    secure: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.server, Server):
            raise ConfigError(
                f"federated.server={self.server!r} is no server rule",
                "choose one: federated/server=fedavg, or derive yours from clbench.federated.servers.base.Server",
            )
        if self.secure is not None and not isinstance(self.secure, Secure):
            raise ConfigError(
                f"federated.secure={self.secure!r} is no secure sum", "choose federated/secure=masked, or leave it out"
            )
        if self.secure is not None and self.server.riding is not None:
            raise ConfigError(
                "federated.secure takes several messages, and answers that ride along with the last round have one",
                "give federated.server.sketch_on=global (FOT), or leave federated.secure out",
            )
        if not hasattr(self.partition, "positions"):
            raise ConfigError(
                f"federated.partition={self.partition!r} is no partition", "choose +federated=iid, dirichlet or shards"
            )

    def rounds_of(self, task: int) -> int:
        """Return the rounds of a task, by its index."""
        return self.rounds if isinstance(self.rounds, int) else self.rounds[min(task, len(self.rounds) - 1)]
