"""Local training of many clients at once: one forward pass, one backward pass and one step for all of them.

Every client gets what `Clients.train` gives it, to float tolerance: its batches in its order, a short batch averaged over its own
samples only, no step beyond its own last one. Clients that have taken their steps leave the stack, the others go on.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from clbench.engine.learner.precision import full
from clbench.engine.optimizers import SGD, Adam
from clbench.engine.replicas.stack import StackingError, compare
from clbench.engine.replicas.stacked_loop import clip
from clbench.engine.schedules import Constant
from clbench.errors import DivergedError
from clbench.federated.clients import Clients, ClientTraining, load, only, weights
from clbench.federated.messages import DIVERGED, Reply, Tensors
from clbench.method import Method
from clbench.methods.compose import Compose
from clbench.stream import Task

IGNORED = -100
"""The label of a place in a batch that no sample fills: `cross_entropy` gives it neither loss nor gradient."""


@dataclass(frozen=True)
class Plan:
    """What one client does in a round.

    Args:
        client: who.
        share: of the task.
        sizes: of its batches, by epoch.
        places: positions in the task's training data in the order in which they are met, int64, on the host.
    """

    client: int
    share: Task
    sizes: list[list[int]]
    places: Tensor

    @property
    def batches(self) -> list[int]:
        """Sizes of the batches of all its steps."""
        return [size for sizes in self.sizes for size in sizes]


def unsupported_reason(clients: Clients) -> str | None:
    """Return why the clients cannot train side by side, as far as it is known before the first step; None: they can."""
    learner, trainer, method = clients.learner, clients.trainer, clients.method
    name = type(method).__name__
    if not clients.shared:
        return f"{name} keeps something of its own for every client"
    for hook in ("fit", "extend_batch", "criterion", "penalty", "reparametrize", "on_epoch_end"):
        if method.overrides(hook):
            return f"{name} has its own {hook}"
    if not stackable(method):
        return f"{name} does not declare stackable"
    if method.host_sync:
        return f"{name} waits for the host in every step"
    if type(learner.optimizer) not in (SGD, Adam):
        return f"{type(learner.optimizer).__name__} may mix the entries of a parameter"
    if type(trainer.schedule) is not Constant:
        return "trainer.schedule changes the rate between epochs, which end at different steps"
    if trainer.micro_batch_size is not None:
        return "trainer.micro_batch_size takes a batch in parts"
    if learner.stream.preprocess.augments:
        return "samples are augmented, with draws of each client's own"
    if learner.stream.vocabulary is not None or learner.model.sequential:
        return "models from transformers are not stacked"
    parts = list(learner.model.modules())
    if any(isinstance(part, _BatchNorm) for part in parts):
        return "the model has BatchNorm"
    if any(isinstance(part, _DropoutNd) and part.p > 0 for part in parts):
        return "the model has dropout"
    return None


def stackable(method: Method) -> bool:
    """Return whether a method's edits of gradients and steps hold with a leading axis over clients, as far as it has any."""
    if isinstance(method, Compose):
        return all(stackable(part) for part in method.parts.values())
    return method.stackable or not (method.overrides("edit_gradients") or method.overrides("edit_update"))


