"""The clients' side: local training, and answers to the server's questions, of any client in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from clbench.engine.learner.learner import Learner
from clbench.engine.state_size import state_bytes
from clbench.engine.training.loop import Training
from clbench.engine.training.trainer import Trainer
from clbench.errors import DivergedError, RefusedError
from clbench.federated.messages import DIVERGED, Reply, Tensors
from clbench.federated.options import Federated
from clbench.federated.servers.base import ClientPart
from clbench.method import Method
from clbench.methods.compose import Compose
from clbench.stream import Task


class ClientTraining(Training):
    """A client's training: it sees its own share of every task, and nothing else."""

    shares: Callable[[Task], Task]
    """From a task of the stream to the client's share of it."""

    @property
    def wide(self) -> bool:
        """Whether steps may move heads of earlier tasks."""
        return self._extends and self.learner.stream.own_heads

    def history(self, task: Task) -> tuple[Task, ...]:
        """Return the client's shares of the tasks that the method's access covers."""
        return tuple(self.shares(other) for other in super().history(self.learner.stream.tasks[task.index]))


class Clients:
    """All clients of a federated stream, one at a time on one learner.

    A method that keeps what comes from samples (EWC, replay, GPM) is there once for every client; one that does not, once for
    all. Local training is the engine's own, with an optimiser that starts anew in every round.
    """

    def __init__(self, learner: Learner, make: Callable[[], Method], trainer: Trainer, federated: Federated) -> None:
        """Set up nobody yet; a client's method is made when it is first needed.

        Args:
            learner: model, optimiser, device and stream, whose tasks say which client owns what.
            make: returns the clients' method, as configured, anew at every call.
            trainer: how a client passes over its samples.
            federated: what is federated, and how.

        Raises:
            RefusedError: the method cannot be a client's.
        """
        self.learner, self.federated = learner, federated
        self.trainer = replace(trainer, epochs=federated.local_epochs, iterations=federated.local_iterations)
        self.part: ClientPart | None = federated.server.client_part()
        self._make = make
        self._trainings: dict[int, ClientTraining] = {}
        self._shares: dict[int, tuple[int, Task]] = {}
        self.shared = make().data_free
        """Whether there is one method for all clients."""
        self.method: Method = self.training(0).method
        """Of all clients, or of the first: what the server's model is evaluated with."""
        check(self.method)
        self.keeps = any(self.method.overrides(hook) for hook in ("begin_task", "end_task")) and not self.shared
        """Whether clients have something to do before or after a task."""

    # ---- who
    def owners(self, task: Task) -> list[int]:
        """Return the clients that own samples of a task."""
        assert task.clients is not None
        return [client for client, positions in enumerate(task.clients) if len(positions)]

    def share(self, client: int, task: Task) -> Task:
        """Return a client's share of a task, as a task."""
        known = self._shares.get(client)
        if known is None or known[0] != task.index:
            assert task.clients is not None
            own = task.train.select(task.clients[client].to(task.train.rows.device))
            known = self._shares[client] = (task.index, replace(task, train=own, valid=None, iterations=None, clients=None))
        return known[1]

    def training(self, client: int) -> ClientTraining:
        """Return the training of a client, of all if they share one."""
        index = 0 if self.shared else client
        if index not in self._trainings:
            method = self._make()
            if self.part is not None:
                method = Compose({"client": method, "server": self.part})
            method.setup(self.learner, self.learner.stream)
            self._trainings[index] = ClientTraining(self.learner, method, self.trainer)
        return self._trainings[index]

    @contextmanager
    def acting(self, client: int, shared: bool = False) -> Iterator[ClientTraining]:
        """Let the learner act for a client within the context. Client 0 draws as a single learner would."""
        learner, training = self.learner, self.training(client)
        training.attach()
        learner.bare = False  # nothing may be left hanging at the model that another client's pass would meet
        training.shares = lambda task: self.share(client, task)
        learner.place = () if client == 0 or shared else ("client", client)
        try:
            yield training
        finally:
            learner.place = ()

    # ---- what they do
    def begin(self, task: Task) -> None:
        """Let every client's method prepare for a task; the model comes out as it went in, unless the method is shared.

        Raises:
            RefusedError: a method that keeps what comes from samples also changes which parameters there are.
        """
        learner = self.learner
        learner.start(task.index)
        if self.shared:
            with self.acting(0, shared=True) as training:
                training.method.begin_task(learner, self.share(self.owners(task)[0], task))
            learner.rebuild()
            return
        names, kept = list(learner.parameters), weights(learner)
        for client in self.owners(task) if self.keeps else ():
            with self.acting(client) as training:
                training.method.begin_task(learner, self.share(client, task))
            learner.rebuild()
            if list(learner.parameters) != names:
                raise RefusedError(
                    f"{type(training.method).__name__} adds parameters and keeps what comes from samples: clients would have "
                    "models that cannot be averaged",
                    "use a method that does one of the two, or declare data_free = True on yours if it keeps nothing of samples",
                )
            learner.model.load_state_dict(kept)

    def train(
        self,
        client: int,
        task: Task,
        round: int,
        down: Tensors,
        names: Sequence[str],
        work: float = 1.0,
        rider: Tensors | None = None,
    ) -> Reply:
        """Train one client in one round, and return what it sends up.

        Args:
            client: who.
            task: the current one.
            round: within the task, from 0.
            down: parameters and buffers as the server has them.
            names: of what is to be sent up.
            work: share of its steps that it gets done.
            rider: what came with a question to be answered along with this round; None: there is none.
        """
        learner, share = self.learner, self.share(client, task)
        load(learner, down)
        learner.optimizer.reset()
        with self.acting(client) as training, only(learner, names, training.wide):
            if self.part is not None:
                self.part.receive(learner, down)
            training.start(share)
            training.first_epoch, training.work = round * self.federated.local_epochs, work
            before = training.samples
            try:
                training.method.fit(learner, share, training.fit, training.history(task))
            except DivergedError:
                return Reply(client, error=DIVERGED)
            rule, answer = self.federated.server, dict[str, torch.Tensor]()
            if rider is not None:
                answer = rule.client_message(learner, share, rule.riding, rider)
        losses = training.losses
        loss = sum(losses) / len(losses) if losses else None
        return Reply(client, weights(learner, names), len(share.train), training.samples - before, loss, answer)

    def answer(self, client: int, task: Task, kind: str, payload: Tensors) -> Reply:
        """Return a client's answer to a question; the model is the server's."""
        share = self.share(client, task)
        with self.acting(client):
            sent = self.federated.server.client_message(self.learner, share, kind, payload)
        return Reply(client, sent, len(share.train))

    def end(self, task: Task) -> None:
        """Let every client's method consolidate after a task, on the server's model; it comes out as it went in."""
        learner = self.learner
        if self.shared:
            with self.acting(0, shared=True) as training:
                training.method.end_task(learner, self.share(self.owners(task)[0], task), ())
            return
        for client in self.owners(task) if self.keeps else ():
            with self.acting(client) as training:
                share = self.share(client, task)
                training.method.end_task(learner, share, training.history(task))

    # ---- state
    def kept_bytes(self) -> int:
        """Return the bytes of what the clients' methods carry from task to task, samples held included."""
        return sum(state_bytes(training.method) for training in self._trainings.values())

    def state(self) -> dict[str, Any]:
        """Return what the clients' methods carry from task to task, by client."""
        found = {str(client): training.method.state() for client, training in self._trainings.items()}
        return {client: state for client, state in found.items() if state}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        for client, own in state.items():
            with self.acting(int(client), self.shared) as training:
                training.method.load_state(self.learner, own)


