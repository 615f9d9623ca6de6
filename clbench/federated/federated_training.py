"""Federated training of a stream: rounds of local training and aggregation, in place of `engine.training.loop.Training`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from clbench.engine.resumable import check_after_setup, checked_state
from clbench.engine.state_size import tensor_bytes
from clbench.engine.training.batch_statistics import needs_two
from clbench.engine.training.loop import OnEpoch, OnStep
from clbench.errors import ClbenchError, DivergedError
from clbench.federated.client_sampling import Participants, participants
from clbench.federated.clients import Clients, load, weights
from clbench.federated.messages import DIVERGED, Reply, Sum, Tensors, size
from clbench.federated.reply_checks import LINES, Expected, Fault, checked, counted, one_line, seen_by
from clbench.federated.secure.sums import secure_sum
from clbench.federated.transport import Transport
from clbench.stream import Task
from clbench.utils.rng import derive

LOG = logging.getLogger(__name__)


class FederatedTraining:
    """The server's side of one stream's tasks: counts rounds and bytes, keeps the curves, calls back after rounds.

    A reply is rejected and counted if anything in it is wrong (`clbench.federated.reply_checks`). The other replies then weigh
    more. A round without a valid reply does not change the model.
    """

    def __init__(self, clients: Clients, transport: Transport) -> None:
        """Set the server's rule up.

        Args:
            clients: on the server's learner, whose model is evaluated; their state from task to task is here. Under Flower, where
                other processes train, they apply the same changes to the server's model.
            transport: to the clients that train and answer.
        """
        self.clients, self.transport = clients, transport
        learner = self.learner = clients.learner
        self.federated = clients.federated
        self.server = clients.federated.server
        self.samples = self.step_count = 0
        """Samples trained so far; rounds of the current task that have ended."""
        self.losses: list[float] = []
        """Of each round of the current task: the clients' mean, with the weights of their models."""
        self.moved: list[str] = []
        """Parameters that a task has trained or added, and buffers: the tensors sent down to clients."""
        self.known: list[str] = []
        """Parameters that existed before the first task: their initial values follow from configuration and seed."""
        self.sent = {"down": 0, "up": 0}
        """Bytes of all messages so far."""
        self._report: dict[str, Any] = {}
        self._told: set[tuple[str, str]] = set()
        self._riding = Sum()
        self.server.setup(learner, learner.stream)
        check_after_setup(self.server)

    def count(self, samples: int) -> None:
        """Add to the count of samples: those of a resumed run."""
        self.samples += samples

    def learn(self, task: Task, on_step: OnStep | None = None, on_epoch: OnEpoch | None = None) -> None:
        """Let the clients learn one task, round by round; then server and clients consolidate.

        Args:
            task: the next one.
            on_step: called after every round, with its number from 1.
            on_epoch: called after every round, with its number from 0 and the number of rounds.

        Raises:
            ClbenchError: no client owns a sample of the task.
            DivergedError: no client of a round returns finite values.
        """
        learner, owners = self.learner, self._owners(task)
        self.clients.begin(task)
        self.server.begin_task(learner, task)
        learner.rebuild()
        movable, _ = learner.trainable(self.clients.moves_all_heads)
        buffers = [name for name, buffer in learner.model.named_buffers() if buffer.is_floating_point()]
        names = [*self.server.trained(movable), *buffers]
        self.known = self.known or list(learner.parameters)
        changed = {*self.moved, *movable, *buffers}
        self.moved = [name for name in [*learner.parameters, *buffers] if name in changed or name not in self.known]
        self.losses, self.step_count, self._riding = [], 0, Sum()
        self._report = {"rejected": Counter(), "failed": 0, "idle_rounds": 0, "down": Counter(), "up": Counter()}
        self._told = set()
        able = self._able(task, owners)
        rounds = self.federated.rounds_of(task.index)
        for number in range(rounds):
            chosen = participants(self.federated, able, learner.generator("participants", task.index, number))
            self._round(task, number, names, chosen)
            self.step_count = number + 1
            if on_step is not None:
                on_step(self.step_count)
            if on_epoch is not None:
                on_epoch(number, rounds)
        asked = chosen.responding if self.server.asked == "sampled" and chosen.responding else owners
        self.server.end_task(learner, task, lambda kind, payload: self._ask(task, asked, kind, payload))
        self.clients.end(task)

    def _able(self, task: Task, owners: list[int]) -> list[int]:
        """Return the clients that can train on a task; say and report which ones are left out."""
        lone = self.clients.lone(task)
        if not lone:
            return owners
        fault = self.learner.single_fault()
        assert fault is not None
        some = ", ".join(map(str, lone[:10])) + ", ..." * (len(lone) > 10)
        LOG.warning(
            f"{len(lone)} clients are left out of the rounds of task {task.index} ({some}): each owns one sample, and "
            f"{needs_two(fault)}"
        )
        self._report["left_out"] = lone
        able = [client for client in owners if client not in lone]
        if not able:
            raise ClbenchError(
                f"no client can train on task {task.index} ({task.name}): each owns one sample, and {needs_two(fault)}",
                "give fewer federated.clients, or a model without batch statistics",
            )
        return able

    def _owners(self, task: Task) -> list[int]:
        owners = self.clients.owners(task)
        if not owners:
            raise ClbenchError(
                f"no client owns a sample of task {task.index} ({task.name})", "give fewer clients, or another partition"
            )
        return owners

    # ---- a round
    def _round(self, task: Task, number: int, names: list[str], chosen: Participants) -> None:
        """Send the model down, average the replies, and set the next model."""
        learner = self.learner
        down = weights(learner, self.moved)
        start = {name: down[name] for name in names}
        rides = self.server.riding is not None and number + 1 == self.federated.rounds_of(task.index)
        rider = self.server.rider(learner) if rides else None
        total, losses, wrongs = Sum(), list[tuple[float, float]](), list[str]()
        self._count("down", "round", size(down) * len(chosen.asked))
        self._count("down", "riding", size(rider or {}) * len(chosen.asked))
        self._report["failed"] += len(chosen.failing)
        work = {client: chosen.work[client] for client in chosen.responding}
        expected = Expected(self._sizes(task, work), start, self._answer_like(rider), self._seen())
        for reply, wrong in checked(self.transport.train(task, number, down, names, work, rider), expected):
            if wrong is None or wrong.formed:
                self._count("up", "round", size(reply.tensors))
                self._count("up", "riding", size(reply.answer))
                self.samples += reply.seen
            if wrong is not None:
                self._reject(reply, wrong, f"round {number} of task {task.index}")
                wrongs.append(wrong.text)
                continue
            weight = float(reply.samples) if self.server.weighting == "samples" else 1.0
            total.add(reply.tensors, weight)
            if reply.answer:
                self._riding.add(reply.answer)
            if reply.loss is not None:
                losses.append((weight, reply.loss))
        load(learner, down)  # clients in this process have left their own weights in the model
        if total.count:
            with torch.no_grad():
                load(learner, self.server.aggregate(learner, start, total.mean(start)))
                self.server.end_round(learner, task, number)
        elif wrongs and all(DIVERGED in wrong for wrong in wrongs):
            raise DivergedError(
                f"no client came back with finite values from round {number} of task {task.index} "
                f"(optimizer.lr={learner.base_lr})",
                "lower optimizer.lr, or set trainer.clip_norm",
            )
        else:
            self._report["idle_rounds"] += 1
        if losses:
            self.losses.append(sum(weight * loss for weight, loss in losses) / sum(weight for weight, _ in losses))

    def _ask(self, task: Task, clients: list[int], kind: str, payload: Tensors) -> Tensors:
        """Return the sum of the clients' answers."""
        if self.server.riding == kind and self._riding.count:
            return self._riding.tensors
        self._count("down", kind, size(payload) * len(clients))
        secure, total = self.federated.secure, Sum()
        if secure is not None:
            seed = derive(self.learner.seed, "secure", task.index, kind)
            again = partial(self._answers, task, kind, payload)
            return secure_sum(secure, clients, again, seed, lambda way, amount: self._count(way, "secure", amount))
        for _, answer in self._answers(task, kind, payload, clients):
            self._count("up", kind, size(answer))
            total.add(answer)
        if not total.count:
            raise ClbenchError(
                f"none of the {len(clients)} clients asked for {kind!r} after task {task.index} gave a usable answer",
                "the messages above say why; start the same command again: it resumes after the last task",
            )
        return total.tensors

    def _answers(self, task: Task, kind: str, payload: Tensors, clients: Sequence[int]) -> Iterator[tuple[int, Tensors]]:
        """Yield the valid answers with their clients; report the faults of the others."""
        expected = Expected(self._sizes(task, clients), self.server.answer_like(self.learner, kind, payload), {})
        for reply, wrong in checked(self.transport.ask(task, clients, kind, payload), expected):
            if wrong is None:
                yield reply.client, reply.tensors
            else:
                self._reject(reply, wrong, f"{kind!r} after task {task.index}")

    def _sizes(self, task: Task, clients: Iterable[int]) -> dict[int, int]:
        """Return the clients' numbers of samples of a task."""
        assert task.clients is not None
        return {client: len(task.clients[client]) for client in clients}

    def _answer_like(self, rider: Tensors | None) -> Tensors | None:
        """Return what the answer on a reply must look like: empty without a rider."""
        return {} if rider is None else self.server.answer_like(self.learner, str(self.server.riding), rider)

    def _seen(self) -> tuple[int, int]:
        """Return the bound on samples that a client trains on in a round, as of `Expected`."""
        trainer = self.clients.trainer
        batch = max(trainer.batch_size, trainer.online_batch_size)
        own_fit = self.clients.method.overrides("fit")
        return seen_by(self.federated.local_epochs, self.federated.local_iterations, batch, own_fit)

    def _reject(self, reply: Reply, wrong: Fault, where: str) -> None:
        """Count a rejected reply, and print its fault when it first occurs for its client in a task."""
        told, who = self._told, _sender(reply)
        text = counted(self._report["rejected"], wrong)
        if text is None or (who, text) in told or len(told) > LINES:
            return
        told.add((who, text))
        LOG.warning(f"{who} is left out of {where}: {text}")
        if len(told) > LINES:
            LOG.warning(f"further replies that are left out of task {self.learner.task} are only counted, in the record")

    def _count(self, way: str, what: str, amount: int) -> None:
        self.sent[way] += amount
        self._report[way][what] += amount

    # ---- as of any training
    def accelerate(self, mode: str | None, graph: bool, tell: Callable[[str], None]) -> None:
        """Report that clients are neither compiled nor replayed."""
        if mode is not None or graph:
            tell("runner.compile and runner.graph do nothing for federated clients")

    def report(self) -> dict[str, int]:
        """Return counts: samples trained on, bytes of the state of clients and server, bytes of messages."""
        return {
            "samples": self.samples,
            "method_state_bytes": self.clients.kept_bytes() + tensor_bytes(self.server.state()),
            "bytes_sent": sum(self.sent.values()),
        }

    def diagnostics(self) -> dict[str, Any]:
        """Return diagnostics of the task just learned: bytes by way and purpose, failures, rejected replies; the rule's own."""
        plain = {key: dict(value) if isinstance(value, Counter) else value for key, value in self._report.items()}
        return {"federated": plain, **self.server.diagnostics()}

    def state(self) -> dict[str, Any]:
        """Return the state of server and clients from task to task.

        Raises:
            RefusedError: it could not be read back from a checkpoint.
        """
        return {
            "clients": self.clients.state(),
            "server": checked_state(self.server),
            "moved": self.moved,
            "known": self.known,
            "sent": dict(self.sent),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.clients.load_state(state["clients"])
        self.server.load_state(self.learner, state["server"])
        self.moved, self.known, self.sent = list(state["moved"]), list(state["known"]), dict(state["sent"])


def _sender(reply: Reply) -> str:
    """Return who sent a reply, for a message. The client is a value from outside; -1 stands for none."""
    who = "a reply of no client asked" if reply.client == -1 else f"client {one_line(reply.client, 40)}"
    return f"{who} (node {reply.node})" if reply.node else who
