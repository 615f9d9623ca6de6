"""The clients as a Flower ClientApp. Every message names its client, and carries a description of its run.

A message is data: `clbench.flower.description` decides what a client takes of it, and `clbench.flower.wire_format` reads its
arrays. Whatever is wrong with a message, its answer is a reply with an error, and nothing has happened.
"""

from __future__ import annotations

import logging
import math
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clbench.errors import ClbenchError, RefusedError
from clbench.federated.clients import Clients, load
from clbench.federated.messages import Reply, Tensors, finite
from clbench.federated.messages import size as bytes_of
from clbench.federated.reply_checks import one_line
from clbench.federated.transport import LocalTransport
from clbench.flower.description import accepted
from clbench.flower.installation import Installation, own
from clbench.flower.wire_format import ABOUT, FIELDS, QUERY, TRAIN, pack_reply, plain_values, refused, unpack
from clbench.run_spec import RunSpec
from clbench.runs.factory import assemble, pick_device
from clbench.stream import Stream, Task
from clbench.utils.memory_limit import memory_limit
from clbench.utils.time_limit import TooLongError, call_within

LOG = logging.getLogger(__name__)
COPIES, ROOM = 16, 64 << 20
"""Bytes of a message's arrays: so many times those of the model, and so many more; our choice."""


@dataclass
class Side:
    """The state of a client process between messages. A new process makes it from the description of the run."""

    spec: RunSpec
    stream: Stream
    clients: Clients
    task: int = -1
    """The last task that was begun."""


_sides: dict[str, Side] = {}
"""The newest side, by the text of the run's description."""


def side(text: str, client: Installation) -> Side:
    """Return the clients' side of a run in its present state.

    Raises:
        RefusedError: the client does not take the description.
        ClbenchError: the client cannot take part, for example without the data.
    """
    if text not in _sides:
        spec = accepted(text, client)
        _sides.clear()
        _sides[text] = new_side(spec)
    return _sides[text]


def new_side(spec: RunSpec) -> Side:
    """Return a side before its first task; arguments and errors as of `side`."""
    made: list[Clients] = []

    def connect(clients: Clients) -> LocalTransport:
        made.append(clients)
        return LocalTransport(clients)

    stream = assemble(spec, pick_device(spec.execution.device), connect)[0]
    clients = made[0]
    if not clients.shared:
        raise refused(f"{type(clients.method).__name__} keeps state at every client")
    return Side(spec, stream, clients)


def received(message: Message, kind: str, client: Installation) -> tuple[Side, Task, dict[str, Any], Tensors, Tensors]:
    """Return the side at the task of the message, the task, and the message: plain values, model, further tensors.

    Tasks that this process has not begun are begun here: the shared state of clients follows from the model and the task.

    Raises:
        RefusedError: anything in the message that the client does not take.
    """
    about = plain_values(message.content, FIELDS[kind])
    current = side(about["spec"], client)
    clients, tasks = current.clients, current.stream.tasks
    if not 0 <= about["task"] < len(tasks):
        raise refused(f"task={about['task']}, and the stream has {len(tasks)} tasks")
    task = tasks[about["task"]]
    if about["client"] not in clients.owners(task):
        raise refused(f"client={about['client']} owns no samples of task {task.index}")
    if kind == TRAIN:
        if not 0 <= about["round"] < clients.federated.rounds_of(task.index):
            raise refused(f"round={about['round']}, and task {task.index} has {clients.federated.rounds_of(task.index)} rounds")
        if not (math.isfinite(about["work"]) and 0 < about["work"] <= 1):
            raise refused(f"work={about['work']} is no share of a client's steps")
    if task.index < current.task:  # of an earlier task: the state follows from the description again
        current = _sides[about["spec"]] = new_side(current.spec)
        clients = current.clients
    while current.task < task.index:
        current.task += 1
        clients.begin(tasks[current.task])
        clients.federated.server.begin_task(clients.learner, tasks[current.task])
    state = clients.learner.model.state_dict()
    most = COPIES * bytes_of(state) + ROOM
    _, down, more = unpack(message.content, clients.learner.device, FIELDS[kind], most=most)
    for name, tensor in down.items():
        own_one = state.get(name)
        if own_one is None or own_one.shape != tensor.shape or own_one.dtype != tensor.dtype:
            has = "has no such tensor" if own_one is None else f"has {own_one.dtype} {list(own_one.shape)}"
            raise refused(f"{one_line(name, 80)} is {tensor.dtype} {list(tensor.shape)}, and the client's model {has}")
    if not finite(down) or not finite(more):
        raise refused("it holds values that are not finite")
    _check_question(clients, kind, about, more)
    strange = [name for name in about.get("names", ()) if name not in state]
    if strange or len(set(about.get("names", ()))) < len(about.get("names", ())):
        raise refused(f"it wants {', '.join(one_line(name, 40) for name in strange[:5]) or 'one tensor twice'}")
    return current, task, about, down, more


