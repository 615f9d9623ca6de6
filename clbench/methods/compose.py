"""Composition: several methods acting as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clbench.engine.learner.learner import Batch, Learner
from clbench.errors import ConfigError
from clbench.method import Access, Holds, Method, Renews, Requests, Train
from clbench.methods.compatibility import check
from clbench.stream import Stream, Task

BREADTH: tuple[Access, ...] = ("current", "seen", "retained", "all")
HOLDS: tuple[Holds, ...] = ("nothing", "trained", "layers")
RENEWS: tuple[Renews, ...] = ("never", "once", "later")


@dataclass
class Compose(Method):
    """Parts that act in the order they are listed: penalties add up, batches and gradients pass from one to the next.

    What cannot work together is refused when the parts are put together, with the reason (`clbench.methods.compatibility`).

    Args:
        parts: name -> method.
    """

    parts: dict[str, Any]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigError("method.parts is empty", "add one, for example +method@method.parts.er=er")
        for name, part in self.parts.items():
            if not isinstance(part, Method):
                raise ConfigError(f"method.parts.{name}={part!r} is not a method", f"give +method@method.parts.{name}=NAME")
        check(self.parts)

    @property
    def settings(self) -> set[str]:  # type: ignore[override]
        """Settings that every part allows."""
        return set.intersection(*(set(part.settings) for part in self.parts.values()))

    @property
    def answers(self) -> bool:  # type: ignore[override]
        """Whether every part makes sense where answers are written."""
        return all(part.answers for part in self.parts.values())

    @property
    def requests(self) -> Requests:  # type: ignore[override]
        """`met` if a part meets requests and the others at most pass over them; `refused` if any part refuses them."""
        said = {part.requests for part in self.parts.values()}
        return "refused" if "refused" in said else "met" if "met" in said else "skipped"

    @property
    def access(self) -> Access:  # type: ignore[override]
        """The widest access of any part."""
        return max((part.access for part in self.parts.values()), key=BREADTH.index)

    @property
    def host_sync(self) -> bool:  # type: ignore[override]
        """Whether any part waits for the host."""
        return any(part.host_sync for part in self.parts.values())

    @property
    def data_free(self) -> bool:  # type: ignore[override]
        """Whether no part keeps anything that comes from samples."""
        return all(part.data_free for part in self.parts.values())

    @property
    def observes(self) -> bool:  # type: ignore[override]
        """Whether no part changes the step."""
        return all(part.observes or not part.overrides("edit_update") for part in self.parts.values())

    @property
    def replays(self) -> bool:  # type: ignore[override]
        """Whether any part replays."""
        return any(part.replays for part in self.parts.values())

    @property
    def resets(self) -> bool:  # type: ignore[override]
        """Whether any part starts anew from the initial weights."""
        return any(part.resets for part in self.parts.values())

    @property
    def accumulates(self) -> bool:  # type: ignore[override]
        """Whether any part keeps what earlier tasks learned in the model."""
        return any(part.accumulates for part in self.parts.values())

    @property
    def holds(self) -> Holds:  # type: ignore[override]
        """The most that any part holds by name."""
        return max((part.holds for part in self.parts.values()), key=HOLDS.index)

    @property
    def renews(self) -> Renews:  # type: ignore[override]
        """The latest time at which any part lets other parameters train."""
        return max((part.renews for part in self.parts.values()), key=RENEWS.index)

    @property
    def leans(self) -> bool:  # type: ignore[override]
        """Whether any part rests on what the first task trained."""
        return any(part.leans for part in self.parts.values())

    def overrides(self, hook: str) -> bool:
        """Return whether any part changes `hook`."""
        return any(part.overrides(hook) for part in self.parts.values())

    def owners(self, hook: str) -> int:
        """Return how many parts change `hook`."""
        return sum(part.owners(hook) for part in self.parts.values())

    def _owner(self, hook: str) -> Method:
        """Return the one part that changes `hook`, or the plain method."""
        return next((part for part in self.parts.values() if part.overrides(hook)), Method())

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Set up every part."""
        for part in self.parts.values():
            part.setup(learner, stream)

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Begin in every part; last in those that note where the parameters start, when all of these are there."""
        for part in sorted(self.parts.values(), key=lambda part: part.holds == "trained"):
            part.begin_task(learner, task)

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Fit as the one part that says how, with the history that it declared, or as usual."""
        owner = self._owner("fit")
        owner.fit(learner, task, train, history if owner.access != "current" else ())

    def extend_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Pass the batch through every part that extends it."""
        for part in self.parts.values():
            batch = part.extend_batch(learner, batch)
        return batch

    def criterion(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return the loss of the one part that has its own, or cross-entropy."""
        return self._owner("criterion").criterion(learner, batch, logits)

    def penalty(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return the sum of the parts' penalties."""
        values = [part.penalty(learner, batch, logits) for part in self.parts.values() if part.overrides("penalty")]
        return torch.stack(values).sum()

    def edit_gradients(self, learner: Learner, batch: Batch) -> None:
        """Pass the gradients through every part."""
        for part in self.parts.values():
            part.edit_gradients(learner, batch)

    def edit_update(self, learner: Learner, updates: dict[str, Tensor]) -> None:
        """Pass the step through every part."""
        for part in self.parts.values():
            part.edit_update(learner, updates)

    def reparametrize(self, learner: Learner, task_id: int | None) -> dict[str, Tensor]:
        """Return what the one part that has any puts in the place of parameters."""
        return self._owner("reparametrize").reparametrize(learner, task_id)

    def on_epoch_end(self, learner: Learner, task: Task, rate: float, decayed: bool) -> float:
        """Let every part act; the factors multiply."""
        factors = [part.on_epoch_end(learner, task, rate, decayed) for part in self.parts.values()]
        return float(math.prod(factors))

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """End in every part; each gets the history that it declared."""
        for part in self.parts.values():
            part.end_task(learner, task, history if part.access != "current" else ())

    def predict(self, learner: Learner, inputs: Tensor, task_id: int | None) -> Tensor:
        """Predict as the one part that says how, or by the logits."""
        return self._owner("predict").predict(learner, inputs, task_id)

    def state(self) -> dict[str, Any]:
        """Return the state of every part."""
        return {name: part.state() for name, part in self.parts.items()}

    def load_state(self, learner: Learner, state: dict[str, Any]) -> None:
        """Restore every part; first those that may put modules back into the model, which a kept earlier model has, too."""
        for name, part in sorted(self.parts.items(), key=lambda item: not item[1].overrides("load_state")):
            part.load_state(learner, state[name])

    def diagnostics(self) -> dict[str, Any]:
        """Return the diagnostics of the parts that have any."""
        found = {name: part.diagnostics() for name, part in self.parts.items()}
        return {name: value for name, value in found.items() if value}