def train(
    clients: Clients,
    task: Task,
    round: int,
    down: Tensors,
    names: Sequence[str],
    work: Mapping[int, float],
    rider: Tensors | None = None,
) -> list[Reply]:
    """Train clients in one round, all at once; return their replies in the order of `work`.

    Args:
        clients: that `unsupported_reason` finds nothing against.
        task: the current one.
        round: within the task, from 0.
        down: parameters and buffers as the server has them.
        names: of what is to be sent up.
        work: who trains, and what share of its steps each gets done.
        rider: as of `Clients.train`.

    Raises:
        StackingError: the model does not go through `vmap`; nothing has been trained.
    """
    learner, training = clients.learner, clients.training(next(iter(work)))
    load(learner, down)
    training.attach()
    learner.bare = False
    if clients.part is not None:
        clients.part.receive(learner, down)
    plans = [_plan(clients, client, task, round, share) for client, share in work.items()]
    plans.sort(key=lambda plan: -len(plan.batches))
    replies: dict[int, Reply] = {}
    with only(learner, names, training.wide):
        learner.train()
        stack = Stack(clients, plans)
        losses = stack.run(task)
        kept = weights(learner, names)
        for row, plan in enumerate(plans):
            rows = {name: stack.parameters[name][row] if name in stack.parameters else kept[name] for name in names}
            mean = _mean(training, plan, losses[: len(plan.batches), row])
            if mean is None:
                replies[plan.client] = Reply(plan.client, error=DIVERGED)
                continue
            answer: Tensors = {}
            if rider is not None:
                load(learner, rows)
                rule = clients.federated.server
                with clients.acting(plan.client):
                    answer = rule.client_message(learner, plan.share, rule.riding, rider)
            seen = sum(plan.batches)
            replies[plan.client] = Reply(plan.client, rows, len(plan.share.train), seen, mean, answer)
            training.samples += seen
    return [replies[client] for client in work]


def _plan(clients: Clients, client: int, task: Task, round: int, work: float) -> Plan:
    """Return what a client does, with the draws that it makes by itself."""
    share = clients.share(client, task)
    assert task.clients is not None
    with clients.acting(client) as training:
        training.start(share)
        training.first_epoch, training.work = round * clients.federated.local_epochs, work
        n = len(share.train)
        every, steps, epochs = training.plan(n)
        sizes = [every[: steps - epoch * len(every)] for epoch in range(epochs)]
        orders = [training.order(n, epoch)[: sum(sizes[epoch])] for epoch in range(epochs)]
    return Plan(client, share, sizes, task.clients[client].index_select(0, torch.cat(orders)))


def _mean(training: ClientTraining, plan: Plan, losses: Tensor) -> float | None:
    """Return the mean over epochs of a client's losses `[steps]` (on the host), None where one is not finite."""
    training.losses = []
    try:
        for epoch, part in enumerate(torch.split(losses, [len(sizes) for sizes in plan.sizes])):
            training.note(float(part.mean()), epoch)
    except DivergedError:
        return None
    return sum(training.losses) / len(training.losses)


