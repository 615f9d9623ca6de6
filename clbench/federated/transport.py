"""How messages get from the server to clients and back."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Protocol

import torch

from clbench.engine.learner.learner import Learner
from clbench.engine.replicas.stack import StackingError
from clbench.federated.clients import Clients
from clbench.federated.messages import Reply, Tensors
from clbench.federated.stacked_clients import train as side_by_side
from clbench.federated.stacked_clients import unsupported_reason
from clbench.stream import Task
from clbench.utils.notify import tell


class Exchange(Protocol):
    """What the server needs of whatever connects it with its clients. Replies come in any order, one for each client asked."""

    def train(
        self, task: Task, round: int, down: Tensors, names: Sequence[str], work: Mapping[int, float], rider: Tensors | None
    ) -> Iterator[Reply]:
        """Let clients train; arguments as of `Clients.train`.

        Args:
            task: the current one.
            round: within the task, from 0.
            down: what every client gets.
            names: of what is sent up.
            work: who trains, and what share of its steps each gets done.
            rider: what came with a question to be answered along with this round; None: there is none.
        """

    def ask(self, task: Task, clients: Sequence[int], kind: str, payload: Tensors) -> Iterator[Reply]:
        """Ask clients a question about a task, on the server's model."""


class LocalExchange:
    """All clients in this process, on the server's own learner."""

    def __init__(self, clients: Clients, chunk: int | Literal["auto"] = 1) -> None:
        """Take the clients.

        Args:
            clients: all of them.
            chunk: how many share every step, where they can (`federated.stacked_clients`); 1: one by one; `auto`: on a GPU
                as many as may fit, else 1.
        """
        self.clients = clients
        self.chunk = fitting(clients.learner) if chunk == "auto" else chunk
        self._asked_for = chunk != "auto"

    def train(
        self, task: Task, round: int, down: Tensors, names: Sequence[str], work: Mapping[int, float], rider: Tensors | None
    ) -> Iterator[Reply]:
        """Train one client after the other, or `chunk` of them side by side."""
        if self.chunk > 1:
            reason = unsupported_reason(self.clients)
            if reason is not None:
                self._go_apart(reason)
        waiting = list(work)
        if self.chunk > 1:  # clients of like size share a chunk
            assert task.clients is not None
            waiting.sort(key=lambda client: -len(task.clients[client]) * work[client])  # type: ignore[index]
        while waiting:
            some = waiting[: self.chunk]
            if len(some) > 1:
                try:
                    chunk = {client: work[client] for client in some}
                    yield from side_by_side(self.clients, task, round, down, names, chunk, rider)
                except StackingError as error:
                    self._go_apart(error.what)
                    continue
                except torch.OutOfMemoryError:
                    self._shrink()
                    continue
            else:
                yield self.clients.train(some[0], task, round, down, names, work[some[0]], rider)
            waiting = waiting[len(some) :]

    def _go_apart(self, reason: str) -> None:
        if self._asked_for:
            tell(f"clients train one by one, not {self.chunk} side by side: {reason}")
        self.chunk = 1

    def _shrink(self) -> None:
        tell(f"out of memory with {self.chunk} clients side by side, now {self.chunk // 2}")
        self.chunk //= 2
        gc.collect()
        torch.cuda.empty_cache()

    def ask(self, task: Task, clients: Sequence[int], kind: str, payload: Tensors) -> Iterator[Reply]:
        """Ask one client after the other."""
        for client in clients:
            yield self.clients.answer(client, task, kind, payload)


COPIES = 8
"""How often a client's parameters lie in memory while it trains beside others: weights, gradients, moments, steps, and as much
again for activations: a guess, corrected by halving where it was too low."""


def fitting(learner: Learner) -> int:
    """Return how many clients may train side by side on the learner's device: one on a CPU."""
    if learner.device.type != "cuda":
        return 1
    free, _ = torch.cuda.mem_get_info(learner.device)
    each = sum(parameter.numel() * parameter.element_size() for parameter in learner.parameters.values())
    return max(1, free // (2 * COPIES * each))
