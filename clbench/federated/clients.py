"""The clients' side: local training and replies to the server's questions, for any client in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from clbench.engine.learner.learner import Learner
from clbench.engine.resumable import check_after_setup
from clbench.engine.state_size import state_bytes
from clbench.engine.training.data_access import covered
from clbench.engine.training.loop import Training
from clbench.engine.training.trainer import Trainer
from clbench.errors import DivergedError, RefusedError
from clbench.federated.messages import DIVERGED, Reply, Tensors
from clbench.federated.options import Federated
from clbench.federated.servers.base import ClientPart
from clbench.method import Method
from clbench.methods.compose import Compose
from clbench.stream import Task


class Clients:
    """All clients of a federated stream, one at a time on one learner.

    A method that stores something of samples (EWC, replay, GPM) exists once per client; any other method exists once for all.
    Local training is the engine's own, with an optimiser that starts anew in every round.
    """

    def __init__(self, learner: Learner, make: Callable[[], Method], trainer: Trainer, federated: Federated) -> None:
        """Set up no client yet; a client's method is made when it is first needed.

        Args:
            learner: model, optimiser, device, and the stream, whose tasks say which client owns which samples.
            make: returns the clients' method, as configured, anew at every call.
            trainer: how a client passes over its samples.
            federated: the options of federated learning.

        Raises:
            RefusedError: clients cannot use the method.
        """
        self.learner, self.federated = learner, federated
        self.trainer = replace(trainer, epochs=federated.local_epochs, iterations=federated.local_iterations)
        self.part: ClientPart | None = federated.server.client_part()
        self._make = make
        self._trainings: dict[int, Training] = {}
        self._shares: dict[int, tuple[int, Task]] = {}
        self.shared = make().data_free
        """True if all clients share one method."""
        self.method: Method = self.training(0).method
        """The method of all clients, or of the first; the server's model is evaluated with it."""
        check(self.method)
        self.keeps = any(self.method.overrides(hook) for hook in ("begin_task", "end_task")) and not self.shared
        """True if clients act before or after a task."""

    # ---- who
    def owners(self, task: Task) -> list[int]:
        """Return the clients that own samples of a task, without single samples of which the model can make nothing."""
        assert task.clients is not None
        sizes = [len(positions) for positions in task.clients]
        least = 2 if 1 in sizes and self.learner.single_fault(training=False) is not None else 1
        return [client for client, size in enumerate(sizes) if size >= least]

    def lone(self, task: Task) -> list[int]:
        """Return the clients that own one sample of a task, if the model cannot train on a single sample now."""
        assert task.clients is not None
        found = [client for client, positions in enumerate(task.clients) if len(positions) == 1]
        return found if found and self.learner.single_fault() is not None else []

    def share(self, client: int, task: Task) -> Task:
        """Return a client's share of a task, as a task."""
        known = self._shares.get(client)
        if known is None or known[0] != task.index:
            assert task.clients is not None
            own = task.train.select(task.clients[client].to(task.train.rows.device))
            known = self._shares[client] = (task.index, replace(task, train=own, valid=None, iterations=None, clients=None))
        return known[1]

    @property
    def moves_all_heads(self) -> bool:
        """True if steps may move heads of earlier tasks (replay, distillation)."""
        return self.method.overrides("extend_batch") and self.learner.stream.own_heads

    def history(self, client: int, training: Training, task: Task) -> tuple[Task, ...]:
        """Return the client's shares of the tasks that the method's access covers."""
        stream = self.learner.stream
        return tuple(self.share(client, other) for other in covered(stream, training.method.access, stream.tasks[task.index]))

    def training(self, client: int) -> Training:
        """Return the training of a client, or the one that all share."""
        index = 0 if self.shared else client
        if index not in self._trainings:
            method = self._make()
            if self.part is not None:
                method = Compose({"client": method, "server": self.part})
            method.setup(self.learner, self.learner.stream)
            check_after_setup(method)
            training = self._trainings[index] = Training(self.learner, method, self.trainer)
            training.project_no_inputs()  # nothing may hang on the model that another client's pass would meet
        return self._trainings[index]

    @contextmanager
    def acting(self, client: int, shared: bool = False) -> Iterator[Training]:
        """Let the learner act for a client within the context. Client 0 draws as a single learner would."""
        training = self.training(client)
        with self.learner.acting(training.plan, () if client == 0 or shared else ("client", client)):
            yield training

    # ---- what they do
    def begin(self, task: Task) -> None:
        """Let every client's method prepare for a task; the model is afterwards as before, unless the method is shared.

        Raises:
            RefusedError: a method that stores something of samples also adds or replaces parameters.
        """
        learner = self.learner
        learner.start(task.index)
        if self.shared:
            with self.acting(0, shared=True) as training:
                training.method.begin_task(learner, self.share(self.owners(task)[0], task))
            learner.rebuild()
            return
        names, before = list(learner.parameters), weights(learner)
        for client in self.owners(task) if self.keeps else ():
            with self.acting(client) as training:
                training.method.begin_task(learner, self.share(client, task))
            learner.rebuild()
            if list(learner.parameters) != names:
                raise RefusedError(
                    f"{type(training.method).__name__} adds parameters and stores something of samples: the clients' models "
                    "could not be averaged",
                    "use a method that does one of the two, or declare data_free = True on yours if it stores nothing of samples",
                )
            learner.model.load_state_dict(before)

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
            client: its number.
            task: the current one.
            round: within the task, from 0.
            down: the server's parameters and buffers.
            names: of the tensors to send up.
            work: share of its steps that the client takes.
            rider: payload of a question to be answered together with this round; None: no question.
        """
        learner, share = self.learner, self.share(client, task)
        load(learner, down)
        learner.optimizer.reset()
        with self.acting(client) as training, only(learner, names, self.moves_all_heads):
            if self.part is not None:
                self.part.receive(learner, down)
            self.start(training, share, round, work)
            before = training.samples
            try:
                training.method.fit(learner, share, training.fit, self.history(client, training, task))
            except DivergedError:
                return Reply(client, error=DIVERGED)
            rule, answer = self.federated.server, dict[str, torch.Tensor]()
            if rider is not None:
                answer = rule.client_message(learner, share, rule.riding, rider)
        losses = training.losses
        loss = sum(losses) / len(losses) if losses else None
        return Reply(client, weights(learner, names), len(share.train), training.samples - before, loss, answer)

    def start(self, training: Training, share: Task, round: int, work: float) -> None:
        """Begin a client's training in a round (from 0); `work` is the share of its steps that the client takes."""
        rounds = self.federated.rounds_of(share.index)
        training.start(share, first_epoch=round * self.federated.local_epochs, work=work, round=(round, rounds))

    def answer(self, client: int, task: Task, kind: str, payload: Tensors) -> Reply:
        """Return a client's answer to a question; the model is the server's."""
        share = self.share(client, task)
        with self.acting(client):
            sent = self.federated.server.client_message(self.learner, share, kind, payload)
        return Reply(client, sent, len(share.train))

    def end(self, task: Task) -> None:
        """Let every client's method consolidate after a task, on the server's model, which stays as it is."""
        learner = self.learner
        if self.shared:
            with self.acting(0, shared=True) as training:
                training.method.end_task(learner, self.share(self.owners(task)[0], task), ())
            return
        for client in self.owners(task) if self.keeps else ():
            with self.acting(client) as training:
                share = self.share(client, task)
                training.method.end_task(learner, share, self.history(client, training, task))

    # ---- state
    def kept_bytes(self) -> int:
        """Return the bytes that the clients' methods carry from task to task, stored samples included."""
        return sum(state_bytes(training.method) for training in self._trainings.values())

    def state(self) -> dict[str, Any]:
        """Return the state that the clients' methods carry from task to task, by client; errors as of `Training.state`."""
        found = {str(client): training.state() for client, training in self._trainings.items()}
        return {client: state for client, state in found.items() if state}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        for client, own in state.items():
            with self.acting(int(client), self.shared) as training:
                training.method.load_state(self.learner, own)


