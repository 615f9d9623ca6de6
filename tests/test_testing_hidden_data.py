"""Methods that learn from test samples: each meets a clear error while it learns, or fails the conformance kit."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace

import pytest
import torch

from clbench.data.hidden import HiddenDataError
from clbench.data.pool import Split
from clbench.method import Method, Trait
from clbench.testing import check_access, check_hidden_data, check_read_only

HOARD: list[torch.Tensor] = []
SHORT = ["scenario.n_tasks=2", "scenario.setting=domain"]


class Recording(Method):
    """Trains on inputs that `predict` has seen, as copies of a training sample's label; subclasses say where it keeps them."""

    def keep(self, inputs):
        raise NotImplementedError

    def kept(self):
        raise NotImplementedError

    def predict(self, learner, inputs, task_id):
        self.keep(inputs.clone())
        return learner.logits(inputs, task_id)

    def extend_batch(self, learner, batch):
        found = self.kept()
        return batch if found is None else replace(batch, inputs=batch.inputs + 0.01 * found[: len(batch)].mean(0))


@dataclass
class InItself(Recording):
    """Keeps them as an attribute that is not saved."""

    def keep(self, inputs):
        self._inputs = inputs

    def kept(self):
        return getattr(self, "_inputs", None)


@dataclass
class InAClosure(Recording):
    """Keeps them in a closure."""

    def setup(self, learner, stream):
        inputs = []
        self._append, self._last = inputs.append, lambda: inputs[-1] if inputs else None

    def keep(self, inputs):
        self._append(inputs)

    def kept(self):
        return self._last()


@dataclass
class InTheLearner(Recording):
    """Keeps them on the learner, behind a weak reference to an object of the model."""

    def setup(self, learner, stream):
        self._model = weakref.ref(learner.model)

    def keep(self, inputs):
        self._model().__dict__["inputs"] = {"last": (inputs,)}

    def kept(self):
        return self._model().__dict__.get("inputs", {"last": (None,)})["last"][0]


@dataclass
class InAGlobal(Recording):
    """Keeps them in a variable of its module."""

    def setup(self, learner, stream):
        HOARD.clear()

    def keep(self, inputs):
        HOARD.append(inputs)

    def kept(self):
        return HOARD[-1] if HOARD else None


@dataclass
class AsAnAverage(Method):
    """Keeps no sample, but the mean of all inputs of `predict`, in its state."""

    def setup(self, learner, stream):
        self.mean = torch.zeros(64)

    def predict(self, learner, inputs, task_id):
        self.mean = inputs.flatten(1).mean(0)
        return learner.logits(inputs, task_id)


@dataclass
class AtTestTime(Method):
    """Moves the weights by what `predict` gets."""

    def predict(self, learner, inputs, task_id):
        for weight in learner.model.parameters():
            weight += 1e-3 * inputs.mean()
        return learner.logits(inputs, task_id)


@pytest.mark.parametrize(
    ("cls", "complaint"),
    [
        (InItself, "test data can be reached while learning: method._inputs holds a copy of a test sample"),
        (InAClosure, r"reached while learning: method._.* holds a copy of a test sample"),
        (InTheLearner, r"reached while learning: learner.model.inputs\['last'\]\[0\] holds a copy of a test sample"),
        (InAGlobal, "the weight .* depends on test samples"),
        (AsAnAverage, "the method's state depends on test samples"),
        (AtTestTime, "the weight .* depends on test samples"),
    ],
)
def test_what_predict_saw_must_not_be_learned(cls, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_hidden_data(node(cls), SHORT, [])


@dataclass
class FromTheStream(Method):
    """Trains on the evaluation sets of the learner's stream."""

    def fit(self, learner, task, train, history):
        train(learner.stream.evaluation[task.index].split)


@dataclass
class FromSetup(Method):
    """Takes inputs of the evaluation sets from the stream of `setup`."""

    def setup(self, learner, stream):
        self._stream = stream

    def fit(self, learner, task, train, history):
        for column in self._stream.evaluation:
            column.split.raw()


@pytest.mark.parametrize("cls", [FromTheStream, FromSetup])
def test_evaluation_sets_of_the_stream_have_no_samples_and_say_so(cls):
    with pytest.raises(HiddenDataError, match=r"'task 0: .*' is not available while a method learns.*\n.*learn from task.train"):
        check_hidden_data(node(cls), SHORT, [])


@dataclass
class NamesAndSizes(Method):
    """Uses what may be known of evaluation sets."""

    def setup(self, learner, stream):
        self.sizes = [[column.name, column.role, len(column.split), column.split.tasks] for column in stream.evaluation]
        assert not any(hasattr(column.split, "pool") for column in stream.evaluation)


def test_names_roles_and_sizes_of_evaluation_sets_are_known():
    check_hidden_data(node(NamesAndSizes), SHORT, [])


@dataclass
class WholePool(Method):
    """Trains on every row of the pool, whichever task it belongs to."""

    def fit(self, learner, task, train, history):
        pool = task.train.pool
        rows = torch.arange(len(pool))
        train(Split(pool, rows, pool.targets % 2, task.index))


def test_rows_outside_the_task_are_outside_the_access():
    with pytest.raises(AssertionError, match="depends on data of earlier or later tasks"):
        check_access(node(WholePool), ["scenario.setting=domain"], [])


@dataclass
class Reads(Method):
    """Reads the step and leaves it as it is."""

    traits = frozenset({Trait.READ_ONLY_UPDATE})

    def setup(self, learner, stream):
        self.total = torch.zeros(())

    def edit_update(self, learner, updates):
        self.total += sum(update.abs().sum() for update in updates.values())


@dataclass
class Damps(Reads):
    """Changes updates, from the second task on."""

    def edit_update(self, learner, updates):
        if learner.task:
            next(iter(updates.values())).mul_(0.5)


@dataclass
class Slows(Reads):
    """Changes the learning rate."""

    def edit_update(self, learner, updates):
        learner.set_rate(learner.lr * 0.99)


@dataclass
class Pulls(Reads):
    """Moves the parameters itself."""

    def edit_update(self, learner, updates):
        for parameter in learner.parameters.values():
            parameter.mul_(0.999)


@pytest.mark.parametrize(
    ("cls", "what"), [(Damps, "the updates"), (Slows, "the learning rate"), (Pulls, "the parameters"), (Reads, None)]
)
def test_a_method_that_declares_to_read_the_step_leaves_it_as_it_is(cls, what):
    if what is None:
        return check_read_only(node(cls), SHORT, [])
    with pytest.raises(AssertionError, match=f"{cls.__name__}.edit_update changes {what}, and declares Trait.READ_ONLY_UPDATE"):
        check_read_only(node(cls), SHORT, [])
    return None


def test_a_part_of_a_composition_is_checked_too():
    parts = {"one": node(Damps), "two": {"_target_": "clbench.methods.naive.Naive"}}
    with pytest.raises(AssertionError, match=r"Damps.edit_update changes"):
        check_read_only({"_target_": "clbench.methods.compose.Compose", "parts": parts}, SHORT, [])


def node(cls):
    return {"_target_": f"tests.test_testing_hidden_data.{cls.__name__}"}
