"""Low-rank adaptation, task after task: one adapter for all tasks, or one for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench.engine.learner.learner import Learner
from clbench.method import Method, Trait
from clbench.stream import Stream, Task
from clbench.toolkit import weight_matrices
from clbench.toolkit.lora import Adapters, Targets, principal_cosines

PAST = "past"
"""Name of the adapter that joins all adapters of earlier tasks."""


@dataclass
class SeqLoRA(Method):
    """One low-rank adapter (Hu et al., ICLR 2022) that all tasks train in turn. The network below is frozen.

    W x becomes W x + alpha / r * B A dropout(x) in every target layer. The adapter and the heads train. Weights, biases,
    embeddings and parameters of normalisation layers are frozen, and running statistics do not change. The head of a language
    model that writes its answers is a part of the network, and is frozen too.

    Args:
        rank: r.
        alpha: the adapter's output is multiplied by alpha / r.
        dropout: rate of dropout on the adapter's input, in training.
        targets: endings of layer names in the backbone, matched at dots (`[query, value]`), or `all-linear`. None: PEFT's choice
            for a model of this type; all linear layers if PEFT has none.
        base: `frozen`: frozen from the start, for pre-trained networks. `first_task`: the first task trains the whole network,
            without adapters; for networks with random weights.
    """

    rank: Annotated[int, Field(ge=1)]
    alpha: Annotated[float, Field(gt=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    targets: Targets
    base: Literal["frozen", "first_task"]
    supports_generation: ClassVar[bool] = True
    data_free: ClassVar[bool] = True

    @property
    def traits(self) -> frozenset[Trait]:  # type: ignore[override]
        """The adapter replaces the layers' parameters before task 0 (`frozen`) or after (`first_task`, which needs that task)."""
        if self.base == "frozen":
            return frozenset({Trait.REPLACES_PARAMETERS_ONCE})
        return frozenset({Trait.REPLACES_PARAMETERS_LATER, Trait.NEEDS_FIRST_TASK})

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Find the layers; no adapter yet."""
        self._adapters = Adapters(learner, self.targets, self.alpha / self.rank)
        learner.completions.append(self._adapters.initial)
        self._generator = learner.generator
        self._report: dict[str, Any] = {}
        self.names: list[str] = []

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Add the adapter, and freeze everything else in the backbone."""
        if task.index == 0 and self.base == "first_task":
            return
        self._extend(learner, task)
        self._settle(learner)

    def _extend(self, learner: Learner, task: Task) -> None:
        """Make the one adapter."""
        if not self.names:
            self._make(learner, task)

    def _make(self, learner: Learner, task: Task) -> None:
        """Add an adapter with the task's name. Its initial values depend only on the seed, the task and the layer."""
        self.names.append(f"task{task.index}")
        self._add_newest()

    def _add_newest(self) -> None:
        index = int(self.names[-1].removeprefix("task"))
        self._adapters.add(self.names[-1], self.rank, self.dropout, partial(self._generator, "lora", index))

    def _settle(self, learner: Learner) -> None:
        """Train only the newest adapter and the heads."""
        self._adapters.train(self.names[-1])
        if learner.stream.vocabulary is not None:  # the head is the network's own
            learner.model.heads.requires_grad_(False)
        weight_matrices.freeze_statistics(learner)
        learner.rebuild()

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Record the sizes of the adapters."""
        self._report = {
            "adapter_bytes": self._bytes(),
            "trainable_parameters": sum(parameter.numel() for parameter in learner.trainable()[1]),
        }

    def _bytes(self) -> int:
        """Return the bytes of all adapters."""
        present = [factor for name in self._adapters.present for pair in self._adapters.factors(name).values() for factor in pair]
        return sum(factor.numel() * factor.element_size() for factor in present)

    def load_state(self, learner: Learner, state: dict[str, Any]) -> None:
        """Add the adapters again; the model's weights fill them."""
        super().load_state(learner, state)
        if self.names:
            self._restore()
            self._settle(learner)

    def _restore(self) -> None:
        self._add_newest()

    def diagnostics(self) -> dict[str, Any]:
        """Return the adapters' bytes and the number of trained parameters, including those of active heads."""
        return self._report


