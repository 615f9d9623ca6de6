"""Base of unlearning methods: plain training on tasks, and a loss on the data to forget at requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from clbench.data.answer_tokens import owners
from clbench.data.pool import Split
from clbench.engine.learner.learner import Batch, Learner
from clbench.engine.optimizers import clip_by_norm
from clbench.errors import ConfigError
from clbench.method import Access, Method, Requests, Train
from clbench.stream import Stream, Task

Weight = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)] | None
Passes = Annotated[int, Field(ge=1)] | None


@dataclass
class Unlearner(Method):
    """Learns tasks like naive fine-tuning, bit for bit. Subclasses handle requests.

    Args:
        lr: learning rate at requests; None: that of the optimiser.
        epochs: passes over the data to forget; None: the trainer's epochs.
    """

    lr: Rate
    epochs: Passes
    requests: ClassVar[Requests] = "handled"
    supports_generation: ClassVar[bool] = True

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Learn a task plainly, or handle a request."""
        if task.kind == "learn":
            train(task.train)
            return
        if self.lr is not None:
            learner.set_base_rate(self.lr)
        self.forget(learner, task, train, history)

    def forget(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Handle a request; `history` as in `fit`."""
        raise NotImplementedError

    def _at_request(self, learner: Learner) -> bool:
        return learner.stream.tasks[learner.task].kind == "forget"


@dataclass
class Losses(Unlearner):
    """forget_weight * (a loss on data to forget) + retain_weight * (a loss on retained samples).

    Each step has a batch of the data to forget. Unless `retain` is `none`, it also has as many retained samples, drawn at random.
    Formulas and names follow open-unlearning (locuslab/open-unlearning, `src/trainer/unlearn/`).

    Args:
        forget_loss: let l = -log p(right answer), summed over the tokens of a sample's answer, and l' the same for the model
            before this request. `ascent`: -l, the mean over tokens. `npo`: -2/beta log sigmoid(beta (l - l')), mean over samples
            (Zhang et al., COLM 2024, equation 3). `simnpo`: -2/beta log sigmoid(beta (l / tokens - margin)) (Fan et al., 2024,
            equation 4).
        retain: `none`; `nll`: cross-entropy; `kl`: KL(before the request || now).
        forget_weight: gamma of open-unlearning.
        retain_weight: its alpha.
        beta: inverse temperature of `npo` and `simnpo`.
        margin: gamma of the SimNPO paper, delta of open-unlearning.
        clip_norm: bound on the joint norm of all gradients of a step at a request; None: no bound. Ascent itself is unbounded.
    """

    forget_loss: Literal["ascent", "npo", "simnpo"]
    retain: Literal["none", "nll", "kl"]
    forget_weight: Weight
    retain_weight: Weight
    beta: Annotated[float, Field(gt=0)]
    margin: float
    clip_norm: Rate

    @property
    def access(self) -> Access:  # type: ignore[override]
        """Retained data is needed only if `retain` uses it."""
        return "current" if self.retain == "none" else "retained"

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Check the requests, if their samples are trained on by themselves (`check_requests`)."""
        if self.retain == "none":
            check_requests(learner, stream)

    def forget(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Train on the sum of both losses."""
        self._before = learner.teacher()
        if self.forget_loss == "npo" or self.retain == "kl":
            self._before.take()
        self._retained = union(learner, history) if self.retain != "none" else None
        self._draws = learner.generator("unlearning", task.index)
        train(task.train, self.epochs)
        del self._before, self._retained, self._draws

    def extend_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Add as many retained samples as there are samples to forget."""
        if not self._at_request(learner) or self._retained is None:
            return batch
        drawn = torch.randint(len(self._retained), (len(batch),), generator=self._draws)
        return learner.join(batch, learner.batch(self._retained, drawn.to(self._retained.rows.device), batch.epoch))

    def criterion(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return the weighted sum; at a task to learn, the cross-entropy."""
        if not self._at_request(learner):
            return F.cross_entropy(logits, batch.labels)
        own = batch.own_outputs
        loss = self.forget_weight * self._forgetting(learner, batch, logits[:own], own)
        if own < len(logits):
            loss = loss + self.retain_weight * self._retaining(learner, batch, logits[own:], own)
        return loss

    def edit_gradients(self, learner: Learner, batch: Batch) -> None:
        """Clip the gradients at a request."""
        if self.clip_norm is not None and self._at_request(learner):
            clip_by_norm(list(learner.gradients.values()), self.clip_norm)

    def _forgetting(self, learner: Learner, batch: Batch, logits: Tensor, own: int) -> Tensor:
        if own == 0:  # a part of a batch with retained samples only
            return logits.new_zeros(())
        labels = batch.labels[:own]
        if self.forget_loss == "ascent":
            return -F.cross_entropy(logits, labels)
        each, tokens = per_sample(F.cross_entropy(logits, labels, reduction="none"), batch)
        if self.forget_loss == "npo":
            earlier = self._before.logits(batch.inputs[: batch.own])[:, : logits.shape[1]]
            before, _ = per_sample(F.cross_entropy(earlier, labels, reduction="none"), batch)
            return -2 / self.beta * F.logsigmoid(self.beta * (each - before)).mean()
        return -2 / self.beta * F.logsigmoid(self.beta * (each / tokens - self.margin)).mean()

    def _retaining(self, learner: Learner, batch: Batch, logits: Tensor, own: int) -> Tensor:
        if self.retain == "nll":
            return F.cross_entropy(logits, batch.labels[own:])
        earlier = self._before.logits(batch.inputs[batch.own :])[:, : logits.shape[1]]
        return F.kl_div(F.log_softmax(logits, 1), F.log_softmax(earlier, 1), reduction="batchmean", log_target=True)


def check_requests(learner: Learner, stream: Stream) -> None:
    """Check that the model can train on each request's own samples, before it learns anything.

    Raises:
        ConfigError: a request has one sample, and a layer of the model needs two.
    """
    for request in stream.requests:
        fault = learner.single_fault() if len(request.train) == 1 else None
        if fault is not None:
            raise ConfigError(
                f"request {request.index} ({request.name}) has a single sample to train on, and the layer {fault.layer} of the "
                f"model needs two: {fault.reason}",
                "ask to forget two samples or more, use a method that retrains or adds retained samples (retrain, gd), or choose "
                "a model without such a layer",
            )


def per_sample(losses: Tensor, batch: Batch) -> tuple[Tensor, Tensor | int]:
    """Return the sums of `losses` over each of a batch's own samples, `[own]`, and the number of entries in each sum."""
    if len(losses) == batch.own:
        return losses, 1
    owner = owners(batch.inputs[: batch.own])
    zeros = losses.new_zeros(batch.own)
    return zeros.index_add(0, owner, losses), zeros.index_add(0, owner, torch.ones_like(losses))


def union(learner: Learner, tasks: Sequence[Task]) -> Split:
    """Return the training data of `tasks` as one split."""
    return Split.concatenate([task.train for task in tasks], len(learner.stream))
