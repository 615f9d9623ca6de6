"""Orthogonal subspace fine-tuning (adaptive SVD)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from clbench import subspace
from clbench.engine.learner.learner import Learner
from clbench.errors import ConfigError, RefusedError
from clbench.method import Method, Renews
from clbench.stream import Stream, Task
from clbench.toolkit import weight_matrices
from clbench.toolkit.layer_discovery import find_layers
from clbench.toolkit.layer_similarity import cosines, relative
from clbench.toolkit.module_selection import Targets, linear_kinds, modules_named, refuse_tied
from clbench.toolkit.svd_linear import FACTORS, FactoredLinear, put

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]


@dataclass
class OSFT(Method):
    """Orthogonal subspace fine-tuning, or adaptive SVD (Nayak et al., ICLR 2026, arXiv 2504.07097; PEFT's OSF).

    When a task begins, the weight of every chosen linear layer is decomposed, W = U diag(S) V^T. The k largest singular triples
    are taken for what was learned before and stand still; the others are trained as factors, and each step of U_low and V_low
    is kept orthogonal to the frozen left and right vectors. So U_high^T (W' - W) = 0 and (W' - W) V_high = 0: on inputs in the
    span of V_high the layer's outputs do not change. When the task ends, the product becomes the layer's weight again, which the
    next task decomposes anew. Nothing is kept beside the weights.

    What is projected is the step that is applied, after moments, preconditioning and weight decay: a projected gradient leaves
    the subspace under Adam. The authors' research scripts differ (Red-Hat-AI-Innovation-Team/orthogonal-subspace-learning): they
    put the product into the weight where nothing is differentiated, so that its factors get no gradient, and project
    gradients only.

    A retained rank of 0 leaves the layer as it is, and all of it trains; the full rank p leaves nothing of its weight to move.
    Convolutions, embeddings, norms and the projections of `nn.MultiheadAttention`, which reads them itself, are never
    decomposed: `others` says what becomes of them, and of biases. Heads, and what they share with the backbone (tied
    embeddings), always train.

    Retained ranks, of p = min(out, in) (`rank_base`), rounded down:
    `importance`: k = p * (mrr + I (trr - mrr)), the paper's. I is the mean cosine of a layer's input and output over samples
    of the new task (of what the network had learned before there are none). Where they differ in width the layer has the
    cosine of the repeated block it lies in, and the mean, 1, where there is none. The layers' own cosines and those of blocks
    are of other sizes: each kind is divided by its own mean over layers. Negative ones count as 0.
    `linear`: k = p * t / T at task t of T, from 0 (PEFT's documentation: (t - 1) / n from 1).
    `fixed`: k = p * `fraction`.

    Args:
        targets: which layers: endings of their names in the backbone, matched at dots, or `all-linear`.
        schedule: of the retained rank.
        mrr: minimum retention ratio of `importance`.
        trr: target retention ratio of `importance`.
        importance_samples: training samples whose cosines are taken.
        fraction: that `fixed` retains, or one per task.
        rank_base: what ratios are of. `larger`, of max(out, in) as in the authors' scripts: layers much longer than wide are
            soon frozen wholly.
        others: what becomes of parameters of the backbone that no factor holds, from `from_task` on.
        from_task: first task, from 0, that is learned so; those before are plain fine-tuning.
    """

    targets: Targets
    schedule: Literal["importance", "linear", "fixed"]
    mrr: Share
    trr: Share
    importance_samples: Count
    fraction: Share | list[Share]
    rank_base: Literal["smaller", "larger"]
    others: Literal["train", "freeze"]
    from_task: NonNegative
    answers: ClassVar[bool] = True
    renews: ClassVar[Renews] = "later"

    @property
    def leans(self) -> bool:  # type: ignore[override]
        """Whether what is retained is what the first task learned."""
        return self.from_task > 0

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Check that there is something to decompose, and that the numbers fit.

        Raises:
            ConfigError: targets that match nothing, ratios or fractions that cannot be.
            RefusedError: moments that outlive a task, or tied weights.
        """
        if self.trr < self.mrr:
            raise ConfigError(f"method.trr={self.trr} is below method.mrr={self.mrr}", "give the minimum as mrr")
        if isinstance(self.fraction, list) and len(self.fraction) != len(stream):
            raise ConfigError(
                f"method.fraction has {len(self.fraction)} values for {len(stream)} tasks", "give one number, or one per task"
            )
        if learner.optimizer.carry:
            raise RefusedError(
                "optimizer.carry=true: the factors of a new task are others, and moments of the old ones mean nothing to them",
                "give optimizer.carry=false",
            )
        self._chosen(learner)
        self._factored: dict[str, FactoredLinear] = {}
        self._held: list[nn.Parameter] = []
        self._ranks: dict[str, list[int]] = {}
        self._importance: dict[str, float] = {}
        self._trainable = 0

    def _chosen(self, learner: Learner) -> dict[str, nn.Module]:
        found = modules_named(learner.model.backbone, self.targets, linear_kinds())
        refuse_tied(learner.model, found)
        return found

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Decompose the chosen layers, and freeze what is to stand still."""
        self._ranks, self._importance = {}, {}
        self._removed: dict[str, Tensor] = {}
        if task.index >= self.from_task:
            chosen = {name: module for name, module in self._chosen(learner).items() if _learns(module)}
            if self.schedule == "importance":
                self._importance = self._measure(learner, task, chosen)
            for name, module in chosen.items():
                self._retain(learner, task, name, module)
            if self.others == "freeze":
                self._freeze_others(learner, chosen)
        learner.rebuild()
        self._trainable = sum(parameter.numel() for parameter in learner.trainable()[1])

    def _retain(self, learner: Learner, task: Task, name: str, module: nn.Module) -> None:
        """Let the leading part of one layer stand still."""
        weight = module.get_parameter("weight")
        k, p = self.rank(task.index, len(learner.stream), tuple(weight.shape), self._importance.get(name, 1.0)), min(weight.shape)
        self._ranks[name] = [k, p]
        if k == p:
            weight.requires_grad_(False)
            self._held.append(weight)
        elif k > 0:
            self._factored[name] = FactoredLinear(module, k)
            put(learner.model.backbone, name, self._factored[name])

    def rank(self, task: int, tasks: int, shape: tuple[int, ...], importance: float = 1.0) -> int:
        """Return how many singular triples a layer retains.

        Args:
            task: index of the task, from 0.
            tasks: of the stream.
            shape: of the weight.
            importance: of the layer; the mean over layers is 1.
        """
        if self.schedule == "importance":
            share = self.mrr + importance * (self.trr - self.mrr)
        elif self.schedule == "linear":
            share = task / tasks
        else:
            share = self.fraction[task] if isinstance(self.fraction, list) else self.fraction
        base = min(shape) if self.rank_base == "smaller" else max(shape)
        return min(int(base * share + 1e-9), min(shape))  # 1e-9: 10 * (7 / 10) is a little less than 7

    def _measure(self, learner: Learner, task: Task, chosen: dict[str, nn.Module]) -> dict[str, float]:
        """Return the importance of every chosen layer."""
        draws = learner.generator("osft", task.index)
        positions = torch.randperm(len(task.train), generator=draws)[: self.importance_samples].to(learner.device)
        backbone = learner.model.backbone
        learner.model.eval()
        found = find_layers(backbone, lambda: learner.features(learner.batch(task.train, positions[:2]).inputs))
        blocks = {name: layer[name] for name, layer in zip(found.names, found.layers, strict=True) if name not in chosen}
        measured = cosines(learner, task.train, positions, {**chosen, **blocks})
        square = relative({name: measured[name] for name in chosen if name in measured})
        around = {name: block for name in chosen for block in blocks if name.startswith(f"{block}.") and name not in square}
        rest = relative({name: measured[block] for name, block in around.items() if block in measured})
        return {name: square.get(name, rest.get(name, 1.0)) for name in chosen}

    def _freeze_others(self, learner: Learner, chosen: dict[str, nn.Module]) -> None:
        """Let nothing of the backbone learn but factors, and layers of rank 0."""
        free = {id(parameter) for parameter in learner.model.heads.parameters()}
        for name in chosen:
            layer = self._factored.get(name)
            if layer is not None:
                free |= {id(layer.get_parameter(factor)) for factor in FACTORS}
            elif self._ranks[name][0] == 0:
                free |= {id(parameter) for parameter in chosen[name].parameters()}
        for parameter in learner.model.backbone.parameters():
            if id(parameter) not in free:
                parameter.requires_grad_(False)
        weight_matrices.freeze_statistics(learner)

    def edit_update(self, learner: Learner, updates: dict[str, Tensor]) -> None:
        """Take from the steps of U_low and V_low what lies along the frozen vectors."""
        for name, layer in self._factored.items():
            left, right = updates.get(f"backbone.{name}.U_low"), updates.get(f"backbone.{name}.V_low")
            if left is None or right is None:
                continue
            steps = torch._foreach_norm([left, right])
            along = [subspace.keep_off(left, layer.U_high), subspace.keep_off(right.mT, layer.V_high.mT)]
            energies = torch.stack([*torch._foreach_norm(along), *steps]).square()
            self._removed[name] = self._removed[name] + energies if name in self._removed else energies

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Make the products plain weights again."""
        for name, layer in self._factored.items():
            put(learner.model.backbone, name, layer.restore())
        for weight in self._held:
            weight.requires_grad_(True)
        self._factored, self._held = {}, []
        learner.rebuild()

    def diagnostics(self) -> dict[str, Any]:
        """Return of each layer: retained and full rank, importance, share of its steps' energy that was removed."""
        found: dict[str, Any] = {}
        for name, (k, p) in self._ranks.items():
            found[name] = {"rank": k, "full": p}
            if name in self._importance:
                found[name]["importance"] = self._importance[name]
            if name in self._removed:
                u, v, left, right = self._removed[name].tolist()
                found[name]["removed"] = (u + v) / (left + right) if left + right > 0 else 0.0
        return {"trainable": self._trainable, "layers": found}


def _learns(module: nn.Module) -> bool:
    """Return whether a layer's weight is not frozen by something else."""
    return module.get_parameter("weight").requires_grad
