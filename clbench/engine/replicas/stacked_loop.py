"""Several trials that differ in their seed, learning side by side: one forward pass, backward pass and step for all of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clbench.engine.evaluation.accuracy import Row, counted, evaluate, parts
from clbench.engine.fast.compile import Compiled
from clbench.engine.fast.cuda_graphs import GraphedStep, Recorder, recorded
from clbench.engine.learner.batch import Batch
from clbench.engine.optimizers import clip_by_value
from clbench.engine.replicas.stack import Stack, StackingError, stack_trees, unstack_tree
from clbench.engine.training.loop import Training
from clbench.errors import DivergedError

REPLAYED = 2
"""Steps of each task whose losses are looked through for what passes by the stack; replay begins with the second."""


class StackedTraining:
    """The trainings of several seeds in lockstep.

    Per-task hooks are called for one replica at a time, on a plain model. So are per-step hooks, on views of the stacked
    tensors, unless the method declares `stackable`: then they are called once, on tensors `[R, ...]`.
    """

    def __init__(self, trainings: Sequence[Training]) -> None:
        """Check what can be known before training.

        Raises:
            StackingError: with the reason.
        """
        reason = unsupported_reason(trainings)
        if reason:
            raise StackingError(reason)
        self.trainings = list(trainings)
        self.stack = Stack([training.learner for training in trainings])
        self.failed: dict[int, DivergedError] = {}
        """Which replicas, by position, diverged in the current task."""
        self.after_step: Callable[[int], None] | None = None
        self.after_epoch: Callable[[int, int], None] | None = None
        self._verified = False
        self._recorder: Recorder | None = None
        first = self.trainings[0]
        own = [hook for hook in ("edit_gradients", "edit_update") if first.method.overrides(hook) and not first.method.stackable]
        own += [hook for hook in ("extend_batch", "criterion", "penalty") if first.method.overrides(hook)]
        whole = first.learner.stream.own_heads and first.learner.stream.outputs == "all"
        self._one_by_one = bool(own) or whole
        for learner in self.stack.learners:
            learner.bare = False  # nothing may change a replica's own forward pass: it is not what trains

    def accelerate(self, mode: str | None, graph: bool, tell: Callable[[str], None], recorder: Recorder | None = None) -> None:
        """Compile the stacked forward pass, and replay stacked steps; arguments as of `Training.accelerate`."""
        if mode is not None:
            self.stack.compiled = Compiled(self.stack.call, mode, tell, self.trainings[0].learner.contiguous)
        if graph:
            self._recorder = recorded(self.trainings[0], tell, recorder)

    def keep(self, positions: Sequence[int]) -> None:
        """Go on with these replicas only; between tasks."""
        self.trainings = [self.trainings[i] for i in positions]
        self.stack.learners = [training.learner for training in self.trainings]
        self.failed = {}

    def learn(self, index: int) -> None:
        """Let all replicas learn task `index`; those that diverge are named in `failed` and not consolidated.

        Raises:
            StackingError: they turned out not to be alike; nothing of this task is kept.
        """
        trainings, learners = self.trainings, self.stack.learners
        for training in trainings:
            training.begin(training.learner.stream.tasks[index])
        first = trainings[0]
        self._together = copy.copy(learners[0])
        self.optimizer = copy.copy(first.learner.optimizer)
        self.optimizer.reset()
        if self.optimizer.carry:
            self.optimizer.load_state(stack_trees([learner.optimizer.state() for learner in learners]))
        self._graphed = None
        if self._recorder is not None:
            self._graphed = GraphedStep(self.step, lambda: self._together.lr, self._recorder)
        self.stack.gather()
        try:
            self._together.parameters = self.stack.parameters  # type: ignore[assignment]
            self.method = copy.copy(first.method)
            if first.method.stackable:
                self.method.load_state(self._together, stack_trees([training.method.state() for training in trainings]))
            self._fit()
            if first.method.stackable:
                states = unstack_tree(self.method.state(), len(trainings))
                for training, state in zip(trainings, states, strict=True):
                    training.method.load_state(training.learner, state)
            if self.optimizer.carry:
                for learner, state in zip(learners, unstack_tree(self.optimizer.state(), len(learners)), strict=True):
                    learner.optimizer.load_state(state)
        finally:
            self.stack.release()
        for position, training in enumerate(trainings):
            if position not in self.failed:
                training.end()

    def _fit(self) -> None:
        first = self.trainings[0]
        sizes, steps, epochs = first.plan(len(first.task.train))
        schedule = first.trainer.schedule
        rate: float = schedule.start(first.learner.base_lr, epochs)
        for epoch in range(epochs):
            for learner in (*self.stack.learners, self._together):
                learner.lr = rate
            self._epoch(epoch, sizes[: steps - epoch * len(sizes)])
            if self.after_epoch is not None:
                self.after_epoch(epoch, epochs)
            following = schedule.after_epoch(epoch, None)
            assert following is not None  # only a schedule that watches validation stops early
            rate = following

    def _epoch(self, epoch: int, sizes: list[int]) -> None:
        step = partial(self.step, epoch=epoch) if self._graphed is None else self._graphed
        self.stack.train()
        losses: list[Tensor] = []
        for gathered in zip(*(each.gathered(each.task.train, epoch, sizes) for each in self.trainings), strict=True):
            group, larges = gathered[0][1], [large for large, _ in gathered]
            columns = [[large.inputs for large in larges], [large.labels for large in larges], [large.rows for large in larges]]
            pieces = (torch.split(torch.stack(column), group, dim=1) for column in columns)
            for inputs, labels, rows in zip(*pieces, strict=True):
                losses.append(step(inputs, labels, rows))
                for training in self.trainings:
                    training.step_count += 1
                if self.after_step is not None:
                    self.after_step(self.trainings[0].step_count)
                    self.stack.train()
        means = torch.stack(losses).mean(0).tolist()
        for position, (training, mean) in enumerate(zip(self.trainings, means, strict=True)):
            training.samples += sum(sizes)
            try:
                training.note(mean, epoch)
            except DivergedError as error:
                self.failed.setdefault(position, error)

    def step(self, inputs: Tensor, labels: Tensor, rows: Tensor, epoch: int = 0) -> Tensor:
        """Move the parameters of all replicas once; return their losses `[R]` (detached, on the device).

        Args:
            inputs: `[R, B, ...]`, preprocessed.
            labels: int64 `[R, B]`.
            rows: int64 `[R, B]`.
            epoch: pass over the data.
        """
        first, learners, stack = self.trainings[0], self.stack.learners, self.stack
        asks = first.method.overrides
        batches: list[Batch] = []
        if self._one_by_one or not self._verified:
            every = zip(inputs, labels, rows, strict=True)
            batches = [Batch(x, y, own, first.task.index, epoch, None, y.shape[0]) for x, y, own in every]
        if asks("extend_batch"):
            batches = self._apart("extend_batch", batches)
            if len({len(batch) for batch in batches}) > 1:
                raise StackingError("the seeds replay different numbers of samples")
            inputs, labels = torch.stack([each.inputs for each in batches]), torch.stack([each.labels for each in batches])
        with learners[0].arithmetic:
            if not self._verified:
                stack.verify(inputs, batches, first.trainer.precision)
            logits = stack.forward(inputs, batches)
            if asks("criterion"):
                losses = torch.stack(self._apart("criterion", batches, logits))
            else:
                apart = F.cross_entropy(logits.flatten(0, 1), labels.flatten(0, 1), reduction="none")
                losses = apart.view_as(labels).mean(1)
            if asks("penalty"):
                losses = losses + torch.stack(self._apart("penalty", batches, logits))
        if first.step_count < REPLAYED:
            stack.verify_reached(losses)
        self._verified = True
        names, parameters = stack.trainable(bool(batches) and learners[0].needs_all_heads(batches[0]))
        found = torch.autograd.grad(losses.sum(), parameters, allow_unused=True)
        gradients = {name: gradient for name, gradient in zip(names, found, strict=True) if gradient is not None}
        names, parameters = list(gradients), [stack.parameters[name] for name in gradients]
        with torch.no_grad():
            if asks("edit_gradients"):
                self._edit("edit_gradients", gradients, batches)
            clip(list(gradients.values()), first.trainer.clip_value, first.trainer.clip_norm)
            directions = self.optimizer.directions(names, parameters, list(gradients.values()))
            if asks("edit_update"):
                updates = {name: direction.clone() for name, direction in zip(names, directions, strict=True)}
                self._edit("edit_update", updates, batches)
                directions = [updates[name] for name in names]
            torch._foreach_add_(parameters, directions, alpha=-self._together.lr)
        return losses.detach()

    def _apart(self, hook: str, batches: Sequence[Batch], logits: Tensor | None = None) -> list[Any]:
        """Call a hook of every replica, on its own batch; with `logits` it is one whose result is differentiated."""
        results = []
        for index, (training, batch) in enumerate(zip(self.trainings, batches, strict=True)):
            call = getattr(training.method, hook)
            if logits is None:
                results.append(call(training.learner, batch))
            else:
                with self.stack.differentiable(index):
                    results.append(call(training.learner, batch, logits[index]))
        return results

    def _edit(self, hook: str, stacked: dict[str, Tensor], batches: Sequence[Batch]) -> None:
        """Let `edit_gradients` or `edit_update` change `stacked` (name -> `[R, ...]`) in place.

        Gradients stay with the learner until the next step: a method may ask for them when it sees the step.
        """
        gradients = hook == "edit_gradients"
        if self.method.stackable and gradients:
            self._together.gradients = stacked
            self.method.edit_gradients(self._together, None)  # type: ignore[arg-type]  # proved without a batch
            return
        if self.method.stackable:
            self.method.edit_update(self._together, stacked)
            return
        for index, (training, batch) in enumerate(zip(self.trainings, batches, strict=True)):
            own = {name: value[index] for name, value in stacked.items()}
            if gradients:
                training.learner.gradients = own
                training.method.edit_gradients(training.learner, batch)
                own = training.learner.gradients
            else:
                training.method.edit_update(training.learner, own)
            for name, value in stacked.items():
                if own[name].data_ptr() != value[index].data_ptr():  # it was replaced, not changed
                    value[index].copy_(own[name])

    def measure(self, batch_size: int) -> list[Row]:
        """Return one row of the matrix for every replica (see `evaluate`)."""
        first = self.trainings[0]
        columns = [training.learner.stream.evaluation for training in self.trainings]
        transductive = getattr(first.learner.model, "transductive", False)
        if first.method.overrides("predict") or transductive:
            pairs = zip(self.trainings, columns, strict=True)
            return [evaluate(training.learner, training.method, own, batch_size) for training, own in pairs]
        between = not self.stack.parameters
        if between:
            self.stack.gather()
        self.stack.train(False)
        stream, task = first.learner.stream, first.learner.task
        hits = torch.zeros(len(columns), len(columns[0]), dtype=torch.int64, device=first.learner.device)
        own = [parts(training.learner, each, batch_size) for training, each in zip(self.trainings, columns, strict=True)]
        with torch.inference_mode(), first.learner.arithmetic:
            for beside in zip(*own, strict=True):
                _, _, owner, task_id = beside[0]
                inputs = torch.stack([stream.preprocess(raw) for raw, _, _, _ in beside])
                logits = self.stack.logits(inputs, 0 if task_id is None else task_id)
                if task_id is None:
                    logits = logits[..., : stream.active_outputs(task)]
                right = logits.argmax(dim=2) == torch.stack([labels for _, labels, _, _ in beside])
                hits.index_add_(1, owner, right.to(torch.int64))
        if between:
            self.stack.release()
        return [counted(row, each) for row, each in zip(hits, columns, strict=True)]


def unsupported_reason(trainings: Sequence[Training]) -> str | None:
    """Return why these trainings cannot go side by side, as far as that is known before the first step; None: they can."""
    first = trainings[0]
    for hook in ("fit", "reparametrize", "on_epoch_end"):
        if first.method.overrides(hook):
            return f"{type(first.method).__name__} has its own {hook}"
    if first.trainer.schedule.needs_validation:
        return "trainer.schedule goes by the validation loss, which differs between seeds"
    if first.learner.stream.vocabulary is not None or first.learner.model.sequential:
        return "models from transformers are not stacked"
    if first.trainer.micro_batch_size is not None:
        return "trainer.micro_batch_size takes a batch in parts"
    if first.method.host_sync:
        return f"{type(first.method).__name__} waits for the host in every step"
    streams = [training.learner.stream for training in trainings]
    if len({tuple(len(task.train) for task in stream.tasks) for stream in streams}) > 1:
        return "the seeds' tasks differ in size"
    if len({tuple(len(column.split) for column in stream.evaluation) for stream in streams}) > 1:
        return "the seeds' evaluation sets differ in size"
    if len({stream.head_sizes for stream in streams}) > 1:
        return "the seeds' outputs differ in number"
    return None


def clip(gradients: list[Tensor], value: float | None, norm: float | None) -> None:
    """Clip stacked gradients in place as single ones are: entries to ±`value`, each replica's joint norm to `norm`."""
    if value is not None:
        clip_by_value(gradients, value)
    if norm is not None:
        joint = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
        factor = (norm / (joint + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))
