"""The contract of a method: what a method declares, and the hooks that the engine calls."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch.nn.functional as F
from torch import Tensor

from clbench.contract import declarations, old_names
from clbench.contract.declarations import Access as Access
from clbench.contract.declarations import Requests as Requests
from clbench.contract.traits import Trait as Trait
from clbench.data.pool import Split
from clbench.stream import Stream, Task

if TYPE_CHECKING:
    from clbench.engine.learner.learner import Batch, Learner


class Train(Protocol):
    """The function that `fit` calls to train on a split."""

    def __call__(self, split: Split, epochs: int | None = None) -> None:
        """Train on `split`. `epochs` replaces the trainer's epochs or iterations; None keeps them."""


@dataclass
class Method:
    """A rule for learning tasks one after the other. Without any override it is naive fine-tuning.

    Subclasses are dataclasses. Fields are hyper-parameters: types here, values and their sources in
    `conf/method/NAME.yaml`. All other attributes are the method's state, except names with a leading underscore. State is a
    tree of tensors, numbers, strings, lists, tuples, dictionaries, or objects of the engine (`Memory`). It is saved, resumed, and
    counted in bytes. Other values, such as NumPy arrays, would not come back from a checkpoint: the first checkpoint is refused
    (`clbench.engine.resumable`). `setup` and `begin_task` must compute the underscored attributes again.

    The engine owns forward, backward, the step and evaluation. A hook that is not overridden costs nothing. Four more hooks,
    for few methods, stand in `clbench.contract.protocols`: a method opts in by defining them.
    """

    settings: ClassVar[frozenset[str] | set[str]] = frozenset({"task", "domain", "class"})
    """Settings in which the method makes sense. The others are refused."""
    access: ClassVar[Access] = "current"
    """The tasks whose training data arrives as `history`: none (`current`), earlier ones (`seen`), all others, or `retained`."""
    traits: ClassVar[frozenset[Trait]] = frozenset()
    """Facts that decide which methods can act as one."""
    stackable: ClassVar[bool] = False
    """True if the per-step hooks are right for tensors with a leading replica axis."""
    host_sync: ClassVar[bool] = False
    """True if a per-step hook makes the host wait for the device."""
    data_free: ClassVar[bool] = False
    """True if the method's state and its changes to the model depend on the model and the task's position alone, never on
    samples. Federated clients then share one state."""
    supports_generation: ClassVar[bool] = False
    """True if the method also works where the model writes answers (`data.answer_tokens`). There, logits and labels have one
    row for each token of an answer, not one for each sample."""
    requests: ClassVar[Requests] = "refused"
    """The reaction to a request to forget: a task of the kind `forget`, whose `train` is the data to forget. `refused`: a stream
    with requests is refused. `ignored`: no hook is called and no weight changes; the baseline without unlearning. `handled`: the
    hooks get the request like any task, and `fit` forgets. With `access = "retained"`, `history` then holds the tasks learned so
    far, without all data to forget up to this request; at other tasks it is empty. With any other access, a method gets only
    the request itself."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Accept the names of an earlier contract, with a warning. Check the declarations."""
        super().__init_subclass__(**kwargs)
        old_names.translate(cls, Method)
        declarations.check(cls, Method)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Name today's spelling when an earlier one is read."""
            raise AttributeError(old_names.missing(type(self).__name__, name))

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Prepare once, before the first task: sizes and names. No data is available yet."""

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Prepare for a task. May add, replace or freeze parameters; the optimiser is built afterwards."""

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Learn a task, or handle a request. Call `train(split)` any number of times; closed-form methods never do."""
        train(task.train)

    def extend_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Return the batch to train on. Replay joins samples from memory."""
        return batch

    def criterion(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return the loss, a scalar. Default: cross-entropy.

        Args:
            learner: the model and what belongs to it.
            batch: `batch.labels` `[B]` are columns of `logits`.
            logits: `[B, active outputs]`.
        """
        return F.cross_entropy(logits, batch.labels)

    def penalty(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return a scalar that is added to the loss before backward."""
        return logits.new_zeros(())

    def edit_gradients(self, learner: Learner, batch: Batch) -> None:
        """Change `learner.gradients` (name -> tensor shaped as the parameter) in place, after backward."""

    def edit_update(self, learner: Learner, updates: dict[str, Tensor]) -> None:
        """Change the step in place, before the engine applies it.

        `updates[name]` is the direction after momentum, preconditioning and weight decay. The engine then applies
        `parameter -= lr * updates[name]`. To project this direction is to project the step.
        """

    def after_step(self, learner: Learner) -> None:
        """Act on the parameters after a step has moved them, without gradients: weight averages, constraints on weights."""

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Consolidate after a task: subspaces, Fisher information, buffers."""

    def predict(self, learner: Learner, inputs: Tensor, task_id: int | None) -> Tensor:
        """Return scores `[B, active outputs]`; the highest score is the prediction.

        Args:
            learner: in evaluation mode.
            inputs: `[B, ...]`, preprocessed.
            task_id: the task whose head is used; None outside the task setting.
        """
        return learner.logits(inputs, task_id)

    def state(self) -> dict[str, Any]:
        """Return the state that the method carries from task to task: one tree of tensors and plain values."""
        return state_of(self)

    def load_state(self, learner: Learner, state: dict[str, Any]) -> None:
        """Restore the result of `state`, after `setup`. Add again all parameters that `begin_task` had added."""
        restore(self, state)

    def overrides(self, hook: str) -> bool:
        """Return whether this method has its own `hook`. The engine skips all other hooks."""
        return getattr(type(self), hook, None) is not getattr(Method, hook, None)

    def owners(self, hook: str) -> int:
        """Return the number of methods with their own `hook`: this one, or its parts."""
        return int(self.overrides(hook))

    def diagnostics(self) -> dict[str, Any]:
        """Return plain values for the record after each task, such as the dimension of a subspace."""
        return {}


def state_of(keeper: Any) -> dict[str, Any]:
    """Return the attributes of a dataclass as one tree, without its fields and names with a leading underscore."""
    own = {f.name for f in fields(keeper)}
    return {key: _pack(value) for key, value in vars(keeper).items() if key not in own and key[0] != "_"}


def restore(keeper: Any, state: dict[str, Any]) -> None:
    """Set the attributes that `state_of` returned on `keeper`."""
    for key, value in state.items():
        setattr(keeper, key, _unpack(value, getattr(keeper, key, None)))


def _pack(value: Any) -> Any:
    """Return `value` with each object of the engine replaced by its state."""
    if hasattr(value, "state") and hasattr(value, "load_state"):
        return value.state()
    kind = type(value)  # a subclass stays as it is: as its base class, it would come back with less than it had
    if kind in (dict, OrderedDict):
        return kind((key, _pack(item)) for key, item in value.items())
    if kind in (list, tuple):
        return kind(_pack(item) for item in value)
    return value


def _unpack(value: Any, present: Any) -> Any:
    """Return the restored `value`; `present` is the attribute as `setup` made it."""
    if hasattr(present, "load_state"):
        present.load_state(value)
        return present
    kind = type(value)
    if kind in (dict, OrderedDict) and isinstance(present, dict):
        return kind((key, _unpack(item, present.get(key))) for key, item in value.items())
    if kind in (list, tuple) and isinstance(present, (list, tuple)) and len(present) == len(value):
        return kind(_unpack(item, own) for item, own in zip(value, present, strict=True))
    return value


def __getattr__(name: str) -> Any:
    """Return a stand-in for the types of two earlier declarations, so that a plug-in that imports them still loads."""
    if name in ("Holds", "Renews"):
        warnings.warn(f"clbench.method.{name} is gone: declare traits (clbench.method.Trait)", FutureWarning, stacklevel=2)
        return str
    raise AttributeError(f"module 'clbench.method' has no attribute {name!r}")
