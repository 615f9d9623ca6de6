"""The learner: model, optimiser and device, and how a batch becomes logits in each setting."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clbench.data.answer_tokens import answer_ids
from clbench.data.pool import Split
from clbench.engine.fast import mlp_layers
from clbench.engine.fast.mlp_backward import InputProjection, differentiate
from clbench.engine.learner.batch import Batch as Batch
from clbench.engine.learner.parameters import call_with
from clbench.engine.learner.precision import full
from clbench.engine.learner.teacher import Teacher
from clbench.engine.learner.weights import Weights
from clbench.engine.optimizers import Optimizer
from clbench.engine.replay.memory import Memory, Policy
from clbench.models.classifier import Classifier
from clbench.stream import Stream
from clbench.utils import rng


class Learner(Weights):
    """Model, optimiser, device and the stream's shape; methods get it in every hook."""

    def __init__(
        self, stream: Stream, initial: Callable[[], Classifier], optimizer: Optimizer, device: torch.device, seed: int
    ) -> None:
        """Build the model.

        Args:
            stream: setting, outputs, tasks.
            initial: returns a freshly initialised model, the same at every call.
            optimizer: see `engine.optimizers`.
            device: of the pools and the model.
            seed: of the run.
        """
        super().__init__(stream, initial, optimizer, device)
        self.seed = seed
        self.gradients: dict[str, Tensor] = {}
        self.evaluation_cache: dict[str, Any] = {}
        """Results that a method may use again within one evaluation; it is emptied afterwards."""
        self.input_projection: InputProjection | None = None
        """Projects the layer inputs in a step's gradients, for an MLP (`engine.fast.mlp_backward`)."""
        self.stepping = False
        """True during the forward pass of a step."""
        self._offsets = torch.tensor(stream.offsets, device=device)
        self._owners = torch.tensor([t for t, n in enumerate(stream.head_sizes) for _ in range(n)], device=device)

    # ---- randomness
    def generator(self, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a generator of this run for one purpose; a method puts its own name first."""
        return rng.generator(self.seed, *purpose, *self.rng_scope, device=device)

    def memory(self, size: int, policy: Policy = "reservoir", name: str = "memory") -> Memory:
        """Return an empty index memory of at most `size` training samples (see `engine.replay.memory`)."""
        return Memory(self, size, policy, name)

    def teacher(self) -> Teacher:
        """Return an empty teacher; its `take` copies the model (see `engine.learner.teacher`)."""
        return Teacher(self)

    # ---- how a step is made
    def project_inputs(self, projection: InputProjection | None) -> None:
        """Project the layer inputs in the gradients of all following steps; None: stop."""
        self.input_projection = projection

    @contextmanager
    def substituting(self, parameters: Mapping[str, Tensor]) -> Iterator[None]:
        """Use `parameters` in the place of the model's own, in forward passes and in `self.parameters`, inside the context."""
        own, rows = self.parameters, dict(parameters)
        self.parameters = rows  # type: ignore[assignment]
        try:
            with self.acting(replace(self.plan, reparametrize=lambda task_id: rows), self.rng_scope):
                yield
        finally:
            self.parameters = own

    def stacked(self, parameters: Mapping[str, Tensor], optimizer: Optimizer) -> Learner:
        """Return a copy of the learner with parameters `[R, ...]`, for hooks that work with a leading replica axis."""
        twin = copy.copy(self)
        twin.parameters, twin.optimizer, twin.gradients = dict(parameters), optimizer, {}  # type: ignore[arg-type]
        return twin

    def step_logits(self, batch: Batch) -> Tensor:
        """Return the logits of `forward` for a step; with the compiled model and projected inputs, if the plan has these."""
        self.stepping = True
        try:
            return self.forward(batch)
        finally:
            self.stepping = False

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

        `raw` is `split.inputs(positions)`, if the caller has it.
        """
        raw = split.inputs(positions) if raw is None else raw
        if augment is not None and self.stream.preprocess.augments:
            raw = self.stream.preprocess.augment(raw, augment)
        labels = answer_ids(raw) if self.stream.vocabulary is not None else split.labels.index_select(0, positions)
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
        """Return `batch` as one that uses the heads of all tasks so far; its labels become columns of their joint logits.

        Every such head then gets a gradient, if a loss uses its outputs (`batch.joint`). Outside the task setting, and if all
        heads take part anyway, nothing changes.
        """
        if not self.stream.own_heads or batch.tasks is not None:
            return batch
        labels = batch.labels if self.stream.outputs == "all" else batch.labels + self.stream.offsets[batch.task]
        return replace(batch, labels=labels, tasks=torch.full_like(batch.rows, batch.task))

    def needs_all_heads(self, batch: Batch) -> bool:
        """Return True if the batch needs the heads of several tasks side by side."""
        return self.stream.own_heads and (batch.tasks is not None or self.stream.outputs == "all")

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits `[B, active outputs]` of a batch; foreign heads' columns are -inf."""
        task_id = batch.task if self.stream.own_heads else None
        if not self.needs_all_heads(batch):
            return self.active_logits(batch, self._run(batch.inputs, task_id or 0, task_id))
        replacements = self._replacements(task_id)
        features = call_with(self.model.backbone, batch.inputs, "backbone.", replacements)
        heads = [call_with(self.model.heads[head], features, f"heads.{head}.", replacements) for head in self.asked(batch)]
        return self.active_logits(batch, full(torch.cat(heads, dim=1)))

    def forward_stored(self, drawn: Batch, beside: Batch) -> Tensor:
        """Return `forward(drawn)` for samples from memory. A single one that the model cannot take passes together with `beside`.

        Batch statistics are then those of both. With micro-batches, only the first part of `beside` takes part.
        """
        if len(drawn) != 1 or self.single_fault() is None:
            return self.forward(drawn)
        size = self.plan.micro_batch_size
        joined = self.join(beside if size is None else beside.parts(size, least=2)[0], drawn)
        logits = self.forward(joined)[-1:]
        drawn.joint = None if joined.joint is None else joined.joint[-1:]
        return logits

    def asked(self, batch: Batch) -> range:
        """Return the heads whose outputs, side by side, are a batch's raw logits."""
        return (
            self._heads(all_heads=True)
            if not self.stream.own_heads or self.needs_all_heads(batch)
            else range(batch.task, batch.task + 1)
        )

    def active_logits(self, batch: Batch, raw: Tensor) -> Tensor:
        """Return the columns of the `raw` logits of the heads `asked` that are active; for several tasks, set `batch.joint`."""
        return raw if self.stream.own_heads and not self.needs_all_heads(batch) else self.in_play(batch, raw)

    def in_play(self, batch: Batch, raw: Tensor) -> Tensor:
        """Return the columns of `raw` `[B, outputs of a shared head or of all heads]` that are active; set `batch.joint`."""
        if not self.stream.own_heads:
            batch.joint = raw
            return raw[:, : self.stream.active_outputs(self.task)]
        heads = self._heads(all_heads=True)
        batch.joint = raw[:, : sum(self.stream.head_sizes[: heads.stop])]
        if self.stream.outputs == "all" or batch.tasks is None:
            return batch.joint
        foreign = self._owners[: batch.joint.shape[1]] != batch.tasks.unsqueeze(1)
        return batch.joint.masked_fill(foreign, float("-inf"))

    def full_logits(self, batch: Batch, logits: Tensor) -> Tensor:
        """Return `logits`, the result of `forward` for `batch`, as `[B, all outputs of the stream]`, comparable over tasks.

        For a shared head these are all its outputs, active or not. In the task setting, outputs of unused and masked heads
        are NaN.
        """
        if not self.stream.own_heads:
            assert batch.joint is not None
            return batch.joint
        total = logits.new_full((len(logits), sum(self.stream.head_sizes)), float("nan"))
        start = 0 if self.needs_all_heads(batch) else self.stream.offsets[batch.task]
        total[:, start : start + logits.shape[1]] = logits.masked_fill(logits.isinf(), float("nan"))
        return total

    def gradient(self, batch: Batch, beside: Batch | None = None) -> dict[str, Tensor]:
        """Return the gradient of the mean cross-entropy on `batch`, for the parameters that `self.gradients` names.

        For methods that compare the step's gradient with one on stored samples, in `edit_gradients`. Parameters that
        took no part (heads of other tasks) have a gradient of zero. `beside` is the step's batch (see `forward_stored`).
        """
        named = {name: self.parameters[name] for name in self.gradients}
        found = self._gradients(batch, list(named.values()), beside)
        pairs = zip(named.items(), found, strict=True)
        return {name: torch.zeros_like(p) if gradient is None else gradient for (name, p), gradient in pairs}

    def _gradients(self, batch: Batch, parameters: list[torch.nn.Parameter], beside: Batch | None) -> Sequence[Tensor | None]:
        mlp = self.mlp_without_graph()
        if mlp is not None:
            return differentiate(mlp, self, batch, parameters)[0]
        with torch.enable_grad():
            logits = self.forward(batch) if beside is None else self.forward_stored(batch, beside)
            loss = F.cross_entropy(logits, batch.labels)
            return torch.autograd.grad(loss, parameters, allow_unused=True)

    def logits(self, inputs: Tensor, task_id: int | None = None) -> Tensor:
        """Return `[B, active outputs]` for preprocessed inputs; `task_id` picks the head in the task setting."""
        if not self.stream.own_heads:
            return self._run(inputs, 0, None)[:, : self.stream.active_outputs(self.task)]
        if task_id is None:
            raise ValueError("where tasks have their own heads, logits need a task_id")
        return self._run(inputs, task_id, task_id)

    def features(self, inputs: Tensor, task_id: int | None = None) -> Tensor:
        """Return `[B, d]`, the inputs of the heads, for preprocessed inputs; `task_id` as for `logits`."""
        mlp = None if torch.is_grad_enabled() else self.mlp_without_graph()
        if mlp is not None:
            return mlp_layers.features(mlp, inputs)
        return call_with(self.model.backbone, inputs, "backbone.", self._replacements(task_id))

    def _run(self, inputs: Tensor, head: int, task_id: int | None) -> Tensor:
        mlp = None if torch.is_grad_enabled() else self.mlp_without_graph()
        if mlp is not None:
            return mlp_layers.logits(mlp, inputs, [head])
        replacements = self._replacements(task_id)
        if not replacements:
            model = self.compiled if self.compiled is not None and self.stepping else self.model
            return full(model(inputs, head))
        features = call_with(self.model.backbone, inputs, "backbone.", replacements)
        return full(call_with(self.model.heads[head], features, f"heads.{head}.", replacements))

    def _replacements(self, task_id: int | None) -> dict[str, Tensor]:
        reparametrize = self.plan.reparametrize
        return {} if reparametrize is None else reparametrize(task_id)

    # ---- earlier names, for plug-ins
    def snapshot(self) -> Teacher:
        """Do as `teacher`: the earlier name."""
        _renamed("snapshot", "teacher")
        return self.teacher()

    def widen(self, batch: Batch) -> Batch:
        """Do as `with_all_heads`: the earlier name."""
        _renamed("widen", "with_all_heads")
        return self.with_all_heads(batch)

    def spread(self, batch: Batch, logits: Tensor) -> Tensor:
        """Do as `full_logits`: the earlier name."""
        _renamed("spread", "full_logits")
        return self.full_logits(batch, logits)


def _renamed(old: str, new: str) -> None:
    warnings.warn(f"learner.{old} is now learner.{new}", FutureWarning, stacklevel=3)
