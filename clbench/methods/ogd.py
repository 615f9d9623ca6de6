"""Orthogonal gradient descent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torch.func import functional_call, grad, vmap

from clbench import subspace
from clbench.data.pool import Split
from clbench.engine.learner.learner import Learner
from clbench.method import Method, Trait
from clbench.stream import Stream, Task
from clbench.toolkit import weight_matrices

Logits = Literal["truth", "mean", "all"]

GRADIENT_BYTES = 64 * 2**20
"""Bytes of per-sample gradients that are computed at one time (affects speed only)."""


@dataclass
class OGD(Method):
    """Orthogonal gradient descent (Farajtabar et al., AISTATS 2020): steps are orthogonal to the gradients of earlier outputs.

    After each task, gradients of logits at some of its samples extend an orthonormal basis S. A gradient covers all shared
    parameters as one vector theta. Later, g <- g - sum_(v in S) <g, v> v. To first order these logits then do not change.

    The paper projects the gradient of plain SGD. Here the applied step is projected, so that momentum, Adam and weight decay
    stay orthogonal to the basis too. In the task setting, theta is every parameter outside the heads. A head moves
    unprojected, like in MehdiAbbanaBennani/continual-learning-ogdplus, `ogd/ogd_core_new.py`. It is frozen after its task. In the
    other settings theta is every parameter, including the shared head. Gradients are taken in evaluation mode, after the task.
    The memory grows by up to samples * |theta| numbers per task; with `all`, times the number of active logits. In the class
    setting the logits of new classes rise by effects beyond first order. With hidden layers OGD then forgets like naive.

    Args:
        samples: training samples per task, drawn without replacement.
        logits: the logits whose gradients are stored: that of the sample's class (`truth`: OGD-GTL), their mean (`mean`:
            OGD-AVE), or each active one (`all`: OGD-ALL).
        statistics: running statistics of normalisation layers from the second task on: `freeze` or `track`.
    """

    samples: Annotated[int, Field(ge=1)]
    logits: Logits
    statistics: Literal["freeze", "track"]
    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.ANCHORS_LAYERS, Trait.NEEDS_FIRST_TASK})

    def setup(self, learner: Learner, stream: Stream) -> None:
        """List theta, and start with an empty basis, one direction per row."""
        apart = ("added.", "heads.") if stream.own_heads else ("added.",)
        self._sizes = {
            name: parameter.numel()
            for name, parameter in learner.parameters.items()
            if parameter.requires_grad and not name.startswith(apart)
        }
        self.basis = next(iter(learner.parameters.values())).new_zeros(0, sum(self._sizes.values()))

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Reset the counts. Freeze running statistics: they are no parameters, but they change the logits."""
        self._before, self._steps, self._removed = len(self.basis), 0, self.basis.new_zeros(())
        weight_matrices.freeze_old_heads(learner)
        if task.index > 0 and self.statistics == "freeze":
            weight_matrices.freeze_statistics(learner)

    def edit_update(self, learner: Learner, updates: dict[str, Tensor]) -> None:
        """Remove the step's component in the basis."""
        if len(self.basis) == 0:
            return
        step = torch.cat([updates[k].flatten() if k in updates else self.basis.new_zeros(n) for k, n in self._sizes.items()])
        along = self.basis @ step
        self._steps += 1
        self._removed += along.square().sum() / step.square().sum().clamp(min=torch.finfo(step.dtype).tiny)
        kept = torch.addmv(step, self.basis.mT, along, alpha=-1)
        for name, part in zip(self._sizes, torch.split(kept, list(self._sizes.values())), strict=True):
            if name in updates:
                updates[name].copy_(part.view_as(updates[name]))

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Extend the basis by the gradients of the task's logits."""
        draws = learner.generator("ogd", task.index)
        chosen = torch.randperm(len(task.train), generator=draws)[: self.samples].to(learner.device)
        if self._sizes:
            for rows in logit_gradients(learner, task.train, chosen, list(self._sizes), self.logits):
                self.basis = extend(self.basis, rows)

    def diagnostics(self) -> dict[str, Any]:
        """Return the used, all and added directions, and the mean removed share of the squared step."""
        taken, size = self.basis.shape
        removed = float(self._removed) / self._steps if self._steps else None
        return {"parameters": {"taken": taken, "of": size, "added": taken - self._before, "removed": removed}}


def logit_gradients(learner: Learner, split: Split, positions: Tensor, names: list[str], logits: Logits) -> Iterator[Tensor]:
    """Yield gradients `[B, |theta|]` of one logit (or the logits' mean) per sample; theta is the concatenated parameters `names`.

    Yields once for `truth` and `mean`, and once for each output of the current task for `all`.
    """
    learner.model.eval()
    task = learner.stream.own_heads
    head, outputs = (learner.task, None) if task else (0, learner.stream.active_outputs(learner.task))
    width = learner.stream.head_sizes[learner.task] if outputs is None else outputs
    inputs = learner.batch(split, positions).inputs
    fixed = {name: parameter.detach() for name, parameter in learner.parameters.items()}
    theta = {name: fixed[name] for name in names}

    def value(weights: dict[str, Tensor], x: Tensor, share: Tensor) -> Tensor:
        found: Tensor = functional_call(learner.model, fixed | weights, (x.unsqueeze(0), head, outputs))
        return found[0] @ share

    chunk = max(1, GRADIENT_BYTES // sum(value.nbytes for value in theta.values()))
    per_sample = vmap(grad(value), in_dims=(None, 0, 0), chunk_size=chunk)
    truth = F.one_hot(split.labels.index_select(0, positions), width).to(inputs.dtype)
    shares = [truth] if logits == "truth" else [torch.full_like(truth, 1 / width)]
    if logits == "all":
        shares = [unit.expand_as(truth) for unit in torch.eye(width, dtype=truth.dtype, device=truth.device)]
    for each in shares:
        found = per_sample(theta, inputs, each)
        yield torch.cat([found[name].flatten(1) for name in names], dim=1)


def extend(basis: Tensor, rows: Tensor) -> Tensor:
    """Return `basis` `[k, p]`, orthonormal rows, followed by the directions that it needs to span `rows` `[n, p]` too.

    Gram and Schmidt's process, in blocks and applied twice, so that no part of the basis remains after rounding. A remainder
    within ten times the rounding error of all rows is no direction. There are at most p directions.

    Raises:
        DivergedError: a gradient is not finite.
    """
    subspace.refuse_not_finite(rows, "the gradient of the outputs")
    missing = rows
    for _ in range(2):
        missing = missing - (missing @ basis.mT) @ basis
    q, r = torch.linalg.qr(missing.mT)
    turn, sizes, _ = subspace.svd(r)
    real = int((sizes > 10 * torch.finfo(rows.dtype).eps * torch.linalg.vector_norm(rows)).sum())
    new = (q @ turn[:, : min(real, basis.shape[1] - len(basis))]).mT
    return torch.cat([basis, torch.linalg.qr((new - (new @ basis.mT) @ basis).mT).Q.mT])
