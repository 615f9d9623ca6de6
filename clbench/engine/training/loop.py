"""The training loop over a task: epochs, batches, steps, curves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from clbench.contract.protocols import acts_on_epoch_end
from clbench.data.answer_tokens import answer_ids
from clbench.data.pool import Split
from clbench.data.prefetch import prefetch
from clbench.engine.fast.cuda_graphs import GraphedStep, Recorder
from clbench.engine.learner.learner import Batch, Learner
from clbench.engine.pace import Pace
from clbench.engine.resumable import checked_state
from clbench.engine.state_size import state_bytes
from clbench.engine.training.acceleration import graph_recorder
from clbench.engine.training.batch_statistics import check_sizes, epoch_sizes
from clbench.engine.training.data_access import covered
from clbench.engine.training.divergence import diverged
from clbench.engine.training.gradients import loss_and_gradients
from clbench.engine.training.step import apply_gradients, step_plan
from clbench.engine.training.task_length import refuse_one_epoch, refuse_without_validation, steps_and_epochs
from clbench.engine.training.trainer import Trainer as Trainer
from clbench.method import Method
from clbench.stream import Task
from clbench.utils import rng, signs_of_life

GATHER = 1024
"""Samples that are gathered, augmented and normalised together, at least one batch; for speed and memory. It also fixes which
random draw of augmentation each sample gets: another value gives another, equally valid run."""

OnStep = Callable[[int], None]
"""Called after every step with its number within the task, from 1."""
OnEpoch = Callable[[int, int], None]
"""Called after every epoch with its number, from 0, and their count."""


class Training:
    """One method learning one stream's tasks: counts steps, keeps the curves, calls back within tasks."""

    def __init__(self, learner: Learner, method: Method, trainer: Trainer) -> None:
        """Let the learner act for this method, until it acts for another."""
        self.learner, self.method, self.trainer = learner, method, trainer
        self.step_count = 0
        self.samples = 0
        self.losses: list[float] = []
        self._work = 1.0
        self._acts_on_epoch_end = method if acts_on_epoch_end(method) else None
        self._projects_inputs = True
        self._recorder: Recorder | None = None
        self._graphed: GraphedStep | None = None
        self._make_plan()

    def _make_plan(self) -> None:
        self.plan = step_plan(self.learner, self.method, self.trainer, self._projects_inputs)
        self.learner.act_for(self.plan)

    def project_no_inputs(self) -> None:
        """Never project an update at the inputs of layers: other forward passes than this training's own use the model."""
        self._projects_inputs = False
        self._make_plan()

    def accelerate(self, mode: str | None, graph: bool, tell: Callable[[str], None], recorder: Recorder | None = None) -> None:
        """Compile the forward pass of steps, and replay steps as CUDA graphs, where that is possible.

        Args:
            mode: of `torch.compile`, or None.
            graph: True to replay steps.
            tell: gets the reason if one of the two is not possible.
            recorder: of the graphs; None: torch's.
        """
        if mode is not None:
            self.learner.compile(mode, tell)
            self.project_no_inputs()  # a compiled forward pass ignores hooks on the layers
        if graph:
            self._recorder = graph_recorder(self.learner, self.method, self.trainer, tell, recorder)

    def state(self) -> dict[str, Any]:
        """Return the method's state from task to task; errors as of `checked_state`."""
        return checked_state(self.method)

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.method.load_state(self.learner, state)

    def diagnostics(self) -> dict[str, Any]:
        """Return plain values for the record, of the task just learned."""
        return self.method.diagnostics()

    def report(self) -> dict[str, int]:
        """Return counts: samples trained on, bytes of the method's state, bytes of messages."""
        return {"samples": self.samples, "method_state_bytes": state_bytes(self.method), "bytes_sent": 0}

    def count(self, samples: int = 0, steps: int = 0) -> None:
        """Add to the counts of samples and of the task's steps: those of a resumed run, or taken side by side with others."""
        self.samples += samples
        self.step_count += steps

    def learn(self, task: Task, on_step: OnStep | None = None, on_epoch: OnEpoch | None = None) -> None:
        """Let the method learn one task, from `begin_task` to `end_task`; it becomes the learner's current one."""
        if task.kind == "forget" and self.method.requests == "ignored":
            self.learner.start(task.index)
            return self.start(task)
        self.begin(task, on_step, on_epoch)
        self.method.fit(self.learner, task, self.fit, self.history(task))
        return self.end()

    def begin(self, task: Task, on_step: OnStep | None = None, on_epoch: OnEpoch | None = None) -> None:
        """Make `task` the current one, and let the method prepare for it."""
        self.learner.act_for(self.plan)
        self.learner.start(task.index)
        self.method.begin_task(self.learner, task)
        self.learner.rebuild()  # begin_task may have added, replaced or frozen parameters
        self.start(task, on_step, on_epoch)

    def end(self) -> None:
        """Let the method consolidate after the current task."""
        self.method.end_task(self.learner, self.task, self.history(self.task))

    def history(self, task: Task) -> tuple[Task, ...]:
        """Return the tasks whose training data the method's declared access covers, without the current one."""
        return covered(self.learner.stream, self.method.access, task)

    def start(
        self,
        task: Task,
        on_step: OnStep | None = None,
        on_epoch: OnEpoch | None = None,
        first_epoch: int = 0,
        work: float = 1.0,
        round: tuple[int, int] = (0, 1),
    ) -> None:
        """Begin a task: curves and step count start anew, and the step's plan is worked out.

        Args:
            task: its training data may be a share of the stream's.
            on_step: called after every step.
            on_epoch: called after every epoch.
            first_epoch: number of a pass's first epoch, where a task is learned in several passes (federated rounds).
            work: share of a pass's steps that is taken, at least one step.
            round: number of the pass's round, from 0, and the number of rounds.
        """
        self.task, self.step_count, self.losses, self._passes = task, 0, [], 0
        signs_of_life.watch(self)
        self._on_step, self._on_epoch, self._first_epoch, self._work, self._round = on_step, on_epoch, first_epoch, work, round
        self._make_plan()
        later = self.trainer.later_lr
        self.learner.set_base_rate(self.learner.optimizer.lr if later is None or task.index == 0 else later)
        self._graphed = None
        if self._recorder is not None:
            self._graphed = GraphedStep(self._step_on_tensors, lambda: self.learner.lr, self._recorder)
        if self.learner.compiled is not None:
            self.learner.compiled.leave_if_hooked(self.learner.model)
        refuse_without_validation(self.trainer.schedule, task)

    def fit(self, split: Split, epochs: int | None = None) -> None:
        """Pass over `split` as often as the trainer says, or `epochs` times; methods get this as `train`.

        Raises:
            ConfigError: the method acts between epochs, and there is only one.
            DivergedError: the mean loss of an epoch is not finite.
        """
        sizes, steps, epochs = self.lengths(len(split), epochs)
        pace = self.pace(epochs, steps)
        learner, rate = self.learner, pace.start(self.learner.base_lr)
        best, best_weights = float("inf"), None
        for epoch in range(epochs):
            learner.set_rate(rate)
            self._epoch(split, epoch, sizes[: steps - epoch * len(sizes)], pace if pace.by_step else None)
            valid = self.validation_loss() if self.trainer.schedule.needs_validation else None
            if valid is not None and valid < best:
                best, best_weights = valid, {key: value.clone() for key, value in learner.model.state_dict().items()}
            if self._on_epoch is not None:
                self._on_epoch(epoch, epochs)
            following = pace.after_epoch(epoch, valid)
            if following is None:
                break
            if self._acts_on_epoch_end is not None and epoch + 1 < epochs:
                factor = self._acts_on_epoch_end.on_epoch_end(learner, self.task, following, following < rate)
                if factor != 1:
                    pace.rescale(factor)
                    following *= factor
            rate = following
        if best_weights is not None:
            learner.restore(best_weights)
        self._passes += 1

    def pace(self, epochs: int, steps: int) -> Pace:
        """Return the rates of a pass of so many epochs and steps over the current task."""
        return Pace(self.trainer.schedule, epochs, steps, *self._round)

    def _epoch(self, split: Split, epoch: int, sizes: list[int], pace: Pace | None) -> None:
        """Pass over `split` once, in random order, in batches of `sizes` (fewer samples than there are: a part of it).

        After each step `pace` gives the next one's rate; None: the rate stays.
        """
        learner = self.learner
        learner.train()
        losses: list[Tensor] = []
        for large, group in self.gathered(split, epoch, sizes):
            tasks = [None] * len(group) if large.tasks is None else torch.split(large.tasks, group)
            inputs_of, rows_of = torch.split(large.inputs, group), torch.split(large.rows, group)
            answers = learner.stream.vocabulary is not None
            labels_of = [answer_ids(each) for each in inputs_of] if answers else torch.split(large.labels, group)
            for inputs, labels, rows, own in zip(inputs_of, labels_of, rows_of, tasks, strict=True):
                if self._graphed is not None and own is None:
                    losses.append(self._graphed(inputs, labels, rows))
                else:
                    losses.append(self.step(Batch(inputs, labels, rows, self.task.index, epoch, own, rows.shape[0])))
                self.step_count += 1
                if pace is not None:
                    learner.set_rate(pace.after_step())
                if self._on_step is not None:
                    self._on_step(self.step_count)
                    if not learner.model.training:  # it was measured; otherwise no pass over all modules is needed
                        learner.train()
        self.samples += sum(sizes)
        self.note(float(torch.stack(losses).mean()), epoch)

    def gathered(self, split: Split, epoch: int, sizes: list[int]) -> Iterator[tuple[Batch, list[int]]]:
        """Yield the samples of an epoch in its order, some `GATHER` at a time, with the sizes of the batches they make up."""
        learner, key = self.learner, (self.task.index, self._passes, self._first_epoch + epoch)
        device = split.rows.device
        torch.manual_seed(rng.derive(learner.seed, "dropout", *key, *learner.rng_scope))
        augment = learner.generator("augmentation", *key, device=device) if learner.stream.preprocess.augments else None
        order = self.order(len(split), epoch).to(device)
        batches = max(1, GATHER // self.trainer.batch_size)
        groups = [sizes[first : first + batches] for first in range(0, len(sizes), batches)]
        places = torch.split(order[: sum(sizes)], [sum(group) for group in groups])
        for group, positions, raw in zip(groups, places, prefetch(split, places), strict=True):
            yield learner.batch(split, positions, epoch, augment, raw), group

    def order(self, n: int, epoch: int) -> Tensor:
        """Return the order of an epoch's `n` samples (int64 `[n]`, on the host)."""
        draws = self.learner.generator("batches", self.task.index, self._passes, self._first_epoch + epoch)
        return torch.randperm(n, generator=draws)

    def clear_losses(self) -> None:
        """Start the curve of the current task anew."""
        self.losses = []

    def note(self, mean: float, epoch: int) -> None:
        """Keep the mean loss of an epoch.

        Raises:
            DivergedError: it is not finite.
        """
        if not abs(mean) < float("inf"):
            raise diverged(self.learner, self.task, epoch, mean)
        self.losses.append(mean)

    def lengths(self, n: int, given: int | None = None, task: Task | None = None) -> tuple[list[int], int, int]:
        """Return the sizes of an epoch's batches over `n` samples, and how many steps and epochs a task takes.

        Args:
            n: number of samples.
            given: number of epochs; None: as the trainer says.
            task: the one that is meant; None: the current one.

        Raises:
            ConfigError: the method acts between epochs, and there is only one; or a batch of one that the model cannot take.
        """
        sizes = epoch_sizes(self.learner, n, self.trainer.batch_size)
        current = task or self.task
        check_sizes(self.learner, self.method, self.trainer, current, sizes, first=current.index == 0)
        steps, epochs = steps_and_epochs(self.trainer, current, len(sizes), given, self._work)
        if self._acts_on_epoch_end is not None:
            refuse_one_epoch(self.method, self.trainer, epochs)
        return sizes, steps, epochs

    def _step_on_tensors(self, inputs: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """Take a step that reads only tensors, as required for replay."""
        return self.step(Batch(inputs, labels, rows, self.task.index, 0, None, rows.shape[0]))

    def step(self, batch: Batch) -> Tensor:
        """Move the parameters once; return the loss (detached, on the device)."""
        learner, method, plan = self.learner, self.method, self.plan
        if plan.extend_batch is not None:
            batch = plan.extend_batch(learner, batch)
        names, parameters = learner.trainable(learner.needs_all_heads(batch))
        found, loss = loss_and_gradients(learner, method, plan, batch, parameters)
        apply_gradients(plan, learner, names, parameters, found, batch)
        return loss.detach()

    def validation_loss(self) -> float:
        """Return the mean cross-entropy on the task's validation split."""
        valid = self.task.valid
        assert valid is not None
        learner = self.learner
        learner.model.eval()
        total, positions = 0.0, torch.arange(len(valid), device=valid.rows.device)
        with torch.inference_mode(), learner.arithmetic:
            parts = learner.chunks(positions, max(GATHER, self.trainer.batch_size))
            for part, raw in zip(parts, prefetch(valid, parts), strict=True):
                batch = learner.batch(valid, part, raw=raw)
                total += float(Method.criterion(self.method, learner, batch, learner.forward(batch))) * len(part)
        return total / len(valid)
