"""Seeds side by side: what each of them learns is what it learns alone."""

from functools import partial

import pytest
import torch
from torch import nn

from clbench.engine.evaluation.accuracy import evaluate
from clbench.engine.learner.learner import Learner
from clbench.engine.optimizers import SGD, Adam
from clbench.engine.replicas.stack import StackingError, stack_trees, unstack_tree
from clbench.engine.replicas.stacked_loop import StackedTraining
from clbench.engine.schedules import Cosine
from clbench.engine.training.loop import Training
from clbench.methods.naive import Naive
from clbench.models import build_model
from tests.methods.shipped import shipped
from tests.streams import blob_stream, doubled, learner_for, trainer

SEEDS = (0, 1, 2)


class Norms(nn.Module):
    """A convolution and BatchNorm: buffers that move with every batch."""

    def __init__(self, input_shape):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(input_shape[0], 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        return torch.relu(self.norm(self.convolution(x))).flatten(1)


class Noisy(nn.Module):
    """Dropout: random in every forward pass."""

    def __init__(self, input_shape):
        super().__init__()
        self.linear = nn.Linear(16, 8)

    def forward(self, x):
        return nn.functional.dropout(self.linear(x.flatten(1)), 0.5, self.training)


class Constant(nn.Module):
    """What `vmap` makes of it is not what it is: it looks at the number of its inputs' axes."""

    def __init__(self, input_shape):
        super().__init__()
        self.linear = nn.Linear(16, 8)

    def forward(self, x):
        inside = torch._C._functorch.maybe_current_level() is not None
        return self.linear(x.flatten(1)) * (2 if inside else 1)


def replicas(make, setting="class", optimizer=None, how=None, streams=None, outputs="seen"):
    """Return one training per seed, each with its own stream, method and model."""
    made = []
    for seed in SEEDS:
        stream = streams(seed) if streams else blob_stream(setting, outputs, seed=seed, valid_fraction=0.1)
        stream = doubled(stream)
        learner = learner_for(stream, seed, optimizer() if optimizer else SGD(0.05))
        learner.model.double()
        learner.rebuild()
        method = make()
        method.setup(learner, stream)
        made.append(Training(learner, method, how() if how else trainer()))
    return made


def together(trainings, tasks=3):
    stacked = StackedTraining(trainings)
    rows = []
    for index in range(tasks):
        stacked.learn(index)
        assert not stacked.failed
        rows.append(stacked.measure([training.learner.stream.evaluation for training in trainings], 32))
    return rows


def apart(trainings, tasks=3):
    rows = []
    for index in range(tasks):
        for training in trainings:
            training.learn(training.learner.stream.tasks[index])
        rows.append([evaluate(t.learner, t.method, t.learner.stream.evaluation, 32) for t in trainings])
    return rows


def assert_same(one, other, tolerance=1e-9):
    """Compare weights, buffers, curves, counts of steps, and what the methods keep."""
    for a, b in zip(one, other, strict=True):
        left, right = a.learner.model.state_dict(), b.learner.model.state_dict()
        assert left.keys() == right.keys()
        for name in left:
            torch.testing.assert_close(left[name], right[name], rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(torch.tensor(a.losses), torch.tensor(b.losses), rtol=1e-6, atol=1e-9)
        assert (a.step_count, a.samples) == (b.step_count, b.samples)
        if type(a.method).__name__ not in ("OGD", "GPM", "SGP"):  # a singular vector's sign is anyone's
            close(a.method.state(), b.method.state(), tolerance)


def close(one, other, tolerance):
    if isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            close(one[key], other[key], tolerance)
    elif isinstance(one, (list, tuple)):
        for a, b in zip(one, other, strict=True):
            close(a, b, tolerance)
    else:
        assert one == other


METHODS = {
    "naive": {},
    "ewc": {"strength": 10.0},
    "ewc_online": {"strength": 10.0},
    "si": {"strength": 1.0},
    "si_bounded": {"strength": 100.0},
    "mas": {"strength": 1.0},
    "er": {"buffer_size": 20},
    "er_ace": {"buffer_size": 20},
    "der": {"buffer_size": 20},
    "derpp": {"buffer_size": 20},
    "agem": {"buffer_size": 30, "reference_batch": 8},
    "gpm": {"threshold": 0.9},
    "sgp": {"threshold": 0.9},
    "ogd": {},
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("setting", ["class", "task"])
def test_every_seed_learns_what_it_learns_alone(name, setting):
    if setting == "task" and setting not in shipped(name, **METHODS[name]).settings:
        pytest.skip(f"{name} has no task setting")
    one, other = (replicas(lambda: shipped(name, **METHODS[name]), setting) for _ in range(2))
    assert together(one) == apart(other)
    assert_same(one, other)
    assert not torch.equal(*(t.learner.model.heads[0].weight for t in one[:2])), "the seeds are different ones"


@pytest.mark.parametrize("name", ["naive", "si", "gpm"])
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: SGD(0.05, momentum=0.9, weight_decay=1e-3, nesterov=True),
        lambda: SGD(0.05, momentum=0.9, carry=True),
        lambda: Adam(1e-3, (0.9, 0.999), 1e-8, weight_decay=1e-2),
        lambda: Adam(1e-3, (0.9, 0.999), 1e-8, weight_decay=1e-2, decoupled=True, carry=True),
    ],
)
def test_with_every_optimiser(name, optimizer):
    one, other = (replicas(lambda: shipped(name), optimizer=optimizer) for _ in range(2))
    assert together(one) == apart(other)
    assert_same(one, other, 1e-7)  # Adam's root makes more of rounding
    for a, b in zip(one, other, strict=True):
        if a.learner.optimizer.carry:
            close(a.learner.optimizer.state(), b.learner.optimizer.state(), 1e-6)


@pytest.mark.parametrize(
    "limits",
    [{"clip_norm": 0.3}, {"clip_value": 0.01}, {"schedule": Cosine(0.1)}, {"schedule": Cosine(0.1, "step")}, {"iterations": 7}],
)
def test_clipping_is_by_replica_and_schedules_are_followed(limits):
    one, other = (replicas(Naive, how=lambda: trainer(**limits)) for _ in range(2))
    assert together(one) == apart(other)
    assert_same(one, other)


@pytest.mark.parametrize("outputs", ["seen", "all"])
def test_in_the_task_setting_all_outputs_can_take_part(outputs):
    one, other = (replicas(lambda: shipped("er", buffer_size=20), "task", outputs=outputs) for _ in range(2))
    assert together(one) == apart(other)
    assert_same(one, other)


def test_permutations_and_augmentation_are_each_seeds_own():
    def stream(seed):
        return blob_stream("domain", kind="permuted", seed=seed)

    one, other = (replicas(Naive, streams=stream) for _ in range(2))
    assert together(one) == apart(other)
    assert_same(one, other)
    views = [training.learner.stream.tasks[1].train.view for training in one]
    assert not torch.equal(views[0], views[1])


def with_model(kind, make=Naive):
    """Return replicas whose backbone is `kind`."""
    made = []
    for seed in SEEDS:
        stream = doubled(blob_stream(seed=seed))
        node = {"_target_": f"{__name__}.{kind.__name__}"}
        initial = partial(build_model, node, stream, seed)
        learner = Learner(stream, initial, SGD(0.05), torch.device("cpu"), seed)
        learner.model.double()
        learner.rebuild()
        method = make()
        method.setup(learner, stream)
        made.append(Training(learner, method, trainer()))
    return made


def test_running_statistics_are_each_replicas_own():
    one, other = (with_model(Norms) for _ in range(2))
    assert together(one) == apart(other)
    assert_same(one, other)
    statistics = [training.learner.model.backbone.norm.running_mean for training in one]
    assert not torch.equal(statistics[0], statistics[1])


def test_measuring_within_a_task_changes_nothing_and_is_in_evaluation_mode():
    """Under BatchNorm, training and evaluation differ; the steps after a measurement are in training mode again."""
    one, other, apart_rows = with_model(Norms), with_model(Norms), []
    stacked, rows = StackedTraining(one), []
    columns = [training.learner.stream.evaluation for training in one]
    stacked.learn(0, lambda step: rows.append(stacked.measure(columns, 32)))
    for training in other:

        def measure(step, training=training):
            apart_rows.append(evaluate(training.learner, training.method, training.learner.stream.evaluation, 32))

        training.learn(training.learner.stream.tasks[0], measure)
    count = other[0].step_count
    assert len(rows) == count
    assert rows == [[apart_rows[seed * count + step] for seed in range(len(SEEDS))] for step in range(count)]
    assert_same(one, other)


def test_a_replica_that_diverges_leaves_the_others():
    one, other = (replicas(lambda: shipped("ewc", strength=1.0)) for _ in range(2))
    for trainings in (one, other):
        with torch.no_grad():
            trainings[1].learner.model.heads[0].weight.fill_(float("nan"))
    stacked = StackedTraining(one)
    stacked.learn(0)
    assert list(stacked.failed) == [1]
    assert "loss became nan" in str(stacked.failed[1])
    stacked.keep([0, 2])
    for index in (1, 2):
        stacked.learn(index)
        assert not stacked.failed
    rest = [other[0], other[2]]
    apart(rest)
    assert_same([one[0], one[2]], rest)


def test_afterwards_every_learner_owns_its_weights():
    trainings = replicas(Naive)
    StackedTraining(trainings).learn(0)
    for training in trainings:
        for tensor in training.learner.model.state_dict().values():
            assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


def test_trees_are_stacked_and_taken_apart_again():
    trees = [{"a": torch.full((2,), float(i)), "b": [torch.tensor(i)], "c": 3, "d": {}} for i in range(3)]
    stacked = stack_trees(trees)
    assert stacked["a"].shape == (3, 2)
    for before, after in zip(trees, unstack_tree(stacked, 3), strict=True):
        close(before, after, 0)
    for a, b in [({"a": 1}, {"a": 2}), ({"a": 1}, {"b": 1}), ([1], [1, 1]), (torch.zeros(1), torch.zeros(2))]:
        with pytest.raises(StackingError):
            stack_trees([a, b])
