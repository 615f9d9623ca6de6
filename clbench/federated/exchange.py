"""How messages get from the server to clients and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from clbench.federated.clients import Clients
from clbench.federated.messages import Reply, Tensors
from clbench.stream import Task


class Exchange(Protocol):
    """What the server needs of whatever connects it with its clients. Replies come in any order, one for each client asked."""

    def begin(self, task: Task) -> None:
        """Let the clients' methods prepare for a task; the server's learner comes out ready for it, too."""

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

    def end(self, task: Task) -> None:
        """Let the clients' methods consolidate after a task, on the server's model."""

    def kept_bytes(self) -> int:
        """Return the bytes of what the clients keep from task to task, samples held included."""

    def state(self) -> dict[str, Any]:
        """Return what the clients keep from task to task, as far as it is here."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""


class LocalExchange:
    """All clients in this process, on the server's own learner."""

    def __init__(self, clients: Clients) -> None:
        """Take the clients."""
        self.clients = clients

    def begin(self, task: Task) -> None:
        """Let the clients' methods prepare."""
        self.clients.begin(task)

    def train(
        self, task: Task, round: int, down: Tensors, names: Sequence[str], work: Mapping[int, float], rider: Tensors | None
    ) -> Iterator[Reply]:
        """Train one client after the other."""
        for client, share in work.items():
            yield self.clients.train(client, task, round, down, names, share, rider)

    def ask(self, task: Task, clients: Sequence[int], kind: str, payload: Tensors) -> Iterator[Reply]:
        """Ask one client after the other."""
        for client in clients:
            yield self.clients.answer(client, task, kind, payload)

    def end(self, task: Task) -> None:
        """Let the clients' methods consolidate."""
        self.clients.end(task)

    def kept_bytes(self) -> int:
        """Return the bytes of what the clients keep."""
        return self.clients.kept_bytes()

    def state(self) -> dict[str, Any]:
        """Return what the clients keep."""
        return self.clients.state()

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.clients.load_state(state)
