"""Local training of many clients at once: one forward pass, one backward pass and one step for all of them.

Every client gets the result of `Clients.train`, to float tolerance: the same batches in the same order, a short batch averaged
over its own samples only, no step after its own last one. Clients leave the stack after their last step; the others go on.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from clbench.engine.learner.precision import full
from clbench.engine.optimizers import SGD, Adam, clip_each_by_norm
from clbench.engine.pace import per
from clbench.engine.replicas.refusals import OWN_WAY, common_reason
from clbench.engine.replicas.stack import StackingError, compare
from clbench.engine.schedules import Constant
from clbench.engine.training.loop import Training
from clbench.engine.training.step import apply_gradients, step_plan
from clbench.errors import DivergedError
from clbench.federated.clients import Clients, load, only, weights
from clbench.federated.messages import DIVERGED, Reply, Tensors
from clbench.method import Method
from clbench.methods.compose import Compose
from clbench.stream import Task

IGNORED = -100
"""The label of an empty place in a batch: `cross_entropy` gives it neither loss nor gradient."""


@dataclass(frozen=True)
class ClientRound:
    """The batches of one client in a round.

    Args:
        client: its number.
        share: its share of the task.
        sizes: of its batches, by epoch.
        places: positions in the task's training data, in the order of use, int64, on the host.
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
    """Return why the clients cannot train side by side, as far as is known before the first step; None: they can."""
    learner, trainer, method = clients.learner, clients.trainer, clients.method
    name = type(method).__name__
    if not clients.shared:
        return f"{name} stores something of its own for every client"
    reason = common_reason(learner, method, trainer, (*OWN_WAY, "extend_batch", "criterion", "penalty"))
    if reason is not None:
        return reason
    if not stackable(method):
        return f"{name} does not declare stackable"
    if type(learner.optimizer) not in (SGD, Adam):
        return f"{type(learner.optimizer).__name__} may mix the entries of a parameter"
    if type(trainer.schedule) is not Constant and per(trainer.schedule) != "round":
        return (
            f"trainer.schedule changes the rate from {per(trainer.schedule)} to {per(trainer.schedule)}, which differ in number"
        )
    if learner.stream.preprocess.augments:
        return "samples are augmented, with draws of each client's own"
    parts = list(learner.model.modules())
    if any(isinstance(part, _BatchNorm) for part in parts):
        return "the model has BatchNorm"
    if any(isinstance(part, _DropoutNd) and part.p > 0 for part in parts):
        return "the model has dropout"
    return None


def stackable(method: Method) -> bool:
    """Return True if the method's hooks on gradients, update and weights, if any, hold with a leading axis over clients."""
    if isinstance(method, Compose):
        return all(stackable(part) for part in method.parts.values())
    return method.stackable or not any(method.overrides(hook) for hook in ("edit_gradients", "edit_update", "after_step"))


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
        clients: for which `unsupported_reason` returns None.
        task: the current one.
        round: within the task, from 0.
        down: the server's parameters and buffers.
        names: of the tensors to send up.
        work: the clients that train, and the share of its steps that each takes.
        rider: as of `Clients.train`.

    Raises:
        StackingError: the model does not go through `vmap`; nothing has been trained.
    """
    learner, training = clients.learner, clients.training(next(iter(work)))
    load(learner, down)
    if clients.part is not None:
        clients.part.receive(learner, down)
    plans = [_plan(clients, client, task, round, share) for client, share in work.items()]
    plans.sort(key=lambda plan: -len(plan.batches))
    replies: dict[int, Reply] = {}
    with learner.acting(training.plan), only(learner, names, clients.moves_all_heads):
        learner.train()
        stack = Stack(clients, plans, training.pace(1, 1).start(learner.base_lr))
        losses = stack.run(task)
        own = weights(learner, names)
        for row, plan in enumerate(plans):
            rows = {name: stack.parameters[name][row] if name in stack.parameters else own[name] for name in names}
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
            training.count(samples=seen)
    return [replies[client] for client in work]


def _plan(clients: Clients, client: int, task: Task, round: int, work: float) -> ClientRound:
    """Return the batches of a client, by the draws that it would make alone."""
    share = clients.share(client, task)
    assert task.clients is not None
    with clients.acting(client) as training:
        clients.start(training, share, round, work)
        n = len(share.train)
        every, steps, epochs = training.lengths(n)
        sizes = [every[: steps - epoch * len(every)] for epoch in range(epochs)]
        orders = [training.order(n, epoch)[: sum(sizes[epoch])] for epoch in range(epochs)]
    return ClientRound(client, share, sizes, task.clients[client].index_select(0, torch.cat(orders)))


def _mean(training: Training, plan: ClientRound, losses: Tensor) -> float | None:
    """Return the mean over epochs of a client's losses `[steps]` (on the host), None where one is not finite."""
    training.clear_losses()
    try:
        for epoch, part in enumerate(torch.split(losses, [len(sizes) for sizes in plan.sizes])):
            training.note(float(part.mean()), epoch)
    except DivergedError:
        return None
    return sum(training.losses) / len(training.losses)


