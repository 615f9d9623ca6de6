"""The trained weights: those that a step may move, additions and freezing by methods, and the return of earlier weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from clbench.engine.fast.compile import Compiled
from clbench.engine.fast.mlp_layers import MLPLayers, mlp_layers
from clbench.engine.learner.batch import cut
from clbench.engine.learner.memory_format import memory_format
from clbench.engine.learner.parameters import Completion, completed, movable, padded
from clbench.engine.learner.single_sample import Fault, single_sample_fault
from clbench.engine.learner.step_plan import StepPlan
from clbench.engine.optimizers import Optimizer
from clbench.models.classifier import Classifier
from clbench.stream import Stream


class Weights:
    """A model with its optimiser and its current task: the part of a learner that knows no samples."""

    def __init__(self, stream: Stream, initial: Callable[[], Classifier], optimizer: Optimizer, device: torch.device) -> None:
        """Build the model; arguments as of `Learner`."""
        self.stream, self.optimizer, self.device = stream, optimizer, device
        self.initial = initial
        self.model = initial().to(device)
        layout = memory_format(self.model, device)
        self.contiguous = layout is torch.contiguous_format
        """Whether convolutions must stay contiguous (see `engine.learner.memory_format`)."""
        if layout is torch.channels_last:
            self.model.to(memory_format=layout)
        self.task = -1
        self.lr = self.base_lr = optimizer.lr
        """The rate of the next step, and the rate from which the schedule of the current task starts."""
        self.plan = StepPlan()
        """The plan of a step; set by `act_for`."""
        self.compiled: Compiled | None = None
        """The compiled forward pass of steps, if any."""
        self.rng_scope: tuple[str | int, ...] = ()
        """Part of every generator's name, if several learn with one model (federated clients)."""
        self.completions: list[Completion] = []
        self._frozen: list[nn.Module] = []
        self._trainable: dict[bool, tuple[list[str], list[nn.Parameter]]] = {}
        self._single: dict[bool, Fault | None] = {}
        self._look_up()

    # ---- the step
    @property
    def arithmetic(self) -> AbstractContextManager[Any]:
        """The precision of forward passes: a context for each (see `engine.learner.precision`)."""
        return self.plan.arithmetic

    @property
    def reparametrize(self) -> Callable[[int | None], dict[str, Tensor]] | None:
        """Returns the tensors that replace parameters in forward passes, by task; None: never."""
        return self.plan.reparametrize

    @property
    def plain_step(self) -> bool:
        """True if a step is the gradient times the rate (see `StepPlan`)."""
        return self.plan.plain_step

    @property
    def full_precision(self) -> bool:
        """True if forward passes compute in the precision of their tensors."""
        return type(self.plan.arithmetic) is nullcontext

    def act_for(self, plan: StepPlan) -> None:
        """Make forward passes and steps as `plan` says, until the next call."""
        self.plan = plan

    @contextmanager
    def acting(self, plan: StepPlan, rng_scope: tuple[str | int, ...] = ()) -> Iterator[None]:
        """Follow `plan`, and draw within `rng_scope`, inside the context."""
        before = self.plan, self.rng_scope
        self.plan, self.rng_scope = plan, rng_scope
        try:
            yield
        finally:
            self.plan, self.rng_scope = before

    @contextmanager
    def restoring_rates(self) -> Iterator[None]:
        """Restore `lr` and `base_lr` after the context."""
        before = self.lr, self.base_lr
        try:
            yield
        finally:
            self.lr, self.base_lr = before

    def compile(self, mode: str, tell: Callable[[str], None]) -> None:
        """Compile the forward pass of steps; arguments as of `engine.fast.compile.Compiled`."""
        self.compiled = Compiled(self.model, mode, tell, self.contiguous)

    def mlp_without_graph(self) -> MLPLayers | None:
        """Return the layers of an MLP if a pass without modules and graph is valid now, else None."""
        mlp = self.mlp
        if mlp is None or self.compiled is not None or self.plan.reparametrize is not None:
            return None
        return mlp if self.full_precision and not mlp.has_hooks else None

    # ---- tasks and parameters
    def start(self, task: int) -> None:
        """Make `task` the current one; parameters and optimiser are looked up anew."""
        self.task = task
        self.rebuild()

    def rebuild(self) -> None:
        """Look the parameters up again after a change; the optimiser forgets its moments unless they carry over."""
        if not self.optimizer.carry:
            self.optimizer.reset()
        self.lr = self.optimizer.lr
        self._look_up()

    def _look_up(self) -> None:
        self._trainable.clear()
        self._single.clear()
        self.mlp = mlp_layers(self.model)
        """The layers of the model, if it is an MLP of ours."""
        self.parameters: dict[str, nn.Parameter] = dict(self.model.named_parameters())

    def reset_model(self) -> None:
        """Return the model to its initial weights, additions of methods included; the optimiser forgets its moments."""
        self.optimizer.reset()
        self.model.load_state_dict(completed(self.initial().state_dict(), self.model, self.completions))

    def add(self, name: str, tensor: Tensor) -> nn.Parameter:
        """Give the model a trainable parameter beside its own, or replace it; the method's `reparametrize` uses it.

        A parameter of zeros must change nothing: `restore` fills with zeros the entries that an earlier model lacked.

        Args:
            name: of the parameter; in the model it is `added.NAME`, a dot in it written as a slash.
            tensor: its initial value.
        """
        if not hasattr(self.model, "added"):
            self.model.added = nn.ParameterDict()
        parameter = nn.Parameter(tensor)
        self.model.get_submodule("added").register_parameter(name.replace(".", "/"), parameter)
        self._look_up()
        return parameter

    def added(self, name: str) -> nn.Parameter | None:
        """Return the parameter that `add` made under `name`, or None."""
        return self.parameters.get(f"added.{name.replace('.', '/')}")

    def drop_added(self) -> None:
        """Remove all parameters that `add` made."""
        if hasattr(self.model, "added"):
            del self.model.added
            self._look_up()

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Return the model to `weights`, a state dict of this task; entries added since become zeros."""
        self.model.load_state_dict(padded(weights, self.parameters))

    def freeze(self, module: nn.Module, frozen: bool = True) -> None:
        """Keep `module` in evaluation mode while the model trains, so that running statistics stay; `frozen=False` ends it."""
        self._frozen = [other for other in self._frozen if other is not module] + [module] * frozen

    def train(self) -> None:
        """Put the model into training mode, except frozen modules."""
        self.model.train()
        for module in self._frozen:
            module.eval()

    def single_fault(self, training: bool = True) -> Fault | None:
        """Return why the model cannot take a single sample now, in training or evaluation mode; None: it can.

        Layers that a method keeps in evaluation mode (`freeze`) count as such. Transformers take any number of samples.
        """
        if training not in self._single:
            model = self.model
            mode = self.train if training else model.eval
            found = None if model.sequential else single_sample_fault(model.backbone, model.input_shape, self.device, mode)
            self._single[training] = found
        return self._single[training]

    def chunks(self, positions: Tensor, size: int) -> tuple[Tensor, ...]:
        """Return `positions` (int64 `[n]`) in parts of `size`, for passes in evaluation mode.

        A part of one sample is avoided where the model cannot take it (`batch.cut`).
        """
        if len(positions) % size != 1 or self.single_fault(training=False) is None:
            return torch.split(positions, size)
        return torch.split(positions, cut(len(positions), size, least=2))

    def set_rate(self, lr: float) -> None:
        """Use `lr` as the learning rate of the next steps."""
        self.lr = lr

    def set_base_rate(self, lr: float) -> None:
        """Let the schedule of the current task start from `lr`."""
        self.base_lr = lr

    def trainable(self, all_heads: bool = False) -> tuple[list[str], list[nn.Parameter]]:
        """Return names and parameters that a step may move, without inactive heads and frozen parameters.

        Args:
            all_heads: True if the batch uses the heads of several tasks.
        """
        if all_heads not in self._trainable:
            self._trainable[all_heads] = movable(self.model, self._heads(all_heads))
        return self._trainable[all_heads]

    def _heads(self, all_heads: bool) -> range:
        if not self.stream.own_heads:
            return range(1)
        if self.stream.outputs == "all":
            return range(len(self.stream.head_sizes))
        return range(self.task + 1) if all_heads else range(self.task, self.task + 1)
