"""Transport between the server and its clients over Flower's Grid."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from clbench.errors import ClbenchError, RefusedError
from clbench.federated.clients import Clients, weights
from clbench.federated.messages import Reply, Tensors
from clbench.federated.reply_checks import one_line
from clbench.flower.description import describe
from clbench.flower.wire_format import QUERY, TRAIN, pack, unpack_reply
from clbench.run_spec import RunSpec
from clbench.stream import Task


class GridTransport:
    """Clients behind Flower nodes: node c modulo the present number of nodes serves client c.

    Nodes may come and go, since a node can make its state again from the run and the message. Methods that keep state of their
    samples at the clients are therefore refused.
    """

    def __init__(self, grid: Grid, clients: Clients, spec: RunSpec, timeout: float) -> None:
        """Connect.

        Args:
            grid: of Flower.
            clients: the server's own copy, for the shared state of clients; it trains no client.
            spec: the run, from which nodes make their side.
            timeout: seconds to wait for the replies to a message, and for a first node.

        Raises:
            RefusedError: the method keeps state of its samples at the clients.
        """
        if not clients.shared:
            raise RefusedError(
                f"{type(clients.method).__name__} keeps state at every client, and Flower's nodes come and go",
                "give runner.federated=local, or a method without state of samples (naive, freeze, seq_lora)",
            )
        if clients.federated.secure is not None:
            raise RefusedError(
                "federated.secure is simulated in one process so far: the server itself adds the masks",
                "give runner.federated=local",
            )
        self.grid, self.clients, self.timeout = grid, clients, timeout
        self._spec = describe(spec)

    def train(
        self,
        task: Task,
        round: int,
        down: Tensors,
        names: Sequence[str],
        work: Mapping[int, float],
        rider: Tensors | None,
    ) -> Iterator[Reply]:
        """Let clients train at their nodes."""
        about = {"spec": self._spec, "task": task.index, "round": round, "names": list(names), "rides": rider is not None}
        each = {client: {**about, "client": client, "work": share} for client, share in work.items()}
        yield from self._send(TRAIN, each, down, rider or {})

    def ask(self, task: Task, clients: Sequence[int], kind: str, payload: Tensors) -> Iterator[Reply]:
        """Ask clients at their nodes; the message carries the server's model."""
        about = {"spec": self._spec, "task": task.index, "kind": kind}
        each = {client: {**about, "client": client} for client in clients}
        learner = self.clients.learner
        names = [*learner.parameters, *(name for name, buffer in learner.model.named_buffers() if buffer.is_floating_point())]
        yield from self._send(QUERY, each, weights(learner, names), payload)

    def _send(self, kind: str, about: Mapping[int, dict[str, Any]], model: Tensors, more: Tensors) -> Iterator[Reply]:
        """Send a message for every client, one per node at a time, and yield the replies."""
        waiting = list(about)
        while waiting:
            nodes = self._nodes()
            now, waiting = waiting[: len(nodes)], waiting[len(nodes) :]
            messages = {}
            for client in now:
                content: RecordDict = pack(about[client], model, more)
                node = nodes[client % len(nodes)]
                messages[client] = Message(
                    content, dst_node_id=node, message_type=kind, group_id=str(about[client].get("round", ""))
                )
            ids = list(self.grid.push_messages(messages.values()))
            clients = dict(zip(ids, now, strict=True))
            yield from self._replies(clients, {client: nodes[client % len(nodes)] for client in now})

    def _replies(self, clients: dict[str, int], nodes: Mapping[int, int]) -> Iterator[Reply]:
        """Yield a reply for each message, an error after the time-out, and an error for each reply to no message.

        Args:
            clients: the client of each message by its id.
            nodes: the node that serves each client.
        """
        device, until = self.clients.learner.device, time.monotonic() + self.timeout
        while clients and time.monotonic() < until:
            found = list(self.grid.pull_messages(list(clients)))
            for reply in found:
                id, sender = reply.metadata.reply_to_message_id, one_line(reply.metadata.src_node_id, 40)
                client = clients.get(id)
                if client is None:
                    yield Reply(-1, error="it answers no open message of this server", node=sender)
                elif sender != str(nodes[client]):
                    yield Reply(
                        -1, error=f"node {nodes[client]} was asked for client {client}, and another answered", node=sender
                    )
                else:
                    del clients[id]
                    yield _read(reply, client, sender, device)
            if not found:
                time.sleep(POLL)
        for client in clients.values():
            yield Reply(client, error=f"no answer within {self.timeout:g} s", node=str(nodes[client]))

    def _nodes(self) -> list[int]:
        """Return the present nodes in a fixed order; wait for the first node.

        Raises:
            ClbenchError: no node came.
        """
        until = time.monotonic() + self.timeout
        while True:
            nodes = sorted(self.grid.get_node_ids())
            if nodes:
                return nodes
            if time.monotonic() > until:
                raise ClbenchError(
                    f"no Flower node within {self.timeout:g} s", "start flower-supernode, and check that it reaches the SuperLink"
                )
            time.sleep(POLL)


def _read(message: Message, client: int, sender: str, device: torch.device) -> Reply:
    """Return the reply in a message from outside, or one with an error.

    Args:
        message: from a node.
        client: that the node was asked for.
        sender: the node.
        device: of the tensors.
    """
    try:
        if message.has_error():
            return Reply(client, error=f"its node failed: {one_line(str(message.error.reason)[-SHOWN:])}", node=sender)
        reply = unpack_reply(message.content, device, sender)
    except Exception as error:
        what = error.what if isinstance(error, ClbenchError) else f"{type(error).__name__}: {error}"
        return Reply(client, error=f"its reply cannot be read: {one_line(what)}", node=sender)
    if reply.client != client:
        return Reply(client, error=f"it answers for client {one_line(reply.client, 40)}, and was asked for {client}", node=sender)
    return reply


SHOWN = 200
"""Characters of a node's failure that are shown: the last ones."""
POLL = 0.01
"""Seconds between two looks for replies; short compared with a round."""