class Stack:
    """Models of clients that start from the learner's, stacked: `[R, ...]` for the parameters that a step may move."""

    def __init__(self, clients: Clients, plans: Sequence[ClientRound], rate: float) -> None:
        """Take the clients, those with most steps first, and the rate of the round."""
        learner = self.learner = clients.learner
        self.trainer, self.plans = clients.trainer, plans
        self.all_heads = learner.stream.own_heads and learner.stream.outputs == "all"
        self.parameters = {
            name: torch.stack([parameter.detach()] * len(plans))
            for name, parameter in zip(*learner.trainable(self.all_heads), strict=True)
        }
        self.optimizer = copy.copy(learner.optimizer)
        self.optimizer.reset()
        self.stacked = learner.stacked(learner.parameters, self.optimizer)
        self.stacked.set_rate(rate)
        plan = step_plan(self.stacked, clients.method, clients.trainer, project_inputs=False)
        self.plan = replace(plan, edit_in_place=False)

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
            size, short = max(own), min(own) < max(own)
            flat = self.learner.batch(task.train, places[step, :active, :size].reshape(-1))
            inputs = flat.inputs.view(active, size, *flat.inputs.shape[1:])
            labels = flat.labels.view(active, size)
            if short:
                beyond = torch.arange(size, device=device) >= on_device[step, :active, None]
                labels = labels.masked_fill(beyond, IGNORED)
            if step == 0:
                self._verify(inputs)
            losses[step, :active] = self.step(inputs, labels, on_device[step, :active])
        return losses.cpu()

    def _keep(self, count: int) -> None:
        """Continue with the first `count` clients."""
        self._active = {name: stacked[:count].requires_grad_() for name, stacked in self.parameters.items()}
        self.optimizer.load_state(_first(self.optimizer.state(), count))
        self.stacked.parameters = {**self.learner.parameters, **self._active}  # type: ignore[dict-item]

    def logits(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return `[R, B, active outputs]` for preprocessed inputs `[R, B, ...]`."""
        learner = self.learner
        stream = learner.stream
        head = None if self.all_heads else learner.task if stream.own_heads else 0

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
                head = None if self.all_heads else learner.task if learner.stream.own_heads else 0
                single = full(learner.model(inputs[0], head))
                stacked = self.logits({name: value.detach() for name, value in self._active.items()}, inputs)[0]
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            raise StackingError(f"the model does not go through vmap: {' '.join(str(error).split())[:200]}") from error
        compare(stacked, single[:, : stacked.shape[1]], self.trainer.precision)

    def step(self, inputs: Tensor, labels: Tensor, sizes: Tensor) -> Tensor:
        """Move the parameters of all active clients once; return their losses `[R]`.

        Args:
            inputs: `[R, B, ...]`, preprocessed.
            labels: int64 `[R, B]`, `IGNORED` beyond a client's own samples.
            sizes: int64 `[R]`, each client's own samples.
        """
        with self.learner.arithmetic:
            logits = self.logits(self._active, inputs)
            each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none", ignore_index=IGNORED)
            losses = each.view_as(labels).sum(1) / sizes
        found = torch.autograd.grad(losses.sum(), list(self._active.values()), allow_unused=True)
        names, parameters = list(self._active), list(self._active.values())
        apply_gradients(self.plan, self.stacked, names, parameters, found, None, clip_each_by_norm)
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
