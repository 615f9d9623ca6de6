"""The training loop and the step: the only place where a loss is differentiated and a parameter moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clbench.data.answer_tokens import written
from clbench.data.pool import Split
from clbench.data.prefetch import ahead
from clbench.engine.fast.compile import Compiled
from clbench.engine.fast.cuda_graphs import GraphedStep, Recorder, recorded
from clbench.engine.learner.batch import batch_sizes
from clbench.engine.learner.learner import Batch, Learner
from clbench.engine.learner.precision import arithmetic
from clbench.engine.optimizers import clip_by_norm, clip_by_value
from clbench.engine.schedules import Schedule
from clbench.engine.state_size import state_bytes
from clbench.engine.training.data_access import covered
from clbench.engine.training.gradients import differentiated
from clbench.engine.training.trainer import Trainer as Trainer
from clbench.errors import ConfigError, DivergedError
from clbench.method import Method
from clbench.stream import Task
from clbench.utils import rng

GATHER = 1024
"""Samples that are gathered, augmented and normalised in one go, at least one batch: speed and memory. Under augmentation it also
says which sample gets which draw, so that another value gives another, equally valid run."""


class Training:
    """One method learning one stream's tasks: counts steps, keeps the curves, calls back within tasks."""

    def __init__(self, learner: Learner, method: Method, trainer: Trainer) -> None:
        """Find out once which hooks the method uses."""
        self.learner, self.method, self.trainer = learner, method, trainer
        self.after_step: Callable[[int], None] | None = None
        self.after_epoch: Callable[[int, int], None] | None = None
        self.step_count = 0
        self.samples = 0
        self.losses: list[float] = []
        self._extends = method.overrides("extend_batch")
        self._penalises = method.overrides("penalty")
        self._edits_gradients = method.overrides("edit_gradients")
        self._edits_update = method.overrides("edit_update")
        self._acts_between = method.overrides("on_epoch_end")
        self.first_epoch = 0
        """Number of the first epoch of a pass, where a task is learned in several (rounds of a federated task)."""
        self.work = 1.0
        """Share of a pass's steps that is taken, at least one."""
        self.attach()
        # Nobody else will look at the gradients, and each is a tensor of its own: they can be edited where they are.
        self._spare = learner.bare and not self._penalises and not method.overrides("criterion")
        self._recorder: Recorder | None = None
        self._graphed: GraphedStep | None = None

    def attach(self) -> None:
        """Let the learner act for this method, as it does until another training is attached."""
        learner, method, trainer = self.learner, self.method, self.trainer
        learner.reparametrize = partial(method.reparametrize, learner) if method.overrides("reparametrize") else None
        clipped = trainer.clip_norm is not None or trainer.clip_value is not None
        edited = clipped or self._edits_gradients or method.owners("edit_update") > 1
        whole = trainer.micro_batch_size is None  # parts differ in size, and with it in what is projected
        learner.bare = learner.optimizer.bare and whole and not edited and trainer.precision != "bf16"
        learner.arithmetic = arithmetic(trainer.precision, learner.device)

    def accelerate(self, mode: str | None, graph: bool, tell: Callable[[str], None], recorder: Recorder | None = None) -> None:
        """Compile the forward pass of steps, and replay steps as CUDA graphs, where that can be done.

        Args:
            mode: of `torch.compile`, or None.
            graph: whether steps are replayed.
            tell: is told why something is not done.
            recorder: of the graphs; None: torch's.
        """
        if mode is not None:
            self.learner.compiled = Compiled(self.learner.model, mode, tell, self.learner.contiguous)
            self.learner.bare = False  # a projection at the inputs of layers is attached to them, which is left out
        if graph:
            self._recorder = recorded(self, tell, recorder)

    def state(self) -> dict[str, Any]:
        """Return what is carried from task to task beside the model."""
        return self.method.state()

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.method.load_state(self.learner, state)

    def diagnostics(self) -> dict[str, Any]:
        """Return plain values for the record, of the task just learned."""
        return self.method.diagnostics()

    def report(self) -> dict[str, int]:
        """Return what was seen, carried and sent: samples, bytes of the method's state, bytes of messages."""
        return {"samples": self.samples, "method_state_bytes": state_bytes(self.method), "bytes_sent": 0}

    def learn(self, task: Task) -> None:
        """Let the method learn one task, from `begin_task` to `end_task`; it becomes the learner's current one."""
        if task.kind == "forget" and self.method.requests == "skipped":
            self.learner.start(task.index)
            return self.start(task)
        self.begin(task)
        self.method.fit(self.learner, task, self.fit, self.history(task))
        return self.end()

    def begin(self, task: Task) -> None:
        """Make `task` the current one, and let the method prepare for it."""
        self.learner.start(task.index)
        self.method.begin_task(self.learner, task)
        self.learner.rebuild()  # begin_task may have added, replaced or frozen parameters
        self.start(task)

    def end(self) -> None:
        """Let the method consolidate after the current task."""
        self.method.end_task(self.learner, self.task, self.history(self.task))

    def history(self, task: Task) -> tuple[Task, ...]:
        """Return the tasks whose training data the method's declared access covers, beside the current one."""
        return covered(self.learner.stream, self.method.access, task)

    def start(self, task: Task) -> None:
        """Begin a task: curves and step count start anew."""
        self.task, self.step_count, self.losses, self._passes = task, 0, [], 0
        later = self.trainer.later_lr
        self.learner.base_lr = self.learner.optimizer.lr if later is None or task.index == 0 else later
        self._graphed = None
        if self._recorder is not None:
            self._graphed = GraphedStep(self._bare_step, lambda: self.learner.lr, self._recorder)
        if self.learner.compiled is not None:
            self.learner.compiled.leave_if_hooked(self.learner.model)
        schedule: Schedule = self.trainer.schedule
        if schedule.needs_validation and task.valid is None:
            raise ConfigError(
                "trainer.schedule needs a validation split and scenario.valid_fraction is 0",
                "give scenario.valid_fraction=0.05 (or another share of the training data)",
            )

    def fit(self, split: Split, epochs: int | None = None) -> None:
        """Pass over `split` as the trainer says, or `epochs` times; methods get this as `train`.

        Raises:
            ConfigError: the method acts between epochs, and there is only one.
            DivergedError: the mean loss of an epoch is not finite.
        """
        schedule: Schedule = self.trainer.schedule
        sizes, steps, epochs = self.plan(len(split), epochs)
        learner, rate = self.learner, schedule.start(self.learner.base_lr, epochs)
        best, kept = float("inf"), None
        for epoch in range(epochs):
            learner.lr = rate
            self._epoch(split, epoch, sizes[: steps - epoch * len(sizes)])
            valid = self.validation_loss() if schedule.needs_validation else None
            if valid is not None and valid < best:
                best, kept = valid, {key: value.clone() for key, value in learner.model.state_dict().items()}
            if self.after_epoch is not None:
                self.after_epoch(epoch, epochs)
            following = schedule.after_epoch(epoch, valid)
            if following is None:
                break
            if self._acts_between and epoch + 1 < epochs:
                factor = self.method.on_epoch_end(learner, self.task, following, following < rate)
                if factor != 1:
                    schedule.rescale(factor)
                    following *= factor
            rate = following
        if kept is not None:
            learner.restore(kept)
        self._passes += 1

    def _epoch(self, split: Split, epoch: int, sizes: list[int]) -> None:
        """Pass over `split` once, in random order, in batches of `sizes` (fewer samples than there are: a part of it)."""
        learner = self.learner
        learner.train()
        losses: list[Tensor] = []
        for large, group in self.gathered(split, epoch, sizes):
            tasks = [None] * len(group) if large.tasks is None else torch.split(large.tasks, group)
            inputs_of, rows_of = torch.split(large.inputs, group), torch.split(large.rows, group)
            answers = learner.stream.vocabulary is not None
            labels_of = [written(each) for each in inputs_of] if answers else torch.split(large.labels, group)
            for inputs, labels, rows, own in zip(inputs_of, labels_of, rows_of, tasks, strict=True):
                if self._graphed is not None and own is None:
                    losses.append(self._graphed(inputs, labels, rows))
                else:
                    losses.append(self.step(Batch(inputs, labels, rows, self.task.index, epoch, own, rows.shape[0])))
                self.step_count += 1
                if self.after_step is not None:
                    self.after_step(self.step_count)
                    if not learner.model.training:  # it was measured; else there is no need to go through all modules
                        learner.train()
        self.samples += sum(sizes)
        self.note(float(torch.stack(losses).mean()), epoch)

    def gathered(self, split: Split, epoch: int, sizes: list[int]) -> Iterator[tuple[Batch, list[int]]]:
        """Yield the samples of an epoch in its order, some `GATHER` at a time, with the sizes of the batches they make up."""
        learner, key = self.learner, (self.task.index, self._passes, self.first_epoch + epoch)
        device = split.rows.device
        torch.manual_seed(rng.derive(learner.seed, "dropout", *key, *learner.place))
        augment = learner.generator("augmentation", *key, device=device) if learner.stream.preprocess.augments else None
        order = self.order(len(split), epoch).to(device)
        batches = max(1, GATHER // self.trainer.batch_size)
        groups = [sizes[first : first + batches] for first in range(0, len(sizes), batches)]
        places = torch.split(order[: sum(sizes)], [sum(group) for group in groups])
        for group, positions, raw in zip(groups, places, ahead(split, places), strict=True):
            yield learner.batch(split, positions, epoch, augment, raw), group

    def order(self, n: int, epoch: int) -> Tensor:
        """Return the order in which an epoch meets its `n` samples (int64 `[n]`, on the host)."""
        draws = self.learner.generator("batches", self.task.index, self._passes, self.first_epoch + epoch)
        return torch.randperm(n, generator=draws)

    def note(self, mean: float, epoch: int) -> None:
        """Keep the mean loss of an epoch.

        Raises:
            DivergedError: it is not finite.
        """
        if not abs(mean) < float("inf"):
            later = "method.lr" if self.task.kind == "forget" else "trainer.later_lr"
            key = "optimizer.lr" if self.learner.base_lr == self.learner.optimizer.lr else later
            where = f"task {self.task.index}, epoch {epoch} ({key}={self.learner.base_lr})"
            raise DivergedError(
                f"the loss became {mean} in {where}", f"lower {key} or the method's strength, or set trainer.clip_norm"
            )
        self.losses.append(mean)

    def plan(self, n: int, given: int | None = None) -> tuple[list[int], int, int]:
        """Return the sizes of an epoch's batches over `n` samples, and how many steps and epochs a task takes (`given`: epochs).

        Raises:
            ConfigError: the method acts between epochs, and there is only one.
        """
        sizes = batch_sizes(n, self.trainer.batch_size, self.learner.model)
        each = self.trainer.epochs
        passes = each if isinstance(each, int) else each[min(self.learner.task, len(each) - 1)]
        steps = self.task.iterations or self.trainer.iterations or passes * len(sizes)
        if given is not None:
            steps = given * len(sizes)
        if self.work < 1:
            steps = max(1, round(self.work * steps))
        epochs = -(-steps // len(sizes))
        if self._acts_between and epochs < 2:
            raise ConfigError(
                f"{type(self.method).__name__} acts between epochs, and a task has one (trainer.epochs={self.trainer.epochs}, "
                f"trainer.iterations={self.trainer.iterations}): it would do nothing",
                "give trainer.epochs=2 or more, and no single-pass stream",
            )
        return sizes, steps, epochs

    def _bare_step(self, inputs: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """Take a step of which nothing but tensors is known, as one that is replayed must be."""
        return self.step(Batch(inputs, labels, rows, self.task.index, 0, None, rows.shape[0]))

    def step(self, batch: Batch) -> Tensor:
        """Move the parameters once; return the loss (detached, on the device)."""
        learner, method = self.learner, self.method
        if self._extends:
            batch = method.extend_batch(learner, batch)
        names, parameters = learner.trainable(learner.needs_all_heads(batch))
        found, loss = differentiated(learner, method, self._penalises, batch, parameters, self.trainer.micro_batch_size)
        if any(gradient is None for gradient in found):  # what took no part in the loss is not moved
            used = [i for i, gradient in enumerate(found) if gradient is not None]
            names, parameters = [names[i] for i in used], [parameters[i] for i in used]
        gradients = [gradient for gradient in found if gradient is not None]
        with torch.no_grad():
            if self._edits_gradients:
                learner.gradients = dict(zip(names, gradients, strict=True))
                method.edit_gradients(learner, batch)
                gradients = list(learner.gradients.values())
            if self.trainer.clip_value is not None:
                clip_by_value(gradients, self.trainer.clip_value)
            if self.trainer.clip_norm is not None:
                clip_by_norm(gradients, self.trainer.clip_norm)
            directions = learner.optimizer.directions(names, list(parameters), gradients)
            if self._edits_update:
                copies = directions if self._spare else [direction.clone() for direction in directions]
                updates = dict(zip(names, copies, strict=True))
                method.edit_update(learner, updates)
                directions = [updates[name] for name in names]
            torch._foreach_add_(list(parameters), directions, alpha=-learner.lr)
        return loss.detach()

    def validation_loss(self) -> float:
        """Return the mean cross-entropy on the task's validation split."""
        valid = self.task.valid
        assert valid is not None
        learner = self.learner
        learner.model.eval()
        total, positions = 0.0, torch.arange(len(valid), device=valid.rows.device)
        with torch.inference_mode(), learner.arithmetic:
            parts = torch.split(positions, max(GATHER, self.trainer.batch_size))
            for part, raw in zip(parts, ahead(valid, parts), strict=True):
                batch = learner.batch(valid, part, raw=raw)
                total += float(Method.criterion(self.method, learner, batch, learner.forward(batch))) * len(part)
        return total / len(valid)
