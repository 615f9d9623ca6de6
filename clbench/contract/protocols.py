"""Opt-in protocols: hooks that few methods need. A method opts in by defining the hook; the engine asks once, by a function."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from clbench.stream import Task

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from clbench.engine.learner.learner import Learner

OPTIONAL_HOOKS = ("reparametrize", "on_epoch_end", "generation_context", "forget_score")
"""The hooks of the protocols below."""


class HasHooks(Protocol):
    """Anything that can say which hooks it has: every method."""

    def overrides(self, hook: str) -> bool:
        """Return whether it has `hook`."""


class Reparametrizes(HasHooks, Protocol):
    """A method whose weights are functions of parameters, such as those added by `learner.add`."""

    def reparametrize(self, learner: Learner, task_id: int | None) -> dict[str, Tensor]:
        """Return tensors that replace parameters in every forward pass, by parameter name; gradients flow through them.

        Args:
            learner: the model and what belongs to it.
            task_id: the task of the inputs; None outside the task setting.
        """


class ActsOnEpochEnd(HasHooks, Protocol):
    """A method that acts between two passes over a task's data."""

    def on_epoch_end(self, learner: Learner, task: Task, rate: float, decayed: bool) -> float:
        """Act between two epochs. Return a factor on the learning rate of all later epochs of the task.

        Args:
            learner: the model and what belongs to it.
            task: the current one.
            rate: the learning rate of the next epoch by the schedule.
            decayed: True if that is less than in the last epoch.
        """


class HasGenerationContext(HasHooks, Protocol):
    """A method whose `predict` is more than a forward pass, and whose language model still can write."""

    def generation_context(self, learner: Learner, inputs: Tensor) -> AbstractContextManager[None]:
        """Return a context in which the model's own forward pass gives the scores of `predict` for `inputs` `[B, ...]`."""


class ScoresForgetting(HasHooks, Protocol):
    """A method that tells inputs to be forgotten from others."""

    def forget_score(self, learner: Learner, inputs: Tensor) -> Tensor:
        """Return the similarity of inputs `[B, ...]` to the data of each request so far, `[B, requests]`; higher is more similar.

        The engine measures its quality on test samples and never passes the result to the method.
        """


def reparametrizes(method: HasHooks) -> TypeIs[Reparametrizes]:
    """Return whether `method` has the hook `reparametrize`."""
    return method.overrides("reparametrize")


def acts_on_epoch_end(method: HasHooks) -> TypeIs[ActsOnEpochEnd]:
    """Return whether `method` has the hook `on_epoch_end`."""
    return method.overrides("on_epoch_end")


def has_generation_context(method: HasHooks) -> TypeIs[HasGenerationContext]:
    """Return whether `method` has the hook `generation_context`."""
    return method.overrides("generation_context")


def scores_forgetting(method: HasHooks) -> TypeIs[ScoresForgetting]:
    """Return whether `method` has the hook `forget_score`."""
    return method.overrides("forget_score")
