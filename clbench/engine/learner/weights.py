"""The weights under training: which a step may move, what methods add to them or freeze, and back to earlier ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from clbench.engine.fast.mlp_backward import chain_of
from clbench.engine.learner.memory_format import memory_format
from clbench.engine.learner.parameters import Completion, completed, movable, padded
from clbench.engine.optimizers import Optimizer
from clbench.models.classifier import Classifier
from clbench.stream import Stream


class Weights:
    """A model with its optimiser and its current task: the part of a learner that knows of no samples."""

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
        """The rate of the next step, and that which the schedule of the current task starts from."""
        self.completions: list[Completion] = []
        self._frozen: list[nn.Module] = []
        self._trainable: dict[bool, tuple[list[str], list[nn.Parameter]]] = {}
        self._look_up()

    def start(self, task: int) -> None:
        """Make `task` the current one; parameters and optimiser are looked up anew."""
        self.task = task
        self.rebuild()

    def rebuild(self) -> None:
        """Forget the list of parameters, and the optimiser's moments unless they carry over; after parameters were changed."""
        if not self.optimizer.carry:
            self.optimizer.reset()
        self.lr = self.optimizer.lr
        self._look_up()

    def _look_up(self) -> None:
        self._trainable.clear()
        self.chain = chain_of(self.model)
        self.parameters: dict[str, nn.Parameter] = dict(self.model.named_parameters())

    def reset_model(self) -> None:
        """Return the model to its initial weights, and what methods added to what it was at first; no moments outlive that."""
        self.optimizer.reset()
        self.model.load_state_dict(completed(self.initial().state_dict(), self.model, self.completions))

    def add(self, name: str, tensor: Tensor) -> nn.Parameter:
        """Give the model a trainable parameter beside its own, or replace it; the method's `reparametrize` says what it does.

        A parameter of zeros must mean nothing: `restore` fills up with zeros what an earlier model lacked.

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
        """Take away all parameters that `add` made."""
        if hasattr(self.model, "added"):
            del self.model.added
            self._look_up()

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Return the model to `weights`, a state dict of this task; what was added or enlarged since is filled up with zeros."""
        self.model.load_state_dict(padded(weights, self.parameters))

    def freeze(self, module: nn.Module, frozen: bool = True) -> None:
        """Keep `module` in evaluation mode while the model trains, so that running statistics stand still; or no longer."""
        self._frozen = [other for other in self._frozen if other is not module] + [module] * frozen

    def train(self) -> None:
        """Put the model into training mode, but for what is frozen."""
        self.model.train()
        for module in self._frozen:
            module.eval()

    def trainable(self, wide: bool = False) -> tuple[list[str], list[nn.Parameter]]:
        """Return names and parameters that a step may move: inactive heads and frozen parameters are not among them.

        Args:
            wide: whether the batch uses the heads of several tasks.
        """
        if wide not in self._trainable:
            self._trainable[wide] = movable(self.model, self._heads(wide))
        return self._trainable[wide]

    def _heads(self, wide: bool) -> range:
        if not self.stream.own_heads:
            return range(1)
        if self.stream.outputs == "all":
            return range(len(self.stream.head_sizes))
        return range(self.task + 1) if wide else range(self.task, self.task + 1)
