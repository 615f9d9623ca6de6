"""Composition: several methods acting as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clbench.contract.protocols import acts_on_epoch_end, has_generation_context, reparametrizes, scores_forgetting
from clbench.engine.learner.learner import Batch, Learner
from clbench.errors import ConfigError
from clbench.method import Access, Method, Requests, Train, Trait
from clbench.methods.compatibility import check, traits_of
from clbench.stream import Stream, Task

BREADTH: tuple[Access, ...] = ("current", "seen", "retained", "all")


@dataclass
class Compose(Method):
    """Parts that act in the listed order. Penalties add up; batches and gradients pass from one part to the next.

    Parts that cannot work together are refused when the composition is made (`clbench.methods.compatibility`).

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
    def traits(self) -> frozenset[Trait]:  # type: ignore[override]
        """The union of the parts' traits."""
        return frozenset().union(*(traits_of(part) for part in self.parts.values()))

    @property
    def supports_generation(self) -> bool:  # type: ignore[override]
        """True if every part works where the model writes answers."""
        return all(part.supports_generation for part in self.parts.values())

    @property
    def requests(self) -> Requests:  # type: ignore[override]
        """`refused` if any part refuses requests, else `handled` if any part handles them, else `ignored`."""
        found = {part.requests for part in self.parts.values()}
        return "refused" if "refused" in found else "handled" if "handled" in found else "ignored"

    @property
    def access(self) -> Access:  # type: ignore[override]
        """The widest access of any part."""
        return max((part.access for part in self.parts.values()), key=BREADTH.index)

    @property
    def host_sync(self) -> bool:  # type: ignore[override]
        """True if any part makes the host wait."""
        return any(part.host_sync for part in self.parts.values())

    @property
    def data_free(self) -> bool:  # type: ignore[override]
        """True if no part's state depends on samples."""
        return all(part.data_free for part in self.parts.values())

    def overrides(self, hook: str) -> bool:
        """Return whether any part has its own `hook`."""
        return any(part.overrides(hook) for part in self.parts.values())

    def owners(self, hook: str) -> int:
        """Return the number of parts with their own `hook`."""
        return sum(part.owners(hook) for part in self.parts.values())

    def _owner(self, hook: str) -> Method:
        """Return the one part with its own `hook`, or the plain method."""
        return next((part for part in self.parts.values() if part.overrides(hook)), Method())

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Set up every part."""
        for part in self.parts.values():
            part.setup(learner, stream)

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Begin in every part. Parts that anchor trained parameters come last, when all parameters exist."""
        for part in sorted(self.parts.values(), key=lambda part: Trait.ANCHORS_TRAINED in part.traits):
            part.begin_task(learner, task)

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Fit as the one part that defines `fit`, with the history of its access, or as usual."""
        owner = self._owner("fit")
        owner.fit(learner, task, train, history if owner.access != "current" else ())

    def extend_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Pass the batch through every part that extends it."""
        for part in self.parts.values():
            batch = part.extend_batch(learner, batch)
        return batch

    def criterion(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return the loss of the one part that defines it, or cross-entropy."""
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
        """Return the replacements of the one part that reparametrizes."""
        owner = self._owner("reparametrize")
        return owner.reparametrize(learner, task_id) if reparametrizes(owner) else {}

    def on_epoch_end(self, learner: Learner, task: Task, rate: float, decayed: bool) -> float:
        """Let every part act; the factors multiply."""
        acting = [part for part in self.parts.values() if acts_on_epoch_end(part)]
        return float(math.prod(part.on_epoch_end(learner, task, rate, decayed) for part in acting))

    def generation_context(self, learner: Learner, inputs: Tensor) -> AbstractContextManager[None]:
        """Return the context of the one part that has one."""
        owner = self._owner("generation_context")
        return owner.generation_context(learner, inputs) if has_generation_context(owner) else nullcontext()

    def forget_score(self, learner: Learner, inputs: Tensor) -> Tensor:
        """Return the scores of the first part that has any."""
        owner = self._owner("forget_score")
        if not scores_forgetting(owner):
            raise NotImplementedError("no part of the composition has a forget_score")
        return owner.forget_score(learner, inputs)

    def after_step(self, learner: Learner) -> None:
        """Let every part act, in order."""
        for part in self.parts.values():
            part.after_step(learner)

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """End in every part; each gets the history of its own access."""
        for part in self.parts.values():
            part.end_task(learner, task, history if part.access != "current" else ())

    def predict(self, learner: Learner, inputs: Tensor, task_id: int | None) -> Tensor:
        """Predict as the one part that defines `predict`, or by the logits."""
        return self._owner("predict").predict(learner, inputs, task_id)

    def state(self) -> dict[str, Any]:
        """Return the state of every part."""
        return {name: part.state() for name, part in self.parts.items()}

    def load_state(self, learner: Learner, state: dict[str, Any]) -> None:
        """Restore every part. First come parts that may add modules to the model, because a stored earlier model has them too."""
        for name, part in sorted(self.parts.items(), key=lambda item: not item[1].overrides("load_state")):
            part.load_state(learner, state[name])

    def diagnostics(self) -> dict[str, Any]:
        """Return the diagnostics of each part that has any."""
        found = {name: part.diagnostics() for name, part in self.parts.items()}
        return {name: value for name, value in found.items() if value}
