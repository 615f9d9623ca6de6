"""The clients' side as a Flower ClientApp: every message says which client is meant, and what trial it belongs to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clbench.assembly import assemble, pick_device
from clbench.cells import Cell
from clbench.federated.clients import Clients, load
from clbench.federated.exchange import LocalExchange
from clbench.federated.messages import Reply
from clbench.flower.messages import pack_reply, unpack
from clbench.stream import Stream

app = ClientApp()


@dataclass
class Side:
    """What a process that serves clients keeps between messages; made anew from the cell wherever it is missing."""

    stream: Stream
    clients: Clients
    task: int = -1
    """The last one that was begun."""


_sides: dict[str, Side] = {}
"""By the text of the cell; the newest alone is kept."""


def side(text: str) -> Side:
    """Return the clients' side of a trial, as it was left."""
    if text not in _sides:
        cell = Cell.from_dict(json.loads(text))
        made: list[Clients] = []

        def connect(clients: Clients) -> LocalExchange:
            made.append(clients)
            return LocalExchange(clients)

        stream = assemble(cell, pick_device(cell.device), connect)[0]
        _sides.clear()
        _sides[text] = Side(stream, made[0])
    return _sides[text]


def _reach(own: Side, task: int) -> None:
    """Begin the tasks up to `task` that this process has not begun: what clients share follows from the model and its place."""
    while own.task < task:
        own.task += 1
        own.clients.begin(own.stream.tasks[own.task])
        own.clients.federated.server.begin_task(own.clients.learner, own.stream.tasks[own.task])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Let a client train for a round; arguments as of `Clients.train`."""
    about, down, rider = unpack(message.content, _device(message))
    own = side(about["cell"])
    task = own.stream.tasks[about["task"]]
    _reach(own, task.index)
    payload = rider if about["rides"] else None
    reply = own.clients.train(about["client"], task, about["round"], down, about["names"], about["work"], payload)
    return Message(pack_reply(reply), reply_to=message)


@app.query()
def answer(message: Message, context: Context) -> Message:
    """Let a client answer a question, on the model that came with it."""
    about, down, payload = unpack(message.content, _device(message))
    own = side(about["cell"])
    task = own.stream.tasks[about["task"]]
    _reach(own, task.index)
    load(own.clients.learner, down)
    reply: Reply = own.clients.answer(about["client"], task, about["kind"], payload)
    return Message(pack_reply(reply), reply_to=message)


def _device(message: Message) -> Any:
    return side(message.content["about"]["cell"]).clients.learner.device