@dataclass
class IncLoRA(SeqLoRA):
    """A low-rank adapter for every task. Adapters of earlier tasks stay active and frozen (`IncLoRA` of Wang et al., 2023).

    Earlier adapters get no dropout, because dropout would change their outputs. When the next task begins, the last task's
    adapter is joined to the earlier ones.

    Args:
        past: the place of earlier adapters. `apart`: joined in one adapter of rank r * tasks, as in the O-LoRA authors' program;
            every forward pass computes this adapter. `folded`: added to the layers' weights, W += alpha / r * B A, with a copy of
            A and B. Both compute the same.
    """

    past: Literal["apart", "folded"]

    @property
    def traits(self) -> frozenset[Trait]:  # type: ignore[override]
        """A new adapter at every task; the model itself keeps the earlier ones."""
        own = {Trait.STORES_IN_WEIGHTS, Trait.REPLACES_PARAMETERS_LATER}
        return super().traits - {Trait.REPLACES_PARAMETERS_ONCE} | own

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Start without earlier adapters."""
        super().setup(learner, stream)
        self.kept: dict[str, list[Tensor]] = {}

    def _extend(self, learner: Learner, task: Task) -> None:
        """Join the last task's adapter to the earlier ones, and make a new one."""
        if self.names:
            self._join()
        self._make(learner, task)

    def _join(self) -> None:
        adapters, name = self._adapters, self.names[-1]
        last = {layer: [factor.detach() for factor in pair] for layer, pair in adapters.factors(name).items()}
        earlier = self._past()
        joined = {
            layer: [torch.cat([earlier[layer][0], a]), torch.cat([earlier[layer][1], b], 1)] if earlier else [a, b]
            for layer, (a, b) in last.items()
        }
        if self.past == "folded":
            self.kept = {layer: [factor.clone() for factor in pair] for layer, pair in joined.items()}
            adapters.fold(name)
            return
        adapters.remove(name)
        if PAST in adapters.present:
            adapters.remove(PAST)
        adapters.add(PAST, self.rank * len(self.names))
        adapters.write(PAST, {layer: (a, b) for layer, (a, b) in joined.items()})

    def _past(self) -> dict[str, list[Tensor]]:
        """Return A `[r * tasks, d_in]` and B `[d_out, r * tasks]` of all earlier tasks by layer; empty without any."""
        if self.past == "folded" or PAST not in self._adapters.present:
            return self.kept
        return {layer: [factor.detach() for factor in pair] for layer, pair in self._adapters.factors(PAST).items()}

    def _restore(self) -> None:
        if self.past == "apart" and len(self.names) > 1:
            self._adapters.add(PAST, self.rank * (len(self.names) - 1))
        super()._restore()

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Record the angles between the new adapter's input directions and those of all earlier ones."""
        super().end_task(learner, task, history)
        earlier = self._past()
        if not earlier:
            return
        found = [principal_cosines(a, earlier[layer][0]) for layer, (a, _) in self._adapters.factors(self.names[-1]).items()]
        largest, means = (torch.stack([values(each) for each in found]) for values in (torch.max, torch.mean))
        self._report |= {
            "cosine_max": {"max": float(largest.max()), "mean": float(largest.mean())},
            "cosine_mean": {"max": float(means.max()), "mean": float(means.mean())},
        }

    def _bytes(self) -> int:
        return super()._bytes() + sum(f.numel() * f.element_size() for pair in self.kept.values() for f in pair)

    def diagnostics(self) -> dict[str, Any]:
        """Return the sizes, and cosines of the principal angles between the rows of the new A and of all earlier ones.

        `cosine_max` is the cosine of a layer's smallest angle, and `cosine_mean` the mean over its angles. Both are given as
        `max` and `mean` over layers.
        """
        return super().diagnostics()