def _check_question(clients: Clients, kind: str, about: dict[str, Any], more: Tensors) -> None:
    """Refuse a question that the server's rule does not ask, and tensors that do not belong to it."""
    rule = clients.federated.server
    question = about["kind"] if kind == QUERY else rule.riding if about["rides"] else None
    if question is not None:
        rule.answer_like(clients.learner, question, more)
    elif more or about["rides"]:
        raise refused("it brings tensors of a question that nobody asks")


def reply_to(kind: str, client: Installation | None, message: Message) -> Reply:
    """Return a client's reply to a message.

    Args:
        kind: type of the message.
        client: the client's own installation; None: that of this process.
        message: from outside.

    Raises:
        Exception: the message is refused, or the client failed.
    """
    client = own() if client is None else client
    on_host = pick_device(client.execution.device).type == "cpu"
    with memory_limit(client.execution.memory_share) if on_host else nullcontext():
        current, task, about, down, more = received(message, kind, client)
        clients, number = current.clients, about["client"]
        if kind == QUERY:
            load(clients.learner, down)
            return clients.answer(number, task, about["kind"], more)
        rider = more if about["rides"] else None
        return clients.train(number, task, about["round"], down, about["names"], about["work"], rider)


def respond(kind: str, client: Installation | None, message: Message, context: Context) -> Message:
    """Answer a message; whatever is wrong, the answer is a reply with an error. Arguments as of `reply_to`."""
    try:
        limit = (own() if client is None else client).execution.timeout
        main = threading.current_thread() is threading.main_thread()
        reply = call_within(limit if main else None, lambda: reply_to(kind, client, message))
    except (Exception, SystemExit) as error:
        reply = Reply(_number(message), error=failure(error))
    return Message(pack_reply(reply), reply_to=message)


def failure(error: BaseException) -> str:
    """Return the reason of a failure for the server, in one line; the client's own log gets it too."""
    if isinstance(error, TooLongError):
        text = "it took longer than the client's own runner.timeout"
    elif isinstance(error, ClbenchError):
        text = error.what
    else:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if not isinstance(error, RefusedError):
        _sides.clear()  # a part of the work may have been done
    LOG.warning(f"a message had no result: {one_line(text, 1000)}", exc_info=not isinstance(error, ClbenchError))
    return one_line(text)


def _number(message: Message) -> int:
    """Return the client that a message names, for a reply with an error; 0 if the message names none."""
    try:
        found = message.content[ABOUT]["client"]
    except Exception:
        return 0
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 1 << 31 else 0


def make_app(client: Installation | None = None) -> ClientApp:
    """Return the ClientApp of an installation; None: that of the process that gets the message."""
    made = ClientApp()
    made.train()(partial(respond, TRAIN, client))
    made.query()(partial(respond, QUERY, client))
    return made


app = make_app()