def check(method: Method) -> None:
    """Refuse a method that cannot be a client's.

    Raises:
        RefusedError: with the reason.
    """
    name = type(method).__name__
    if method.access == "all":
        raise RefusedError(
            f"{name} learns all tasks at once, and clients learn them one after the other",
            "leave +federated out for the bound that joint training gives, or use method=cumulative",
        )
    for hook in ("predict", "reparametrize"):
        if method.overrides(hook) and not method.data_free:
            raise RefusedError(
                f"{name} {'predicts from' if hook == 'predict' else 'puts into the model'} what it keeps of samples, and that "
                "stays with the clients: the server's model alone is measured",
                "use a method whose model says it all, such as naive, ewc, lwf, gpm or er",
            )


@contextmanager
def only(learner: Learner, names: Sequence[str], wide: bool) -> Iterator[None]:
    """Let steps within the context move the parameters `names` only, of those that a task may move."""
    wanted = set(names)
    still = [learner.parameters[name] for name in learner.trainable(wide)[0] if name not in wanted]
    if not still:
        yield
        return
    for parameter in still:
        parameter.requires_grad_(False)
    learner.rebuild()
    try:
        yield
    finally:
        for parameter in still:
            parameter.requires_grad_(True)
        learner.rebuild()


def weights(learner: Learner, names: Iterable[str] | None = None) -> Tensors:
    """Return copies of the model's parameters and buffers, of all or of those named."""
    state = learner.model.state_dict()
    return {name: state[name].detach().clone() for name in (state if names is None else names)}


def load(learner: Learner, tensors: Tensors) -> None:
    """Put tensors into the model's parameters and buffers of these names."""
    state = learner.model.state_dict()
    with torch.no_grad():
        for name, tensor in tensors.items():
            state[name].copy_(tensor)
