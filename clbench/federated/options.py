"""Options of a federated stream: partition, server rule, rounds, participation and failures."""

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
        partition: division of each task's samples among the clients (`clbench.federated.partitions`).
        server: rule that combines the clients' models (`clbench.federated.servers`).
        clients: number of clients.
        participation: share of the clients with samples of a task that take part in each of its rounds; at least one client.
        rounds: number per task. A list gives one number per task; its last entry holds for all later tasks.
        local_epochs: passes of a client over its samples in a round.
        local_iterations: steps of a client in a round, in as many passes as needed; None: `local_epochs` passes.
        min_samples: minimum number of samples of every client in every task.
        dropout: probability that a participant fails before it answers, in each round.
        stragglers: probability that a participant is slow in a round.
        secure: secure sum of the clients' answers, of which the server sees only the sum (`clbench.federated.secure`). None: the
            server adds the answers itself.
        straggler_work: share of its steps that a slow client completes. Its result then counts (Li et al., MLSys 2020, FedProx).
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
                f"federated.server={self.server!r} is not a server rule",
                "choose one: federated/server=fedavg, or derive yours from clbench.federated.servers.base.Server",
            )
        if self.secure is not None and not isinstance(self.secure, Secure):
            raise ConfigError(
                f"federated.secure={self.secure!r} is not a secure sum", "choose federated/secure=masked, or leave it out"
            )
        if self.secure is not None and self.server.riding is not None:
            raise ConfigError(
                "federated.secure needs several messages, but answers that come with the last round's replies have only one",
                "give federated.server.sketch_on=global (FOT), or leave federated.secure out",
            )
        if not hasattr(self.partition, "positions"):
            raise ConfigError(
                f"federated.partition={self.partition!r} is not a partition", "choose +federated=iid, dirichlet or shards"
            )

    def rounds_of(self, task: int) -> int:
        """Return the number of rounds of the task with this index."""
        return self.rounds if isinstance(self.rounds, int) else self.rounds[min(task, len(self.rounds) - 1)]
