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
from clbench.method import Method, Trait
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

    At the start of a task, the weight of every target layer is decomposed, W = U diag(S) V^T. The k largest singular triples
    stand for earlier knowledge and are frozen. The others are trained as factors, and each step of U_low and V_low is kept
    orthogonal to the frozen left and right vectors. Therefore U_high^T (W' - W) = 0 and (W' - W) V_high = 0: on inputs in the
    span of V_high the layer's outputs do not change. At the end of the task the product becomes the layer's weight again. The
    next task decomposes that weight. Nothing is stored besides the weights.

    The applied step is projected, after moments, preconditioning and weight decay; a projected gradient leaves the subspace
    under Adam. The authors' research scripts differ (Red-Hat-AI-Innovation-Team/orthogonal-subspace-learning): they write the
    product into the weight outside of autograd, so that the factors get no gradient, and project gradients only. Their later
    program (mini_trainer) projects gradients and parameters. PEFT projects gradients.

    The rule protects the layers of the backbone, never a head. It was made for large pre-trained networks. On a small network
    without pre-training and with one head for all tasks, it can forget more than plain fine-tuning. The retained layers leave
    little room, so the shared head changes more. The authors' rule and PEFT's forget as much there. A smaller `fraction` forgets
    less, and so does a head per task. docs/forgetting.md has the figures.

    A retained rank of 0 does not change the layer, and all of its weight trains. The full rank p freezes all of its weight.
    Convolutions, embeddings, norms and the projections of `nn.MultiheadAttention` (which reads their weights directly) are never
    decomposed. `others` says whether they train, and whether biases do. Heads, and parameters that they share with the backbone
    (tied embeddings), always train. With `scenario.outputs=all` in the task setting, heads of earlier tasks are frozen: else they
    would move as negatives.

    Retained ranks, relative to p = min(out, in) (`rank_base`), rounded down:
    `importance`: k = p * (mrr + I (trr - mrr)), as in the paper. I is the mean cosine of a layer's input and output over samples
    of the new task (samples of earlier knowledge do not exist). If input and output differ in width, the layer gets the cosine
    of its repeated block; without such a block, it gets the mean, 1. Cosines of layers and of blocks differ in size, so each
    kind is divided by its own mean over layers. Negative ones count as 0.
    `linear`: k = p * t / T at task t of T, from 0 (PEFT's documentation: (t - 1) / n from 1).
    `fixed`: k = p * `fraction`.

    Args:
        targets: the layers: endings of their names in the backbone, matched at dots, or `all-linear`.
        schedule: of the retained rank.
        mrr: minimum retention ratio of `importance`.
        trr: target retention ratio of `importance`.
        importance_samples: training samples for the cosines.
        fraction: retained share of `fixed`, or one per task.
        rank_base: base of the ratios. `smaller`: min(out, in). `larger`: max(out, in), as in the authors' scripts; layers much
            longer than wide are then soon frozen entirely.
        others: `train` or `freeze`: all other parameters of the backbone, from `from_task` on.
        from_task: first task, from 0, with decomposed layers; earlier ones are plain fine-tuning.
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
    supports_generation: ClassVar[bool] = True

    @property
    def traits(self) -> frozenset[Trait]:  # type: ignore[override]
        """Factors replace weights at every task; from a later task on, they retain the first task's directions."""
        return frozenset({Trait.REPLACES_PARAMETERS_LATER} | ({Trait.NEEDS_FIRST_TASK} if self.from_task > 0 else set()))

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Check the targets and the numbers.

        Raises:
            ConfigError: targets that match nothing, or impossible ratios or fractions.
            RefusedError: moments that are carried over to the next task, or tied weights.
        """
        if self.trr < self.mrr:
            raise ConfigError(f"method.trr={self.trr} is below method.mrr={self.mrr}", "give the minimum as mrr")
        if isinstance(self.fraction, list) and len(self.fraction) != len(stream):
            raise ConfigError(
                f"method.fraction has {len(self.fraction)} values for {len(stream)} tasks", "give one number, or one per task"
            )
        if learner.optimizer.carry:
            raise RefusedError(
                "optimizer.carry=true: a new task has new factors, and the moments of the old ones do not fit them",
                "give optimizer.carry=false",
            )
        self._chosen(learner)
        self._svd_layers: dict[str, FactoredLinear] = {}
        self._held: list[nn.Parameter] = []
        self._ranks: dict[str, list[int]] = {}
        self._importance: dict[str, float] = {}
        self._trainable = 0

    def _chosen(self, learner: Learner) -> dict[str, nn.Module]:
        found = modules_named(learner.model.backbone, self.targets, linear_kinds())
        refuse_tied(learner.model, found)
        return found

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Decompose the target layers, and freeze the other parameters if `others` says so."""
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
            if learner.stream.outputs == "all":
                weight_matrices.freeze_old_heads(learner)
        learner.rebuild()
        self._trainable = sum(parameter.numel() for parameter in learner.trainable()[1])

    def _retain(self, learner: Learner, task: Task, name: str, module: nn.Module) -> None:
        """Freeze the leading part of one layer."""
        weight = module.get_parameter("weight")
        k, p = self.rank(task.index, len(learner.stream), tuple(weight.shape), self._importance.get(name, 1.0)), min(weight.shape)
        self._ranks[name] = [k, p]
        if k == p:
            weight.requires_grad_(False)
            self._held.append(weight)
        elif k > 0:
            self._svd_layers[name] = FactoredLinear(module, k)
            put(learner.model.backbone, name, self._svd_layers[name])

    def rank(self, task: int, tasks: int, shape: tuple[int, ...], importance: float = 1.0) -> int:
        """Return the number of singular triples that a layer retains.

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
        """Return the importance of every target layer."""
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
        """Freeze the backbone, except for factors and layers of rank 0."""
        free = {id(parameter) for parameter in learner.model.heads.parameters()}
        for name in chosen:
            layer = self._svd_layers.get(name)
            if layer is not None:
                free |= {id(layer.get_parameter(factor)) for factor in FACTORS}
            elif self._ranks[name][0] == 0:
                free |= {id(parameter) for parameter in chosen[name].parameters()}
        for parameter in learner.model.backbone.parameters():
            if id(parameter) not in free:
                parameter.requires_grad_(False)
        weight_matrices.freeze_statistics(learner)

    def edit_update(self, learner: Learner, updates: dict[str, Tensor]) -> None:
        """Remove the component along the frozen vectors from the steps of U_low and V_low."""
        for name, layer in self._svd_layers.items():
            left, right = updates.get(f"backbone.{name}.U_low"), updates.get(f"backbone.{name}.V_low")
            if left is None or right is None:
                continue
            steps = torch._foreach_norm([left, right])
            along = [subspace.keep_off(left, layer.U_high), subspace.keep_off(right.mT, layer.V_high.mT)]
            energies = torch.stack([*torch._foreach_norm(along), *steps]).square()
            self._removed[name] = self._removed[name] + energies if name in self._removed else energies

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Turn the products into plain weights again."""
        for name, layer in self._svd_layers.items():
            put(learner.model.backbone, name, layer.restore())
        for weight in self._held:
            weight.requires_grad_(True)
        self._svd_layers, self._held = {}, []
        learner.rebuild()

    def diagnostics(self) -> dict[str, Any]:
        """Return for each layer: retained and full rank, importance, and the removed share of its steps' energy."""
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
    """Return whether a layer's weight trains."""
    return module.get_parameter("weight").requires_grad
