"""Checks of the owners of training samples in a federated stream, before training."""

from __future__ import annotations

import torch

from clbench.errors import DataError
from clbench.stream import Stream


def check_clients(stream: Stream, name: str = "the scenario") -> None:
    """Check that every training sample of every task has exactly one client.

    Args:
        stream: federated.
        name: of the scenario, for messages.

    Raises:
        DataError: the first fault.
    """
    for task in stream.tasks:
        where, n = f"{name}: task {task.index} ({task.name})", len(task.train)
        if task.clients is None:
            raise DataError(f"{where} has no clients", "let the partition (federated.partition) return positions for every task")
        owned = torch.cat([positions.reshape(-1) for positions in task.clients]) if task.clients else torch.zeros(0)
        if owned.dtype != torch.int64 and len(owned):
            raise DataError(f"{where}: positions of clients are {owned.dtype}", "let the partition return int64 positions")
        beyond = owned[(owned < 0) | (owned >= n)]
        if len(beyond):
            raise DataError(
                f"{where}: a client owns the position {int(beyond[0])}, and the task has {n} samples",
                "let the partition return positions from 0 to n - 1",
            )
        counts = torch.bincount(owned.long(), minlength=n)
        wrong = (counts != 1).nonzero()
        if len(wrong):
            position = int(wrong[0])
            raise DataError(
                f"{where}: {int(counts[position])} clients own the sample at position {position}",
                "let the partition give every sample to exactly one client",
            )
