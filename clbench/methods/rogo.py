"""Restricted orthogonal gradient projection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench import subspace
from clbench.engine.learner.learner import Batch, Learner
from clbench.methods.gpm import GPM, Count, Share, per_layer
from clbench.stream import Stream, Task
from clbench.toolkit import weight_matrices

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


@dataclass
class ROGO(GPM):
    """Restricted orthogonal gradient projection (Yang et al., AI Open 4, 2023): GPM that relaxes directions of the new task.

    During a task, the directions S of the protected space near the span of its gradients are relaxed. Weights may change in
    these directions by W (I + S D S^T), with a small trained D. A penalty, `strength` times the squared norm of D, keeps D near
    0. The step of W itself stays projected. After the task D is folded into W, so the network keeps its size.

    In the authors' program Q = I + D is d x d, and S is found one direction at a time. Here D is r x r, and S comes from one
    decomposition (`subspace.relax`): the same function, the same directions. The program finds fewer directions only in later
    searches of a task. After one search its columns are not orthonormal, so that the first candidate is not the nearest
    direction, and the first search without a result is the last.

    Args:
        energy: share of the gradients' energy that spans the new task (the authors' `thresholds` in `update_space`).
        cosine: of the largest angle of a relaxed direction. Above 1 nothing is relaxed, and this is GPM.
        strength: of the penalty on D (the authors' `weight`).
        search: when to search for directions: between any two epochs (`epoch`), or when the schedule lowers the rate (`decay`).
        search_below: largest learning rate at which a search happens; None: any.
        searches: the most searches per task with a result; the first one without a result is the last. None: no limit.
        search_samples: training samples for the mean gradient.
        rate: factor on the learning rate after a relaxation; `reset`: back to the optimiser's rate.
    """

    energy: Share | list[Share]
    cosine: Positive | list[Positive]
    strength: NonNegative
    search: Literal["epoch", "decay"]
    search_below: Positive | None
    searches: Count | None
    search_samples: Count
    rate: Positive | Literal["reset"]

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Check that lists have a value for each matrix."""
        super().setup(learner, stream)
        self._relaxed: dict[str, Tensor] = {}
        self._energy = per_layer("method.energy", self.energy, self._matrices)
        self._cosine = per_layer("method.cosine", self.cosine, self._matrices)

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Start with all directions protected."""
        super().begin_task(learner, task)
        self._relaxed, self._rest, self._found = {}, dict(self.bases), 0
        self._open = bool(self._projectors)

    def on_epoch_end(self, learner: Learner, task: Task, rate: float, decayed: bool) -> float:
        """Relax directions near the new task's gradients."""
        due = (self.search == "epoch" or decayed) and (self.search_below is None or rate <= self.search_below)
        if not due or not self._open or self._found == self.searches:
            return 1.0
        draws = learner.generator("rogo", task.index, self._found)
        chosen = torch.randperm(len(task.train), generator=draws)[: self.search_samples].to(learner.device)
        gradients = weight_matrices.gradients(learner, task.train, chosen, self._matrices)
        relaxed = [self._relax(learner, name, gradients[name]) for name in self._projectors]
        self._open = any(relaxed)
        self._found += self._open
        if not self._open:
            return 1.0
        return learner.base_lr / rate if self.rate == "reset" else self.rate

    def _relax(self, learner: Learner, name: str, gradient: Tensor) -> bool:
        """Move directions of matrix `name` from the protected to the relaxed ones; return whether there were any."""
        wanted = subspace.leading(gradient, self._energy[name])
        near, self._rest[name] = subspace.relax(self._rest[name], wanted, self._cosine[name])
        if near.shape[1] == 0:
            return False
        before, old = self._relaxed.get(name, near[:, :0]), learner.added(name)
        self._relaxed[name] = torch.cat([before, near], dim=1)
        size, grown = before.shape[1], near.new_zeros(2 * [before.shape[1] + near.shape[1]])
        if old is not None:
            grown[:size, :size] = old.detach()
        learner.add(name, grown)
        return True

    def reparametrize(self, learner: Learner, task_id: int | None) -> dict[str, Tensor]:
        """Return W + W S D S^T for every matrix with relaxed directions."""
        found: dict[str, Tensor] = {}
        for name, basis in self._relaxed.items():
            matrix, change = self._matrices[name], learner.added(name)
            assert change is not None
            joined = matrix.joined(learner.parameters)
            found |= {key: learner.parameters[key] for key in (matrix.weight, matrix.bias) if key}
            matrix.write(found, *matrix.parted(joined + joined @ basis @ change @ basis.mT))
        return found

    def penalty(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return the penalty on D."""
        changes = [change.square().sum() for name in self._relaxed if (change := learner.added(name)) is not None]
        return self.strength * torch.stack(changes).sum() if changes else logits.new_zeros(())

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Fold D into the weights, then extend the bases."""
        with torch.no_grad():
            for name, value in self.reparametrize(learner, None).items():
                learner.parameters[name].copy_(value)
        self._sizes = {name: basis.shape[1] for name, basis in self._relaxed.items()}
        self._relaxed = {}
        learner.drop_added()
        super().end_task(learner, task, history)

    def diagnostics(self) -> dict[str, Any]:
        """Return those of GPM, and the number of relaxed directions."""
        return {name: entry | {"relaxed": self._sizes.get(name, 0)} for name, entry in super().diagnostics().items()}
