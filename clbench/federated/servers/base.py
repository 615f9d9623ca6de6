"""The contract of a server rule: the questions to clients, and the next model from their answers."""

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
"""Ask clients a question. Arguments: its kind, and tensors to send. Returns the sum of the answers in double precision."""
Asked = Literal["sampled", "all"]


@dataclass
class ClientPart(Method):
    """A method that a server rule adds to every client's method. It receives the server's model and keeps no data."""

    data_free: ClassVar[bool] = True
    supports_generation: ClassVar[bool] = True

    def receive(self, learner: Learner, model: Tensors) -> None:
        """Store the model from which a round of local training starts, by parameter name. Do not change its tensors."""


@dataclass
class Server:
    """A rule that makes the next model from the clients' replies. Default: the mean of their models.

    Subclasses are dataclasses. Fields are hyper-parameters: types here, values and their sources in
    `conf/federated/server/NAME.yaml`. All other attributes are the rule's state: a tree of tensors, numbers, strings, lists and
    dictionaries. The state is saved, resumed, and counted in bytes. Attributes with a leading underscore are not part of it:
    `setup` and `begin_task` compute them again.

    The rule runs at the server, except `client_part`, `trained` and `client_message`. These run at the clients: they see the
    configured fields and the tensors that the server sent, never the rule's state.

    Args:
        weighting: weights of the clients in the mean: their number of `samples` of the task (McMahan et al., AISTATS 2017,
            algorithm 1), or `uniform`.
    """

    weighting: Literal["samples", "uniform"]

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Prepare once, before the first task: sizes and names. No data is available."""

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Prepare for a task, at the server and at clients with their own learner. May freeze parameters."""

    def client_part(self) -> ClientPart | None:
        """Return one method that acts in addition to every client's method (FedProx's proximal term), or None."""
        return None

    def trained(self, names: list[str]) -> list[str]:
        """Return the parameters that clients train and send: a part of `names`, which a task may move and clients receive."""
        return names

    def aggregate(self, learner: Learner, start: Tensors, mean: Tensors) -> Tensors:
        """Return the next model.

        Args:
            learner: the server's learner; its model holds `start`.
            start: the model at the start of the round, by parameter name, with buffers of floating point.
            mean: weighted mean of the clients' tensors, with the same names. Return its buffers unchanged: running statistics
                do not move by steps.

        Returns:
            Tensors by name of parameter or buffer. A name that is absent keeps its value.
        """
        return mean

    def end_round(self, learner: Learner, task: Task, round: int) -> None:
        """Act after a round (0-based), when the model holds the new values. May change the model."""

    def client_message(self, learner: Learner, task: Task, kind: str, payload: Tensors) -> Tensors:
        """Answer a question at a client.

        Args:
            learner: the client's learner with the client's model. Its generators draw for this client alone.
            task: its `train` holds the client's own samples.
            kind: kind of the question, as `end_task` asked it.
            payload: tensors that the server sent with the question.
        """
        raise NotImplementedError(f"{type(self).__name__} has no answer to {kind!r}")

    def answer_like(self, learner: Learner, kind: str, payload: Tensors) -> Tensors | None:
        """Return tensors with the names, shapes and types of a right answer; their values do not matter (device `meta`).

        Server and clients check messages by it. None: not known; the first client's answer is then the measure of the others.

        Args:
            learner: of the server, or of a client.
            kind: kind of the question.
            payload: tensors that are sent with the question.

        Raises:
            RefusedError: the rule does not ask this question, or the payload does not belong to it.
        """
        return None

    def end_task(self, learner: Learner, task: Task, ask: Ask) -> None:
        """Consolidate after a task, at the server. Clients answer `ask` on the final model."""

    @property
    def riding(self) -> str | None:
        """Kind of a question that clients answer together with their reply to the last round of a task; None: no such question.

        The participants of that round answer on the model that they have just trained. If `end_task` asks this question, it gets
        the sum of these answers.
        """
        return None

    def rider(self, learner: Learner) -> Tensors:
        """Return the tensors that the server sends with the `riding` question."""
        return {}

    @property
    def asked(self) -> Asked:
        """The clients that `ask` asks: the last round's participants (`sampled`; all if all failed), or `all` with samples."""
        return "sampled"

    def state(self) -> dict[str, Any]:
        """Return the state that the rule keeps from task to task: one tree of tensors and plain values."""
        return state_of(self)

    def load_state(self, learner: Learner, state: dict[str, Any]) -> None:
        """Restore the tree that `state` returned. Called after `setup`."""
        restore(self, state)

    def diagnostics(self) -> dict[str, Any]:
        """Return plain values for the record after each task."""
        return {}
