"""GEM: gradient episodic memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import solve_triangular
from scipy.optimize import nnls
from torch import Tensor

from clbench.engine.learner.learner import Batch, Learner
from clbench.method import Method
from clbench.methods.agem import Fill, store
from clbench.stream import Stream, Task

Vector = NDArray[np.float64]


@dataclass
class GEM(Method):
    """GEM (Lopez-Paz & Ranzato, NeurIPS 2017, equations 8 to 11): a step must not raise the loss on any earlier task's memory.

    Let g be the step's gradient. G has one row per earlier task: the gradient on all its stored samples. If any entry of Gg is
    negative, g <- g + G'v, where v solves the dual program of `dual`. Both gradients cover the parameters that the step may move
    (in the task setting: not the heads of earlier tasks). `margin` is a lower bound of v, as in the authors' program
    (facebookresearch/GradientEpisodicMemory, model/gem.py, and aimagelab/mammoth, models/gem.py). The paper adds it to the
    solution instead.

    A step needs one backward pass per earlier task, and makes the host wait.

    Args:
        buffer_size: samples in memory, an equal share for each task.
        margin: gamma; values above 0 favour steps that lower the earlier tasks' losses.
        damping: added to the diagonal of GG'; a constraint may then be violated by damping * v.
        fill: `end`: after each task, random samples of it (models/gem.py of mammoth). `stream`: the newest samples of its first
            pass (section 3 of the paper).
    """

    buffer_size: Annotated[int, Field(ge=1)]
    margin: Annotated[float, Field(ge=0)]
    damping: Annotated[float, Field(gt=0)]
    fill: Fill
    host_sync: ClassVar[bool] = True
    supports_generation = True

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Make the memory."""
        self._beside: Batch | None = None
        self.memory = learner.memory(self.buffer_size, "ring", "gem")

    def edit_gradients(self, learner: Learner, batch: Batch) -> None:
        """Project onto the cone of steps that raise no earlier task's loss. Then, with `stream`, offer the own samples."""
        self._beside = batch
        earlier = self._gradients(learner)
        self._beside = None
        if earlier:
            products = inner_products([*earlier, learner.gradients])
            gram, dots = products[:-1, :-1], products[:-1, -1]
            if np.isfinite(products).all() and dots.min() < 0:  # the loss reports a diverged run, not the solver
                for weight, gradient in zip(dual(gram, dots, self.margin, self.damping), earlier, strict=True):
                    torch._foreach_add_(list(learner.gradients.values()), list(gradient.values()), alpha=float(weight))
        if self.fill == "stream" and batch.epoch == 0:
            self.memory.add(batch)

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Store samples of the task, unless they are stored already."""
        if self.fill == "end":
            store(self.memory, task)

    def _gradients(self, learner: Learner) -> list[dict[str, Tensor]]:
        """Return the gradient on the stored samples of each earlier task, without the current one."""
        slots = self.memory.slots()
        owners = self.memory.tasks[slots]
        parts = [slots[owners == task] for task in range(learner.task)]
        return [learner.gradient(self.memory.read(part, augment=True), self._beside) for part in parts if len(part)]


def inner_products(gradients: Sequence[dict[str, Tensor]]) -> Vector:
    """Return all inner products `[n, n]` of n gradients (name -> tensor, the same names), summed in float64."""
    total: Tensor | None = None
    for name in gradients[-1]:  # one parameter at a time, to avoid a second copy of all
        rows = torch.stack([gradient[name].flatten() for gradient in gradients]).double()
        total = rows @ rows.mT if total is None else total + rows @ rows.mT
    assert total is not None
    products: Vector = total.cpu().numpy()
    return products


def dual(gram: Vector, dots: Vector, margin: float, damping: float) -> Vector:
    """Return the v >= margin that minimises 1/2 v'Qv + d'v, with Q = gram + damping * I (equation 11).

    Solved as a non-negative least-squares problem. With v = margin + w, w >= 0, and Q = LL' (Cholesky), the objective is,
    up to a constant, 1/2 w'LL'w + c'w with c = d + Q(margin 1), which is 1/2 |L'w + L^-1 c|^2 up to another.

    Args:
        gram: GG', `[t, t]`.
        dots: Gg, `[t]`.
        margin: at least 0.
        damping: above 0, so that Q is positive definite however the gradients lie.
    """
    quadratic = gram + damping * np.eye(len(dots))
    try:
        lower = np.linalg.cholesky(quadratic)
    except np.linalg.LinAlgError:  # the damping is below the rounding error of the products
        quadratic += np.finfo(np.float64).eps * len(dots) * np.trace(gram) * np.eye(len(dots))
        lower = np.linalg.cholesky(quadratic)
    linear = dots + margin * quadratic.sum(axis=1)
    above, _ = nnls(lower.T, -solve_triangular(lower, linear, lower=True))
    found: Vector = margin + above
    return found
