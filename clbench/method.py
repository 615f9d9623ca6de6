"""The contract of a method: what it may declare, and where the engine asks it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import torch.nn.functional as F
from torch import Tensor

from clbench.data.pool import Split
from clbench.stream import Stream, Task

if TYPE_CHECKING:
    from clbench.engine.learner.learner import Batch, Learner

Access = Literal["current", "seen", "all", "retained"]
Requests = Literal["refused", "skipped", "met"]
Holds = Literal["nothing", "trained", "layers"]
Renews = Literal["never", "once", "later"]


class Train(Protocol):
    """What `fit` calls to train: passes over a split as the trainer says, or as often as said here."""

    def __call__(self, split: Split, epochs: int | None = None) -> None:
        """Pass over `split`; `epochs`: in the place of the trainer's epochs or iterations."""


@dataclass
class Method:
    """A rule for learning tasks one after the other; naive fine-tuning unless something is overridden.

    Subclasses are dataclasses: fields are hyper-parameters (types here, values and their sources in
    `conf/method/NAME.yaml`). Whatever a method sets on itself besides its fields is its state: it must be a tree of
    tensors, numbers, strings, lists, dictionaries, or objects of the engine (`Memory`); it is saved, resumed, and
    counted in bytes. Names with a leading underscore are not: what `setup` and `begin_task` make of the rest.

    The engine owns forward, backward, the step and evaluation. A hook that is not overridden costs nothing.
    """

    settings: ClassVar[frozenset[str] | set[str]] = frozenset({"task", "domain", "class"})
    """Settings in which the method makes sense; others are refused."""
    access: ClassVar[Access] = "current"
    """Which tasks' training data is handed over as `history`: none, those seen before, all others, or the retained."""
    stackable: ClassVar[bool] = False
    """Whether the per-step hooks hold with a leading replica axis."""
    host_sync: ClassVar[bool] = False
    """Whether a per-step hook waits for the host."""
    replays: ClassVar[bool] = False
    """Whether the loss of a step has a part on stored samples (not so, if they only bound the step)."""
    answers: ClassVar[bool] = False
    """Whether the method also makes sense where answers are written (`data.answer_tokens`): a row of logits and a label for
    each token of an answer instead of one for each sample."""
    requests: ClassVar[Requests] = "refused"
    """What happens at a request to forget (a task of the kind `forget`, whose `train` is what is to be forgotten). `refused`:
    a stream with requests is refused. `skipped`: no hook is called and nothing moves; the baseline without unlearning. `met`:
    the hooks get the request like any task, and `fit` says how it is met. With `access = "retained"`, `history` then holds the
    tasks learned before, without all that was asked to be forgotten so far, and is empty otherwise; a method of another access
    is handed nothing but the request itself."""
    resets: ClassVar[bool] = False
    """Whether `fit` returns the model to its initial weights."""
    accumulates: ClassVar[bool] = False
    """Whether it keeps in the model itself what earlier tasks learned, and holds it: initial weights would undo that."""
    observes: ClassVar[bool] = False
    """Whether `edit_update` only looks at the step, so that it is no projection of it."""
    holds: ClassVar[Holds] = "nothing"
    """What it keeps from task to task by the names of parameters. `trained`: something of those that a task trained, which must
    go by the same names at later ones. `layers`: something of the weights that the model's layers have from the start."""
    renews: ClassVar[Renews] = "never"
    """When other parameters than before come to be trained in the model's layers, by other names: `never`; `once`, before the
    first task, and the same from then on; `later`, at later tasks as well. Those of `learner.add` do not count."""
    leans: ClassVar[bool] = False
    """Whether what it does from the second task on rests on a model that the first one has trained."""

    data_free: ClassVar[bool] = False
    """Whether what the method keeps, and puts into the model, comes from the model and the place in the stream alone, never from
    samples: federated clients then share one of it."""

    def setup(self, learner: Learner, stream: Stream) -> None:
        """Prepare once, before the first task: sizes and names, no data."""

    def begin_task(self, learner: Learner, task: Task) -> None:
        """Prepare for a task. May add, replace or freeze parameters; the optimiser is built afterwards."""

    def fit(self, learner: Learner, task: Task, train: Train, history: Sequence[Task]) -> None:
        """Learn a task, or meet a request, by calling `train(split)` as often as needed (closed-form methods: not at all)."""
        train(task.train)

    def extend_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Return the batch to train on; replay joins samples from memory."""
        return batch

    def criterion(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return the loss: a scalar; default cross-entropy.

        Args:
            learner: the model and what belongs to it.
            batch: the batch; `batch.labels` `[B]` are columns of `logits`.
            logits: `[B, outputs in play]`.
        """
        return F.cross_entropy(logits, batch.labels)

    def penalty(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor:
        """Return a scalar that is added to the loss (differentiated with it)."""
        return logits.new_zeros(())

    def edit_gradients(self, learner: Learner, batch: Batch) -> None:
        """Change `learner.gradients` (name -> tensor shaped as the parameter) in place, after backward."""

    def edit_update(self, learner: Learner, updates: dict[str, Tensor]) -> None:
        """Change the step about to be applied, in place.

        `updates[name]` holds the direction after momentum, preconditioning and weight decay; the engine then applies
        `parameter -= lr * updates[name]`. A projection of this direction is a projection of the step.
        """

    def reparametrize(self, learner: Learner, task_id: int | None) -> dict[str, Tensor]:
        """Return what stands in for parameters in every forward pass, by parameter name; differentiated through.

        For weights that are functions of parameters, those that `learner.add` brought in among them.

        Args:
            learner: the model and what belongs to it.
            task_id: the task that the inputs belong to; None outside the task setting.
        """
        return {}

    def on_epoch_end(self, learner: Learner, task: Task, rate: float, decayed: bool) -> float:
        """Act between two passes over a task's data; return what the learning rate is to be multiplied with from now on.

        Args:
            learner: the model and what belongs to it.
            task: the current one.
            rate: what the schedule says for the next epoch.
            decayed: whether that is less than in the last one.
        """
        return 1.0

    def end_task(self, learner: Learner, task: Task, history: Sequence[Task]) -> None:
        """Consolidate after a task: subspaces, Fisher information, buffers."""

    def predict(self, learner: Learner, inputs: Tensor, task_id: int | None) -> Tensor:
        """Return scores `[B, outputs in play]`, the highest wins; `task_id` is None outside the task setting.

        Args:
            learner: in evaluation mode.
            inputs: `[B, ...]`, preprocessed.
            task_id: the task whose head is asked.
        """
        return learner.logits(inputs, task_id)

    def generation_context(self, learner: Learner, inputs: Tensor) -> AbstractContextManager[None]:
        """Return a context in which the model itself answers for these inputs as `predict` would: where a language model writes.

        A method whose `predict` is more than a forward pass of the model either says here what that takes, or cannot be asked to
        write; `inputs` are as for `predict`.
        """
        return nullcontext()

    def forget_score(self, learner: Learner, inputs: Tensor) -> Tensor:
        """Return how much inputs `[B, ...]` are like what each request so far asked to forget, `[B, requests]`; higher is more.

        For methods that tell such inputs apart; how well they do is measured on test samples, and never handed back.
        """
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return what the method carries from task to task: one tree of tensors and plain values."""
        return state_of(self)

    def load_state(self, learner: Learner, state: dict[str, Any]) -> None:
        """Restore what `state` returned, after `setup`; re-add parameters that `begin_task` had added."""
        restore(self, state)

    def overrides(self, hook: str) -> bool:
        """Return whether this method changes `hook`; the engine skips hooks that nobody changed."""
        return getattr(type(self), hook) is not getattr(Method, hook)

    def owners(self, hook: str) -> int:
        """Return how many methods change `hook`: itself, or its parts."""
        return int(self.overrides(hook))

    def diagnostics(self) -> dict[str, Any]:
        """Return plain values for the record after each task (for example how full a subspace is)."""
        return {}


def state_of(keeper: Any) -> dict[str, Any]:
    """Return what a dataclass has set on itself besides its fields, as one tree; names with a leading underscore are left out."""
    own = {f.name for f in fields(keeper)}
    return {key: _pack(value) for key, value in vars(keeper).items() if key not in own and key[0] != "_"}


def restore(keeper: Any, state: dict[str, Any]) -> None:
    """Set on `keeper` what `state_of` returned."""
    for key, value in state.items():
        setattr(keeper, key, _unpack(value, getattr(keeper, key, None)))


def _pack(value: Any) -> Any:
    """Return `value` with every engine object replaced by its state."""
    if hasattr(value, "state") and hasattr(value, "load_state"):
        return value.state()
    if isinstance(value, dict):
        return {key: _pack(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_pack(item) for item in value]
    return value


def _unpack(value: Any, present: Any) -> Any:
    """Return the restored `value`; `present` is what `setup` had put there."""
    if hasattr(present, "load_state"):
        present.load_state(value)
        return present
    if isinstance(value, dict) and isinstance(present, dict):
        return {key: _unpack(item, present.get(key)) for key, item in value.items()}
    return value