def check(method: Method) -> None:
    """Refuse a method that clients cannot use.

    Raises:
        RefusedError: with the reason.
    """
    name = type(method).__name__
    if method.access == "all":
        raise RefusedError(
            f"{name} learns all tasks at once, and clients learn them one after the other",
            "leave +federated out for joint training as an upper bound, or use method=cumulative",
        )
    for hook in ("predict", "reparametrize"):
        if method.overrides(hook) and not method.data_free:
            raise RefusedError(
                f"{name} {'predicts from' if hook == 'predict' else 'puts into the model'} what it stores of samples, and that "
                "stays with the clients: only the server's model is measured",
                "use a method that predicts from the model's weights alone, such as naive, ewc, lwf, gpm or er",
            )


@contextmanager
def only(learner: Learner, names: Sequence[str], all_heads: bool) -> Iterator[None]:
    """Let steps within the context move only the parameters `names`, of those that a task may move."""
    wanted = set(names)
    still = [learner.parameters[name] for name in learner.trainable(all_heads)[0] if name not in wanted]
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
    """Return copies of the model's parameters and buffers: all, or those in `names`."""
    state = learner.model.state_dict()
    return {name: state[name].detach().clone() for name in (state if names is None else names)}


def load(learner: Learner, tensors: Tensors) -> None:
    """Copy tensors into the model's parameters and buffers of these names."""
    state = learner.model.state_dict()
    with torch.no_grad():
        for name, tensor in tensors.items():
            state[name].copy_(tensor)
