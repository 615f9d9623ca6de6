"""Runs that differ in their seed only, trained side by side: one forward pass, backward pass and step for all of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clbench.engine.evaluation.accuracy import Row, counted, evaluate, parts
from clbench.engine.fast.cuda_graphs import GraphedStep, Recorder
from clbench.engine.learner.batch import Batch
from clbench.engine.learner.learner import Learner
from clbench.engine.optimizers import clip_each_by_norm
from clbench.engine.pace import Pace
from clbench.engine.replicas.refusals import common_reason
from clbench.engine.replicas.stack import Stack, StackingError, stack_trees, unstack_tree
from clbench.engine.training.acceleration import graph_recorder
from clbench.engine.training.loop import OnEpoch, OnStep, Training
from clbench.engine.training.step import StepPlan, apply_gradients, step_plan
from clbench.errors import DivergedError
from clbench.stream import EvaluationSet

REPLAYED = 2
"""Number of first steps of each task with a check for a dependence outside the stack; replay begins with the second step."""


class StackedTraining:
    """The trainings of several seeds in lockstep.

    Per-task hooks are called for one replica at a time, on a plain model. So are per-step hooks, on views of the stacked
    tensors, unless the method declares `stackable`: then they are called once, on tensors `[R, ...]`.
    """

    def __init__(self, trainings: Sequence[Training]) -> None:
        """Check the conditions that are known before training.

        Raises:
            StackingError: with the reason.
        """
        reason = unsupported_reason(trainings)
        if reason:
            raise StackingError(reason)
        self.trainings = list(trainings)
        self.stack = Stack([training.learner for training in trainings])
        self.failed: dict[int, DivergedError] = {}
        """Replicas that diverged in the current task, by position."""
        self._verified = False
        self._recorder: Recorder | None = None
        first = self.trainings[0]
        own = [hook for hook in ("edit_gradients", "edit_update") if first.method.overrides(hook) and not first.method.stackable]
        own += [hook for hook in ("extend_batch", "criterion", "penalty") if first.method.overrides(hook)]
        whole = first.learner.stream.own_heads and first.learner.stream.outputs == "all"
        self._one_by_one = bool(own) or whole
        for training in self.trainings:
            training.project_no_inputs()  # the replicas' own forward passes are not those that train

    def accelerate(self, mode: str | None, graph: bool, tell: Callable[[str], None], recorder: Recorder | None = None) -> None:
        """Compile the stacked forward pass, and replay stacked steps; arguments as of `Training.accelerate`."""
        if mode is not None:
            self.stack.compile(mode, tell)
        if graph:
            first = self.trainings[0]
            self._recorder = graph_recorder(first.learner, first.method, first.trainer, tell, recorder)

    def keep(self, positions: Sequence[int]) -> None:
        """Continue with these replicas only; call between tasks."""
        self.trainings = [self.trainings[i] for i in positions]
        self.stack.keep([training.learner for training in self.trainings])
        self.failed = {}

    def learn(self, index: int, on_step: OnStep | None = None, on_epoch: OnEpoch | None = None) -> None:
        """Let all replicas learn task `index`; `failed` names those that diverge, which are not consolidated.

        Raises:
            StackingError: the replicas differ in structure; the work on this task is lost.
        """
        trainings, learners = self.trainings, self.stack.learners
        for training in trainings:
            training.begin(training.learner.stream.tasks[index])
        first = trainings[0]
        optimizer = copy.copy(first.learner.optimizer)
        optimizer.reset()
        if optimizer.carry:
            optimizer.load_state(stack_trees([learner.optimizer.state() for learner in learners]))
        self.stack.gather()
        try:
            self._stacked = learners[0].stacked(self.stack.parameters, optimizer)
            self.method = copy.copy(first.method)
            if first.method.stackable:
                self.method.load_state(self._stacked, stack_trees([training.method.state() for training in trainings]))
            self._plan = self._step_plan()
            self._graphed = None
            if self._recorder is not None:
                self._graphed = GraphedStep(self.step, lambda: self._stacked.lr, self._recorder)
            self._fit(on_step, on_epoch)
            if first.method.stackable:
                states = unstack_tree(self.method.state(), len(trainings))
                for training, state in zip(trainings, states, strict=True):
                    training.method.load_state(training.learner, state)
            if optimizer.carry:
                for learner, state in zip(learners, unstack_tree(optimizer.state(), len(learners)), strict=True):
                    learner.optimizer.load_state(state)
        finally:
            self.stack.release()
        for position, training in enumerate(trainings):
            if position not in self.failed:
                training.end()

    def _step_plan(self) -> StepPlan:
        """Return the plan of the stacked step: `stackable` hooks get stacked tensors, others those of one replica at a time."""
        plan = step_plan(self._stacked, self.method, self.trainings[0].trainer, project_inputs=False)
        plan = replace(plan, edit_in_place=False)
        if self.method.stackable:
            return plan
        return replace(
            plan,
            edit_gradients=plan.edit_gradients and self._edit_gradients,
            edit_update=plan.edit_update and self._edit_update,
            after_step=plan.after_step and self._after_step,
        )

    def _fit(self, on_step: OnStep | None, on_epoch: OnEpoch | None) -> None:
        first = self.trainings[0]
        sizes, steps, epochs = first.lengths(len(first.task.train))
        pace = first.pace(epochs, steps)
        rate = pace.start(first.learner.base_lr)
        for epoch in range(epochs):
            self._set_rate(rate)
            self._epoch(epoch, sizes[: steps - epoch * len(sizes)], on_step, pace if pace.by_step else None)
            if on_epoch is not None:
                on_epoch(epoch, epochs)
            following = pace.after_epoch(epoch, None)
            assert following is not None  # only a schedule that watches validation stops early
            rate = following

    def _set_rate(self, rate: float) -> None:
        for learner in (*self.stack.learners, self._stacked):
            learner.set_rate(rate)

    def _epoch(self, epoch: int, sizes: list[int], on_step: OnStep | None, pace: Pace | None) -> None:
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
                    training.count(steps=1)
                if pace is not None:
                    self._set_rate(pace.after_step())
                if on_step is not None:
                    on_step(self.trainings[0].step_count)
                    self.stack.train()
        means = torch.stack(losses).mean(0).tolist()
        for position, (training, mean) in enumerate(zip(self.trainings, means, strict=True)):
            training.count(samples=sum(sizes))
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
        apply_gradients(self._plan, self._stacked, names, parameters, found, batches, clip_each_by_norm)
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

    def _edit_gradients(self, stacked: Learner, batches: Sequence[Batch]) -> None:
        """Let every replica's method edit its own gradients, views of `stacked.gradients` (name -> `[R, ...]`)."""
        for index, (training, batch) in enumerate(zip(self.trainings, batches, strict=True)):
            training.learner.gradients = _row(stacked.gradients, index)
            training.method.edit_gradients(training.learner, batch)
            _write_back(training.learner.gradients, stacked.gradients, index)

    def _edit_update(self, stacked: Learner, updates: dict[str, Tensor]) -> None:
        """Let every replica's method edit its own update, views of `updates` (name -> `[R, ...]`)."""
        for index, training in enumerate(self.trainings):
            own = _row(updates, index)
            training.method.edit_update(training.learner, own)
            _write_back(own, updates, index)

    def _after_step(self, stacked: Learner) -> None:
        """Let every replica's method act on its own parameters, which are views of the stacked ones."""
        for training in self.trainings:
            training.method.after_step(training.learner)

    def measure(self, columns: Sequence[tuple[EvaluationSet, ...]], batch_size: int) -> list[Row]:
        """Return one row of the matrix for every replica, on the evaluation sets of its stream (see `evaluate`)."""
        first = self.trainings[0]
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
            for side_by_side in zip(*own, strict=True):
                _, _, owner, task_id = side_by_side[0]
                inputs = torch.stack([stream.preprocess(raw) for raw, _, _, _ in side_by_side])
                logits = self.stack.logits(inputs, 0 if task_id is None else task_id)
                if task_id is None:
                    logits = logits[..., : stream.active_outputs(task)]
                right = logits.argmax(dim=2) == torch.stack([labels for _, labels, _, _ in side_by_side])
                hits.index_add_(1, owner, right.to(torch.int64))
        if between:
            self.stack.release()
        return [counted(row, each) for row, each in zip(hits, columns, strict=True)]


def _row(stacked: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    return {name: value[index] for name, value in stacked.items()}


def _write_back(own: dict[str, Tensor], stacked: dict[str, Tensor], index: int) -> None:
    """Copy into `stacked` the tensors of one replica that a hook replaced instead of changing them."""
    for name, value in stacked.items():
        if own[name].data_ptr() != value[index].data_ptr():
            value[index].copy_(own[name])


def unsupported_reason(trainings: Sequence[Training]) -> str | None:
    """Return why these trainings cannot go side by side, if known before the first step; else None."""
    first = trainings[0]
    reason = common_reason(first.learner, first.method, first.trainer)
    if reason is not None:
        return reason
    if first.trainer.schedule.needs_validation:
        return "trainer.schedule depends on the validation loss, which differs between seeds"
    streams = [training.learner.stream for training in trainings]
    if len({tuple(len(task.train) for task in stream.tasks) for stream in streams}) > 1:
        return "the seeds' tasks differ in size"
    if len({tuple(len(column.split) for column in stream.evaluation) for stream in streams}) > 1:
        return "the seeds' evaluation sets differ in size"
    if len({stream.head_sizes for stream in streams}) > 1:
        return "the seeds' outputs differ in number"
    return None