class Stack:
    """Models of clients that start from the learner's, stacked: `[R, ...]` for those parameters that a step may move."""

    def __init__(self, clients: Clients, plans: Sequence[Plan]) -> None:
        """Take the clients, those with most steps first."""
        learner = self.learner = clients.learner
        self.method, self.trainer, self.plans = clients.method, clients.trainer, plans
        self.wide = learner.stream.own_heads and learner.stream.outputs == "all"
        self.parameters = {
            name: torch.stack([parameter.detach()] * len(plans))
            for name, parameter in zip(*learner.trainable(self.wide), strict=True)
        }
        self.optimizer = copy.copy(learner.optimizer)
        self.optimizer.reset()
        self.together = copy.copy(learner)
        self.together.lr = learner.base_lr

    def run(self, task: Task) -> Tensor:
        """Take all steps; return the losses `[steps, R]`, on the host; 0 where a client takes no step any more."""
        device, count = task.train.rows.device, len(self.plans)
        batches = [plan.batches for plan in self.plans]
        steps, width = len(batches[0]), max(max(sizes) for sizes in batches)
        sizes = torch.tensor([[*own, *[0] * (steps - len(own))] for own in batches]).T.contiguous()
        ends = sizes.cumsum(0) + torch.tensor([0, *[sum(own) for own in batches[:-1]]]).cumsum(0)
        slots = torch.minimum((ends - sizes).unsqueeze(2) + torch.arange(width), ends.unsqueeze(2) - 1).clamp(min=0)
        places = torch.cat([plan.places for plan in self.plans])[slots].to(device)  # a short batch repeats its last sample
        on_device = sizes.to(device)
        losses = torch.zeros(steps, count, device=device)
        active = count
        for step in range(steps):
            own = [sizes_of[step] for sizes_of in batches[:active] if len(sizes_of) > step]
            if len(own) < active or step == 0:
                active = len(own)
                self._keep(active)
            wide, short = max(own), min(own) < max(own)
            flat = self.learner.batch(task.train, places[step, :active, :wide].reshape(-1))
            inputs = flat.inputs.view(active, wide, *flat.inputs.shape[1:])
            labels = flat.labels.view(active, wide)
            if short:
                beyond = torch.arange(wide, device=device) >= on_device[step, :active, None]
                labels = labels.masked_fill(beyond, IGNORED)
            if step == 0:
                self._verify(inputs)
            losses[step, :active] = self.step(inputs, labels, on_device[step, :active])
        return losses.cpu()

    def _keep(self, count: int) -> None:
        """Go on with the first `count` clients."""
        self._active = {name: stacked[:count].requires_grad_() for name, stacked in self.parameters.items()}
        self.optimizer.load_state(_first(self.optimizer.state(), count))
        self.together.parameters = {**self.learner.parameters, **self._active}  # type: ignore[dict-item]

    def logits(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return `[R, B, outputs in play]` for preprocessed inputs `[R, B, ...]`."""
        learner = self.learner
        stream = learner.stream
        head = None if self.wide else learner.task if stream.own_heads else 0

        def single(own: dict[str, Tensor], x: Tensor) -> Tensor:
            result: Tensor = torch.func.functional_call(learner.model, own, (x, head))
            return result

        found = full(torch.func.vmap(single)(dict(parameters), inputs))
        return found if stream.own_heads else found[..., : stream.active_outputs(learner.task)]

    def _verify(self, inputs: Tensor) -> None:
        """Check on the first client's first batch that the stacked forward pass is the model's own.

        Raises:
            StackingError: it is not, or there is none.
        """
        learner = self.learner
        try:
            with torch.no_grad(), learner.arithmetic:
                head = None if self.wide else learner.task if learner.stream.own_heads else 0
                apart = full(learner.model(inputs[0], head))
                together = self.logits({name: value.detach() for name, value in self._active.items()}, inputs)[0]
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            raise StackingError(f"the model does not go through vmap: {' '.join(str(error).split())[:200]}") from error
        compare(together, apart[:, : together.shape[1]], self.trainer.precision)

    def step(self, inputs: Tensor, labels: Tensor, sizes: Tensor) -> Tensor:
        """Move the parameters of all active clients once; return their losses `[R]`.

        Args:
            inputs: `[R, B, ...]`, preprocessed.
            labels: int64 `[R, B]`, `IGNORED` beyond a client's own samples.
            sizes: int64 `[R]`, each client's own samples.
        """
        with self.learner.arithmetic:
            logits = self.logits(self._active, inputs)
            apart = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none", ignore_index=IGNORED)
            losses = apart.view_as(labels).sum(1) / sizes
        found = torch.autograd.grad(losses.sum(), list(self._active.values()), allow_unused=True)
        gradients = {name: gradient for name, gradient in zip(self._active, found, strict=True) if gradient is not None}
        parameters = [self._active[name] for name in gradients]
        with torch.no_grad():
            if self.method.overrides("edit_gradients"):
                self.together.gradients = gradients
                self.method.edit_gradients(self.together, None)  # type: ignore[arg-type]  # proved without a batch
                gradients = self.together.gradients
            clip(list(gradients.values()), self.trainer.clip_value, self.trainer.clip_norm)
            directions = self.optimizer.directions(list(gradients), parameters, list(gradients.values()))
            if self.method.overrides("edit_update"):
                updates = {name: direction.clone() for name, direction in zip(gradients, directions, strict=True)}
                self.method.edit_update(self.together, updates)
                directions = [updates[name] for name in gradients]
            torch._foreach_add_(parameters, directions, alpha=-self.together.lr)
        return losses.detach()


def _first(tree: Any, count: int) -> Any:
    """Return a tree of tensors `[R, ...]` cut to their first `count` rows, as views."""
    if isinstance(tree, Tensor):
        return tree[:count]
    if isinstance(tree, dict):
        return {key: _first(value, count) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_first(value, count) for value in tree]
    return tree
