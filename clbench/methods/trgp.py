"""Trust region gradient projection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from clbench import subspace
from clbench.engine.learner.learner import Learner
from clbench.methods.gpm import GPM, Count
from clbench.stream import Stream, Task
from clbench.toolkit import weight_matrices

RANKED = 1 - 1e-6
"""Share of the energy whose directions are ranked. Other directions are never needed, and cost more to find."""

Scales = dict[str, list[tuple[int, Tensor]]]
"""For each matrix: old tasks, and the matrix D that mixes each one's directions."""


@dataclass
class TRGP(GPM):
    """Trust region gradient projection (Lin et al., ICLR 2022): GPM whose layers reuse the weights of related old tasks.

    At the start of a task, a layer trusts an old task j if more than `trust` of the norm of the layer's gradient is in S_j, the
    space of that task's inputs. The new task then uses W + sum_j (W S_j Q_j S_j^T - W S_j S_j^T) with trained Q_j. The step of W
    itself stays orthogonal to the inputs of all old tasks. Q is stored for every task, so the task must be known at test. No
    later step moves W along S_j, so no old task's function changes. Here Q = I + D, and S_j is a list of columns of the layer's
    single basis.

    Differences from the authors' program (LYang-666/TRGP):
        the inputs that span a task's space come from the network with its Q, as in later use (in the program: from W alone);
        the strongest new direction is protected (in the program it is left out, `sel_index>r_pre`);
        every layer trusts by itself (in the program, only if the first layer of the network, and of a residual block, trusts);
        parameters of normalisation layers are frozen after the first task (in the program too, except in CIFAR-100's
            main_cifar100.py: `uncovered=train`);
        every task has its own head, and a setting without tasks at test is refused. On permuted MNIST the program has one head,
            projected and mixed like a layer, with the task given at test.
    Their `eplison_2` and `Lambda` are never used. Weight decay, which they do not use, draws Q towards I.

    Args:
        trust: share of the gradient's norm above which a task is trusted (the authors' epsilon_1). Above 1 no task is trusted,
            and with `spaces=extended` this is GPM.
        most: the most trusted tasks per layer; those with the largest part of the gradient are taken.
        trust_samples: training samples for the mean gradient.
        spaces: the directions that a task adds and owns. `ranked`: the fewest of old and new ones, strongest first, that hold
            `threshold` of its energy (the authors' form). `extended`: it adds those of GPM, and owns the fewest of all.
    """

    trust: Annotated[float, Field(ge=0)]
    most: Count
    trust_samples: Count
    spaces: Literal["ranked", "extended"]
    settings: ClassVar = frozenset({"task"})

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Start without tasks."""
        super().setup(learner, stream)
        self.spans: list[dict[str, Tensor]] = []
        self.scales: list[Scales] = []
        self._trusted: dict[str, list[int]] = {}
        self._fixed: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Find the tasks that each layer trusts; start from Q = I."""
        super().begin_task(learner, task)
        self._span: dict[str, Tensor] = {}
        if not self._projectors:
            return
        draws = learner.generator("trgp", task.index)
        chosen = torch.randperm(len(task.train), generator=draws)[: self.trust_samples].to(learner.device)
        for name, gradient in weight_matrices.gradients(learner, task.train, chosen, self._matrices).items():
            along = (gradient @ self.bases[name]).square().sum(0)
            norms = torch.stack([along[span[name]].sum().sqrt() for span in self.spans])
            order = norms.argsort(descending=True, stable=True)[: self.most]
            self._trusted[name] = order[norms[order] > self.trust * torch.linalg.vector_norm(gradient)].tolist()
            for old in self._trusted[name]:
                learner.add(f"{name}.{old}", gradient.new_zeros(2 * [len(self.spans[old][name])]))
                self._fixed[name, old] = self._along(learner, name, old)

    def _along(self, learner: Learner, name: str, old: int) -> tuple[Tensor, Tensor]:
        """Return W S_j and S_j of an old task, for a matrix with its bias."""
        directions = self.bases[name][:, self.spans[old][name]]
        return self._matrices[name].joined(learner.parameters).detach() @ directions, directions

    def _scales(self, learner: Learner, task_id: int) -> Scales:
        """Return the D of a task: stored ones, trained ones, or none yet."""
        if task_id < len(self.scales):
            return self.scales[task_id]
        if task_id > len(self.scales):
            return {}
        present = {name: [(old, learner.added(f"{name}.{old}")) for old in olds] for name, olds in self._trusted.items()}
        return {name: [(old, change) for old, change in pairs if change is not None] for name, pairs in present.items()}

    def reparametrize(self, learner: Learner, task_id: int | None) -> dict[str, Tensor]:
        """Return W + sum_j W S_j D_j S_j^T for every matrix of the task that trusts another.

        The step is projected, so W S_j is constant during a task. No gradient flows through it: that gradient of W would be
        along S_j, and be projected away.
        """
        assert task_id is not None
        fixed = self._fixed if task_id == len(self.scales) else {}
        found: dict[str, Tensor] = {}
        for name, pairs in self._scales(learner, task_id).items():
            if not pairs:
                continue
            matrix = self._matrices[name]
            mixed = matrix.joined(learner.parameters)
            for old, change in pairs:
                along, directions = fixed.get((name, old)) or self._along(learner, name, old)
                mixed = torch.addmm(mixed, along @ change, directions.mT)
            found |= {key: learner.parameters[key] for key in (matrix.weight, matrix.bias) if key}
            matrix.write(found, *matrix.parted(mixed))
        return found

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Extend the bases by the layers' inputs with this task's Q; store Q."""
        super().end_task(learner, task, history)
        kept = {name: [(o, d.detach().clone()) for o, d in pairs] for name, pairs in self._scales(learner, task.index).items()}
        self.scales.append(kept)
        self.spans.append(self._span)
        self._trusted, self._fixed = {}, {}
        learner.drop_added()

    def absorb(self, name: str, rows: Tensor, threshold: float) -> None:
        """Extend the basis of matrix `name`, and store which of its columns hold a share `threshold` of `rows` `[n, d]`."""
        before = self.bases.get(name, rows.new_zeros(rows.shape[1], 0))
        short, ranked = self.stop_short and name not in self.bases, self.spaces == "ranked" and threshold > 0
        basis = subspace.extend(before, rows, max(threshold, RANKED) if ranked else threshold, short and not ranked)
        energy, order = (rows.double() @ basis.double()).square().sum(0).sort(descending=True, stable=True)
        held = energy.cumsum(0) < threshold * rows.double().square().sum()
        span = order[: min(int(held.sum()) + 1, len(order)) - int(short and ranked)] if threshold > 0 else order[:0]
        if ranked:
            basis = basis[:, : max(before.shape[1], int((span + 1).max()) if len(span) else 0)].contiguous()
        self.bases[name], self._span[name] = basis, span

    def diagnostics(self) -> dict[str, Any]:
        """Return those of GPM, the tasks that the last one trusted, and the number of their mixed directions (`relaxed`)."""
        last = self.scales[-1]
        return {
            name: entry
            | {"trusted": [old for old, _ in last.get(name, [])], "relaxed": sum(len(d) for _, d in last.get(name, []))}
            for name, entry in super().diagnostics().items()
        }
