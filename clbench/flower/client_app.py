"""The clients as a Flower ClientApp. Every message names its client, and carries the description of its run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clbench.federated.clients import Clients, load
from clbench.federated.messages import Tensors
from clbench.federated.transport import LocalTransport
from clbench.flower.wire_format import ABOUT, pack_reply, unpack
from clbench.run_spec import RunSpec
from clbench.runs.factory import assemble, pick_device
from clbench.stream import Stream, Task

app = ClientApp()


@dataclass
class Side:
    """The state of a client process between messages. A new process makes it from the description of the run."""

    stream: Stream
    clients: Clients
    task: int = -1
    """The last task that was begun."""


_sides: dict[str, Side] = {}
"""The newest side, by the text of the run's description."""


def side(text: str) -> Side:
    """Return the clients' side of a run in its present state."""
    if text not in _sides:
        spec = RunSpec.from_dict(json.loads(text))
        made: list[Clients] = []

        def connect(clients: Clients) -> LocalTransport:
            made.append(clients)
            return LocalTransport(clients)

        stream = assemble(spec, pick_device(spec.execution.device), connect)[0]
        _sides.clear()
        _sides[text] = Side(stream, made[0])
    return _sides[text]


def received(message: Message) -> tuple[Side, Task, dict[str, Any], Tensors, Tensors]:
    """Return the side at the task of the message, the task, and the message: plain values, model, further tensors.

    Tasks that this process has not begun are begun here: the shared state of clients follows from the model and the task.
    """
    own = side(message.content[ABOUT]["spec"])
    about, down, more = unpack(message.content, own.clients.learner.device)
    while own.task < about["task"]:
        own.task += 1
        own.clients.begin(own.stream.tasks[own.task])
        own.clients.federated.server.begin_task(own.clients.learner, own.stream.tasks[own.task])
    return own, own.stream.tasks[about["task"]], about, down, more


@app.train()
def train(message: Message, context: Context) -> Message:
    """Let a client train for a round; see `Clients.train`."""
    own, task, about, down, more = received(message)
    rider = more if about["rides"] else None
    reply = own.clients.train(about["client"], task, about["round"], down, about["names"], about["work"], rider)
    return Message(pack_reply(reply), reply_to=message)


@app.query()
def answer(message: Message, context: Context) -> Message:
    """Let a client answer a question about the model of the message."""
    own, task, about, down, payload = received(message)
    load(own.clients.learner, down)
    return Message(pack_reply(own.clients.answer(about["client"], task, about["kind"], payload)), reply_to=message)
