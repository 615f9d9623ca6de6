"""A federated stream of blobs, learned in this process without a run around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clbench.federated.clients import Clients
from clbench.federated.federated_training import FederatedTraining
from clbench.federated.options import Federated
from clbench.federated.transport import LocalTransport
from clbench.method import Method
from clbench.methods.naive import Naive
from clbench.stream import Stream
from tests.streams import learner_for, trainer


@dataclass
class Turns:
    """The partition that never comes into play here."""

    def positions(self, labels: Tensor, clients: int, min_samples: int, generator: torch.Generator) -> list[Tensor]:
        return partition_counts(len(labels), clients)


def partition_counts(n: int, clients: int) -> list[Tensor]:
    """Deal samples out in turn; the last client gets only every second of its own, the first one the rest."""
    parts = [torch.arange(n)[client::clients] for client in range(clients)]
    if clients > 1:
        parts[0], parts[-1] = torch.cat([parts[0], parts[-1][1::2]]).sort().values, parts[-1][::2]
    return parts


def federated_stream(stream: Stream, clients: int) -> Stream:
    tasks = tuple(replace(task, clients=tuple(partition_counts(len(task.train), clients))) for task in stream.tasks)
    return replace(stream, tasks=tasks)


def options(server: Any, clients: int = 4, rounds: int = 3, **changes: Any) -> Federated:
    common: dict[str, Any] = {
        "partition": Turns(),
        "participation": 1.0,
        "local_epochs": 1,
        "local_iterations": None,
        "min_samples": 1,
        "dropout": 0.0,
        "stragglers": 0.0,
        "straggler_work": 0.5,
    }
    return Federated(server=server, clients=clients, rounds=rounds, **common | changes)


def federate(
    server: Any,
    stream: Stream,
    make: Callable[[], Method] = Naive,
    clients: int = 4,
    rounds: int = 3,
    tasks: int | None = None,
    learner: Any = None,
    how: Any = None,
    chunk: int = 1,
    after: Callable[[FederatedTraining, int], None] | None = None,
    **changes: Any,
) -> FederatedTraining:
    """Learn the first `tasks` tasks and return the training; `after(training, round)` is a probe after every round."""
    learner = learner or learner_for(federated_stream(stream, clients))
    node = options(server, clients, rounds, **changes)
    clients_side = Clients(learner, make, how or trainer(), node)
    training = FederatedTraining(clients_side, LocalTransport(clients_side, chunk))
    probe = None if after is None else partial(after, training)
    for task in learner.stream.tasks[:tasks]:
        training.learn(task, probe)
    return training
