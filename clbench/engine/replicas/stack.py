"""Replicas of one model side by side: every parameter has a leading axis over seeds, and one forward pass serves them all."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from clbench.engine.fast.compile import Compiled
from clbench.engine.learner.batch import Batch
from clbench.engine.learner.learner import Learner
from clbench.engine.learner.precision import Precision, full
from clbench.errors import ClbenchError

AGREEMENT: Mapping[Precision, float] = {"float32": 1e-3, "tf32": 1e-2, "bf16": 5e-2}
"""Largest difference between the stacked forward pass and the single ones, relative to the largest logit. Other kernels round
differently, by a few of each precision's last digits. A model that behaves otherwise under `vmap` differs by its whole size."""


class StackingError(ClbenchError):
    """These runs cannot train side by side; they can still be run one by one."""


class Stack:
    """The models of several learners as one.

    While a task is trained (`gather` to `release`) the learners' own parameters and buffers are views into the stacked ones:
    hooks called for one learner see its current model.
    """

    def __init__(self, learners: Sequence[Learner]) -> None:
        """Copy the structure of the first model, before a method attaches hooks to it."""
        self.learners = learners
        self.model = copy.deepcopy(learners[0].model)
        self.parameters: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}
        self.compiled: Compiled | None = None
        """`call`, where it is compiled; for steps."""

    def __len__(self) -> int:
        return len(self.learners)

    def keep(self, learners: Sequence[Learner]) -> None:
        """Continue with these learners only."""
        self.learners = learners

    def compile(self, mode: str, tell: Callable[[str], None]) -> None:
        """Compile the stacked forward pass of steps; arguments as of `Compiled`."""
        self.compiled = Compiled(self.call, mode, tell, self.learners[0].contiguous)

    def gather(self) -> None:
        """Stack the learners' parameters and buffers; theirs become views.

        Raises:
            StackingError: the models are not alike.
        """
        learners = self.learners
        shapes = [{name: p.shape for name, p in learner.parameters.items()} for learner in learners]
        own = {name: p.shape for name, p in self.model.named_parameters()}
        if any(shape != own for shape in shapes):
            raise StackingError("parameters were added or replaced, or differ in shape between seeds")
        self.parameters = {}
        for name in own:
            stacked = torch.stack([learner.parameters[name].detach() for learner in learners])
            for index, learner in enumerate(learners):
                learner.parameters[name].data = stacked[index]
            self.parameters[name] = stacked.requires_grad_()
        buffers = [dict(learner.model.named_buffers()) for learner in learners]
        self.buffers = {name: torch.stack([each[name] for each in buffers]) for name in buffers[0]}
        for index, each in enumerate(buffers):
            for name, buffer in each.items():
                buffer.data = self.buffers[name][index]

    def release(self) -> None:
        """Give every learner its own parameters and buffers again."""
        for learner in self.learners:
            for tensor in [*learner.parameters.values(), *dict(learner.model.named_buffers()).values()]:
                tensor.data = tensor.data.clone()
        self.parameters, self.buffers = {}, {}

    def trainable(self, all_heads: bool) -> tuple[list[str], list[Tensor]]:
        """Return names and stacked parameters `[R, ...]` that a step may move; `all_heads` as of `Learner.trainable`."""
        names, _ = self.learners[0].trainable(all_heads)
        return names, [self.parameters[name] for name in names]

    def train(self, mode: bool = True) -> None:
        """Put the shared structure, and all models, into training or evaluation mode."""
        for learner in self.learners:
            learner.train() if mode else learner.model.eval()
        for part, own in zip(self.model.modules(), self.learners[0].model.modules(), strict=False):
            part.training = own.training

    def logits(self, inputs: Tensor, head: int | None) -> Tensor:
        """Return `[R, B, outputs of the head]`, or of all heads side by side, for preprocessed inputs `[R, B, ...]`."""
        call = self.compiled if self.compiled is not None and self.model.training else self.call
        return full(call(self.parameters, self.buffers, inputs, head))

    def call(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor, head: int | None) -> Tensor:
        """Return the model's logits with stacked parameters, buffers and inputs."""

        def single(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
            result: Tensor = torch.func.functional_call(self.model, (parameters, buffers), (x, head))
            return result

        result: Tensor = torch.func.vmap(single)(parameters, buffers, inputs)
        return result

    def forward(self, inputs: Tensor, batches: Sequence[Batch]) -> Tensor:
        """Return the logits `[R, B, active outputs]`, each row as `Learner.forward` gives it for that learner's batch.

        Args:
            inputs: `[R, B, ...]`, preprocessed.
            batches: one per learner, whose `joint` is set as by `Learner.forward`; empty, if no hook needs them.
        """
        first = self.learners[0]
        if not first.stream.own_heads:
            raw = self.logits(inputs, 0)
            for batch, joint in zip(batches, raw.unbind(0), strict=False):
                batch.joint = joint
            return raw[..., : first.stream.active_outputs(first.task)]
        if not batches or not first.needs_all_heads(batches[0]):
            return self.logits(inputs, first.task)
        triples = zip(self.learners, batches, self.logits(inputs, None).unbind(0), strict=True)
        return torch.stack([learner.in_play(batch, raw) for learner, batch, raw in triples])

    @contextmanager
    def differentiable(self, index: int) -> Iterator[None]:
        """Make one learner's forward passes and `parameters` functions of the stacked parameters, inside the context."""
        with self.learners[index].substituting({name: stacked[index] for name, stacked in self.parameters.items()}):
            yield

    def verify_reached(self, losses: Tensor) -> None:
        """Check that losses `[R]` depend on the stacked parameters alone: other parameters would not be trained.

        Raises:
            StackingError: a hook used a learner's model directly, not through the learner.
        """
        own = [p for learner in self.learners for p in learner.model.parameters() if p.requires_grad]
        passed = torch.autograd.grad(losses.sum(), own, retain_graph=True, allow_unused=True)
        if any(gradient is not None for gradient in passed):
            raise StackingError("the method's loss uses learner.model directly, not learner.forward, features or logits")

    def verify(self, inputs: Tensor, batches: Sequence[Batch], precision: Precision = "float32") -> None:
        """Check on one batch that the stacked forward pass equals the single models'; buffers stay as they are.

        Args:
            inputs: `[R, B, ...]`, preprocessed.
            batches: one per learner.
            precision: of the forward passes; determines the tolerance.

        Raises:
            StackingError: it differs, or the model does not go through `vmap` (random layers, control flow on values).
        """
        kept = {name: buffer.clone() for name, buffer in self.buffers.items()}
        try:
            with torch.no_grad():
                stacked = self.forward(inputs, batches)
                for name, buffer in kept.items():
                    self.buffers[name].copy_(buffer)
                single = torch.stack([lrn.forward(batch) for lrn, batch in zip(self.learners, batches, strict=True)])
        except torch.OutOfMemoryError:  # not the model's fault: fewer seeds may fit
            raise
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            raise StackingError(f"the model does not go through vmap: {' '.join(str(error).split())[:200]}") from error
        finally:
            for name, buffer in kept.items():
                self.buffers[name].copy_(buffer)
        compare(stacked, single, precision)


def compare(stacked: Tensor, single: Tensor, precision: Precision) -> None:
    """Check that outputs of a stacked forward pass equal those of the single models (same shapes), where these are finite.

    Raises:
        StackingError: they differ by more than `AGREEMENT`.
    """
    finite = torch.isfinite(single)
    if not bool(finite.any()):  # all have diverged, and the end of the epoch reports that
        return
    scale = single[finite].abs().max().clamp(min=1e-6)
    if bool((stacked[finite] - single[finite]).abs().max() > AGREEMENT[precision] * scale):
        raise StackingError("the model gives other outputs under vmap than by itself")


def stack_trees(trees: Sequence[Any]) -> Any:
    """Return one tree whose tensors have a leading axis over `trees`.

    Raises:
        StackingError: the trees are not alike, or plain values in them differ.
    """
    first = trees[0]
    if isinstance(first, Tensor):
        if any(not isinstance(tree, Tensor) or tree.shape != first.shape for tree in trees):
            raise StackingError("the method's state differs in shape between seeds")
        return torch.stack(list(trees))
    if isinstance(first, dict):
        if any(tree.keys() != first.keys() for tree in trees):
            raise StackingError("the method's state has different names for different seeds")
        return {key: stack_trees([tree[key] for tree in trees]) for key in first}
    if isinstance(first, (list, tuple)):
        if any(len(tree) != len(first) for tree in trees):
            raise StackingError("the method's state differs in number between seeds")
        return [stack_trees(items) for items in zip(*trees, strict=True)]
    if any(tree != first for tree in trees):
        raise StackingError("plain values in the method's state differ between seeds")
    return first


def unstack_tree(tree: Any, count: int) -> list[Any]:
    """Return the `count` trees that `stack_trees` joined, as new tensors."""
    if isinstance(tree, Tensor):
        return [row.clone() for row in tree]
    if isinstance(tree, dict):
        apart = {key: unstack_tree(value, count) for key, value in tree.items()}
        return [{key: values[index] for key, values in apart.items()} for index in range(count)]
    if isinstance(tree, (list, tuple)):
        columns = [unstack_tree(value, count) for value in tree]
        return [[column[index] for column in columns] for index in range(count)]
    return [tree] * count
