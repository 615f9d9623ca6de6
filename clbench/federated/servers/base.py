"""The contract of a server rule: what it asks of clients, and what it makes of their answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from clbench.federated.messages import Tensors
from clbench.method import Method, restore, state_of
from clbench.stream import Stream, Task

if TYPE_CHECKING:
    from clbench.engine.learner.learner import Learner

Ask = Callable[[str, Tensors], Tensors]
"""Ask clients a question: its kind, what goes down with it; the sum of their answers in double precision comes back."""
Asked = Literal["sampled", "all"]


@dataclass
class ClientPart(Method):
    """What a server rule adds to every client's method: a method that is told what came down. It keeps no data."""

    data_free: ClassVar[bool] = True
    answers: ClassVar[bool] = True

    def receive(self, learner: Learner, model: Tensors) -> None:
        """Take note of the model that a round of local training starts from, by parameter name (not to be changed)."""


@dataclass
class Server:
    """How a server makes the next model of what clients send; the mean of their models unless something is overridden.

    Subclasses are dataclasses: fields are hyper-parameters (types here, values and their sources in
    `conf/federated/server/NAME.yaml`). Whatever a rule sets on itself besides its fields is its state: a tree of tensors,
    numbers, strings, lists and dictionaries; it is saved, resumed, and counted in bytes. Names with a leading underscore are not:
    what `setup` and `begin_task` make of the rest.

    The rule lives at the server, but for `client_part`, `trained` and `client_message`, which run at the clients: they see the
    rule as it was configured, and what comes down; never its state.

    Args:
        weighting: of clients in the mean: by their `samples` of the task (McMahan et al., AISTATS 2017, algorithm 1), or
            `uniform`.
    """

    weighting: Literal["samples", "uniform"]

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Prepare once, before the first task: sizes and names, no data."""

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Prepare for a task: at the server, and at clients that have a learner of their own. May freeze parameters."""

    def client_part(self) -> ClientPart | None:
        """Return what acts beside every client's method (FedProx's proximal term), or None; one for all clients."""
        return None

    def trained(self, names: list[str]) -> list[str]:
        """Return which of the parameters that a task may move the clients train and send up; all that are trained come down."""
        return names

    def aggregate(self, learner: Learner, start: Tensors, mean: Tensors) -> Tensors:
        """Return the next model.

        Args:
            learner: the server's; its model holds `start`.
            start: what the round began with, by parameter name; buffers of floating point are among them.
            mean: of what the clients sent, weighted; the same names. Buffers pass through: running statistics are not moved by
                steps.

        Returns:
            Tensors for names of parameters and buffers; what is not named stays.
        """
        return mean

    def end_round(self, learner: Learner, task: Task, round: int) -> None:
        """Act after the next model of a round (0-based) is in place; may change it."""

    def client_message(self, learner: Learner, task: Task, kind: str, payload: Tensors) -> Tensors:
        """Answer a question at a client.

        Args:
            learner: the client's, its model in place; its generators draw for this client alone.
            task: its `train` holds the client's own samples.
            kind: of the question, as `end_task` asked it.
            payload: what came with it.
        """
        raise NotImplementedError(f"{type(self).__name__} has no answer to {kind!r}")

    def end_task(self, learner: Learner, task: Task, ask: Ask) -> None:
        """Consolidate after a task, at the server; `ask` is answered by the clients with the final model in place."""

    @property
    def riding(self) -> str | None:
        """Kind of a question that clients answer along with their last round of a task, on the model that they have just trained.

        It is asked at that round's participants, and `end_task`, when it asks, gets the sum of these answers.
        """
        return None

    def rider(self, learner: Learner) -> Tensors:
        """Return what comes down with the riding question."""
        return {}

    @property
    def asked(self) -> Asked:
        """Who is asked by `ask`: the last round's participants (`sampled`; if all have failed, all), or all that own samples."""
        return "sampled"

    def state(self) -> dict[str, Any]:
        """Return what the rule carries from task to task: one tree of tensors and plain values."""
        return state_of(self)

    def load_state(self, learner: Learner, state: dict[str, Any]) -> None:
        """Restore what `state` returned, after `setup`."""
        restore(self, state)

    def diagnostics(self) -> dict[str, Any]:
        """Return plain values for the record after each task."""
        return {}
