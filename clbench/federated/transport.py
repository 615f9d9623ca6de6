"""Transport: how messages go from the server to clients and back."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Protocol

import torch

from clbench.engine.learner.learner import Learner
from clbench.engine.replicas.stack import StackingError
from clbench.federated.clients import Clients
from clbench.federated.messages import Reply, Tensors
from clbench.federated.stacked_clients import train as train_stacked
from clbench.federated.stacked_clients import unsupported_reason
from clbench.stream import Task

LOG = logging.getLogger(__name__)


class Transport(Protocol):
    """The transport between server and clients. Replies come in any order, one for each client asked."""

    def train(
        self, task: Task, round: int, down: Tensors, names: Sequence[str], work: Mapping[int, float], rider: Tensors | None
    ) -> Iterator[Reply]:
        """Let clients train; arguments as of `Clients.train`.

        Args:
            task: the current one.
            round: within the task, from 0.
            down: tensors that every client gets.
            names: of the tensors to send up.
            work: the clients that train, and the share of its steps that each takes.
            rider: payload of a question to be answered together with this round; None: no question.
        """

    def ask(self, task: Task, clients: Sequence[int], kind: str, payload: Tensors) -> Iterator[Reply]:
        """Ask clients a question about a task, on the server's model."""


class LocalTransport:
    """All clients in this process, on the server's own learner."""

    def __init__(self, clients: Clients, chunk: int | Literal["auto"] = 1) -> None:
        """Take the clients.

        Args:
            clients: all of them.
            chunk: number of clients that share every step, if possible (`federated.stacked_clients`); 1: one by one; `auto`: on
                a GPU as many as may fit, otherwise 1.
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
                self._one_by_one(reason)
        waiting = list(work)
        if self.chunk > 1:  # clients of like size share a chunk
            assert task.clients is not None
            waiting.sort(key=lambda client: -len(task.clients[client]) * work[client])  # type: ignore[index]
        while waiting:
            some = waiting[: self.chunk]
            if len(some) > 1:
                try:
                    chunk = {client: work[client] for client in some}
                    yield from train_stacked(self.clients, task, round, down, names, chunk, rider)
                except StackingError as error:
                    self._one_by_one(error.what)
                    continue
                except torch.OutOfMemoryError:
                    self._shrink()
                    continue
            else:
                yield self.clients.train(some[0], task, round, down, names, work[some[0]], rider)
            waiting = waiting[len(some) :]

    def _one_by_one(self, reason: str) -> None:
        if self._asked_for:
            LOG.warning(f"clients train one by one, not {self.chunk} side by side: {reason}")
        self.chunk = 1

    def _shrink(self) -> None:
        LOG.warning(f"out of memory with {self.chunk} clients side by side, now {self.chunk // 2}")
        self.chunk //= 2
        gc.collect()
        torch.cuda.empty_cache()

    def ask(self, task: Task, clients: Sequence[int], kind: str, payload: Tensors) -> Iterator[Reply]:
        """Ask one client after the other."""
        for client in clients:
            yield self.clients.answer(client, task, kind, payload)


COPIES = 8
"""Copies of a client's parameters in memory while clients train side by side: weights, gradients, moments, steps, and as much
again for activations. This is a guess; if it is too low, the number of clients is halved."""


def fitting(learner: Learner) -> int:
    """Return how many clients may train side by side on the learner's device: one on a CPU."""
    if learner.device.type != "cuda":
        return 1
    free, _ = torch.cuda.mem_get_info(learner.device)
    each = sum(parameter.numel() * parameter.element_size() for parameter in learner.parameters.values())
    return max(1, free // (2 * COPIES * each))
