"""The learner: model, optimiser and device, and how a batch becomes logits in each setting."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from clbench.data.answer_tokens import written
from clbench.data.pool import Split
from clbench.engine.fast import mlp_backward as chains
from clbench.engine.fast.compile import Compiled
from clbench.engine.fast.mlp_backward import Projecting
from clbench.engine.learner.batch import Batch as Batch
from clbench.engine.learner.parameters import call_with
from clbench.engine.learner.precision import full
from clbench.engine.learner.teacher import Snapshot
from clbench.engine.learner.weights import Weights
from clbench.engine.optimizers import Optimizer
from clbench.engine.replay.memory import Memory, Policy
from clbench.models.classifier import Classifier
from clbench.stream import Stream
from clbench.utils import rng


class Learner(Weights):
    """Model, optimiser, device and the stream's shape; methods see it in every hook."""

    def __init__(
        self, stream: Stream, initial: Callable[[], Classifier], optimizer: Optimizer, device: torch.device, seed: int
    ) -> None:
        """Build the model.

        Args:
            stream: setting, outputs, tasks.
            initial: returns a freshly initialised model, the same at every call.
            optimizer: see `engine.optimizers`.
            device: where the pools and the model live.
            seed: of the trial.
        """
        super().__init__(stream, initial, optimizer, device)
        self.seed = seed
        self.gradients: dict[str, Tensor] = {}
        self.reparametrize: Callable[[int | None], dict[str, Tensor]] | None = None
        """What a method puts in the place of parameters, by task; None: nothing, ever."""
        self.bare = False
        """Whether a step is the loss's gradient times the rate, and at most one method changes or watches it."""
        self.arithmetic: AbstractContextManager[Any] = nullcontext()
        """In what precision the engine's forward passes are made: a context for each (see `engine.learner.precision`)."""
        self.compiled: Compiled | None = None
        """The model's forward pass as steps use it, where it is compiled."""
        self.projecting: Projecting | None = None
        """What projects the rows that a step's gradients are made of, where it is a chain (`engine.fast.mlp_backward`)."""
        self.stepping = False
        """Whether the forward pass of a step is under way."""
        self.place: tuple[str | int, ...] = ()
        """Whose draws these are, if several learn with one model (federated clients): part of every generator's name."""
        self._offsets = torch.tensor(stream.offsets, device=device)
        self._owners = torch.tensor([t for t, n in enumerate(stream.head_sizes) for _ in range(n)], device=device)

    # ---- randomness
    def generator(self, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a generator of the trial's own for one purpose; a method names itself first."""
        return rng.generator(self.seed, *purpose, *self.place, device=device)

    def memory(self, size: int, policy: Policy = "reservoir", name: str = "memory") -> Memory:
        """Return an empty index memory of at most `size` training samples (see `engine.replay.memory`)."""
        return Memory(self, size, policy, name)

    def snapshot(self) -> Snapshot:
        """Return an empty keeper of an earlier model (see `engine.learner.teacher`)."""
        return Snapshot(self)

    # ---- batches and logits
    def batch(
        self,
        split: Split,
        positions: Tensor,
        epoch: int = 0,
        augment: torch.Generator | None = None,
        raw: Tensor | None = None,
    ) -> Batch:
        """Return the samples of `split` at `positions` (int64 `[B]`), preprocessed, labels as columns of the logits.

        `raw` is `split.inputs(positions)`, where that is at hand.
        """
        raw = split.inputs(positions) if raw is None else raw
        if augment is not None and self.stream.preprocess.augments:
            raw = self.stream.preprocess.augment(raw, augment)
        labels = written(raw) if self.stream.vocabulary is not None else split.labels.index_select(0, positions)
        tasks = split.tasks.index_select(0, positions) if isinstance(split.tasks, Tensor) else None
        if self.stream.own_heads:
            if tasks is not None:
                labels = labels + self._offsets.index_select(0, tasks)
            elif self.stream.outputs == "all":
                labels = labels + self.stream.offsets[self.task]
        rows = split.rows.index_select(0, positions)
        return Batch(self.stream.preprocess(raw), labels, rows, self.task, epoch, tasks, len(rows))

    def join(self, batch: Batch, replayed: Batch) -> Batch:
        """Return `batch` followed by `replayed` samples of any tasks; the labels become columns of the joint logits."""
        if len(replayed) == 0:
            return batch
        own, labels = batch.tasks, batch.labels
        if own is None:
            own = torch.full_like(batch.rows, batch.task)
            if self.stream.own_heads and self.stream.outputs == "seen":
                labels = labels + self.stream.offsets[batch.task]
        assert replayed.tasks is not None
        return replace(
            batch,
            inputs=torch.cat([batch.inputs, replayed.inputs]),
            labels=torch.cat([labels, replayed.labels]),
            rows=torch.cat([batch.rows, replayed.rows]),
            tasks=torch.cat([own, replayed.tasks]),
        )

    def with_all_heads(self, batch: Batch) -> Batch:
        """Return `batch` as one that asks the heads of all tasks met so far, whose columns its labels then are.

        Every head met then gets a gradient, where a loss uses its outputs (`batch.joint`); outside the task setting, and
        where all heads take part anyway, nothing changes.
        """
        if not self.stream.own_heads or batch.tasks is not None:
            return batch
        labels = batch.labels if self.stream.outputs == "all" else batch.labels + self.stream.offsets[batch.task]
        return replace(batch, labels=labels, tasks=torch.full_like(batch.rows, batch.task))

    def needs_all_heads(self, batch: Batch) -> bool:
        """Return whether the batch needs the heads of several tasks side by side."""
        return self.stream.own_heads and (batch.tasks is not None or self.stream.outputs == "all")

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits `[B, outputs in play]` of a batch; foreign heads' columns are -inf."""
        task_id = batch.task if self.stream.own_heads else None
        if not self.needs_all_heads(batch):
            return self.active_logits(batch, self._run(batch.inputs, task_id or 0, task_id))
        reparametrize = self._substitutes(task_id)
        features = call_with(self.model.backbone, batch.inputs, "backbone.", reparametrize)
        heads = [call_with(self.model.heads[head], features, f"heads.{head}.", reparametrize) for head in self.asked(batch)]
        return self.active_logits(batch, full(torch.cat(heads, dim=1)))

    def asked(self, batch: Batch) -> range:
        """Return the heads whose outputs, side by side, are a batch's raw logits."""
        return (
            self._heads(wide=True)
            if not self.stream.own_heads or self.needs_all_heads(batch)
            else range(batch.task, batch.task + 1)
        )

    def active_logits(self, batch: Batch, raw: Tensor) -> Tensor:
        """Return what of the `raw` logits of the heads `asked` is in play; where these are several tasks', sets `batch.joint`."""
        return raw if self.stream.own_heads and not self.needs_all_heads(batch) else self.in_play(batch, raw)

    def in_play(self, batch: Batch, raw: Tensor) -> Tensor:
        """Return what of the `raw` logits `[B, outputs of a shared head or of all heads]` is in play; sets `batch.joint`."""
        if not self.stream.own_heads:
            batch.joint = raw
            return raw[:, : self.stream.active_outputs(self.task)]
        heads = self._heads(wide=True)
        batch.joint = raw[:, : sum(self.stream.head_sizes[: heads.stop])]
        if self.stream.outputs == "all" or batch.tasks is None:
            return batch.joint
        foreign = self._owners[: batch.joint.shape[1]] != batch.tasks.unsqueeze(1)
        return batch.joint.masked_fill(foreign, float("-inf"))

    def full_logits(self, batch: Batch, logits: Tensor) -> Tensor:
        """Return `logits`, which `forward` gave for `batch`, as `[B, all outputs of the stream]`, to compare at any time.

        Of a shared head these are all its outputs, in play or not; in the task setting NaN stands where a head was
        not asked, or masked.
        """
        if not self.stream.own_heads:
            assert batch.joint is not None
            return batch.joint
        total = logits.new_full((len(logits), sum(self.stream.head_sizes)), float("nan"))
        start = 0 if self.needs_all_heads(batch) else self.stream.offsets[batch.task]
        total[:, start : start + logits.shape[1]] = logits.masked_fill(logits.isinf(), float("nan"))
        return total

    def gradient(self, batch: Batch) -> dict[str, Tensor]:
        """Return the gradient of the mean cross-entropy on `batch`, for the parameters that `self.gradients` names.

        For methods that compare the step's gradient with one on stored samples, in `edit_gradients`. Parameters that
        took no part (heads of other tasks) have a gradient of zero.
        """
        named = {name: self.parameters[name] for name in self.gradients}
        found = chains.gradients(self, batch, list(named.values()))
        pairs = zip(named.items(), found, strict=True)
        return {name: torch.zeros_like(p) if gradient is None else gradient for (name, p), gradient in pairs}

    def logits(self, inputs: Tensor, task_id: int | None = None) -> Tensor:
        """Return `[B, outputs in play]` for preprocessed inputs; `task_id` picks the head in the task setting."""
        if not self.stream.own_heads:
            return self._run(inputs, 0, None)[:, : self.stream.active_outputs(self.task)]
        if task_id is None:
            raise ValueError("where tasks have their own heads, logits need a task_id")
        return self._run(inputs, task_id, task_id)

    def features(self, inputs: Tensor, task_id: int | None = None) -> Tensor:
        """Return `[B, d]`, what the heads get, for preprocessed inputs; `task_id` as for `logits`."""
        chain = self._without_graph()
        if chain is not None:
            return chains.features(chain, inputs)
        return call_with(self.model.backbone, inputs, "backbone.", self._substitutes(task_id))

    def _without_graph(self) -> chains.Chain | None:
        return None if torch.is_grad_enabled() else chains.usable(self)

    def _run(self, inputs: Tensor, head: int, task_id: int | None) -> Tensor:
        chain = self._without_graph()
        if chain is not None:
            return chains.logits(chain, inputs, [head])
        reparametrize = self._substitutes(task_id)
        if not reparametrize:
            model = self.compiled if self.compiled is not None and self.stepping else self.model
            return full(model(inputs, head))
        features = call_with(self.model.backbone, inputs, "backbone.", reparametrize)
        return full(call_with(self.model.heads[head], features, f"heads.{head}.", reparametrize))

    def _substitutes(self, task_id: int | None) -> dict[str, Tensor]:
        return {} if self.reparametrize is None else self.reparametrize(task_id)
