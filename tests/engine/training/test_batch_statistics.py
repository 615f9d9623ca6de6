"""Single samples and layers that normalise by the statistics of their batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clbench.engine.evaluation.accuracy import evaluate, parts
from clbench.engine.learner.batch import cut
from clbench.engine.learner.learner import Batch, Learner
from clbench.engine.optimizers import SGD
from clbench.engine.training.batch_statistics import check_evaluation, check_single_samples, epoch_sizes, explained
from clbench.engine.training.loop import Training
from clbench.engine.training.step import step_plan
from clbench.errors import ConfigError
from clbench.method import Method
from clbench.models.classifier import Classifier
from clbench.stream import Stream
from tests.methods.shipped import shipped
from tests.streams import Blobs, blob_stream, trainer


class Normed(nn.Module):
    """A linear layer and a norm: `norm` makes it for 8 features."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(16, 8), norm

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.linear(x.flatten(1))))


class Functional(Normed):
    """Normalises by the batch at hand without a module for it, in evaluation too."""

    def __init__(self) -> None:
        super().__init__(nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.batch_norm(self.linear(x.flatten(1)), None, None, training=True)


class Map(nn.Module):
    """A convolution of the whole image, and a norm of its one pixel."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 4), norm

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x))).flatten(1)


class Wide(nn.Module):
    """BatchNorm on maps of several pixels, which one sample can fill."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x))).flatten(1)


class Squeezed(nn.Module):
    """Loses the axis over samples for a single one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).squeeze()


def learner_of(backbone: nn.Module, per_class: int = 40, **options: Any) -> Learner:
    stream = blob_stream(**({"dataset": Blobs(per_class=per_class)} | options))
    model = Classifier(backbone, stream.head_sizes, stream.input_shape)
    return Learner(stream, lambda: model, SGD(0.05), torch.device("cpu"), 0)


def running() -> Normed:
    return Normed(nn.BatchNorm1d(8))


def transductive() -> Normed:
    return Normed(nn.BatchNorm1d(8, track_running_stats=False))


def of_size(stream: Stream, task: int, n: int) -> Stream:
    """Return the stream with `n` training samples in a task."""
    tasks = list(stream.tasks)
    tasks[task] = replace(tasks[task], train=tasks[task].train.select(torch.arange(n)))
    return replace(stream, tasks=tuple(tasks))


@pytest.mark.parametrize("size", [2, 3, 4, 16])
def test_no_part_of_one_is_cut_off(size: int) -> None:
    for n in range(2, 70):
        sizes = cut(n, size, least=2)
        assert sum(sizes) == n
        assert min(sizes) >= 2
        assert max(sizes) <= max(size, 3)
        if n % size != 1:
            assert sizes == cut(n, size)


@pytest.mark.parametrize(
    ("backbone", "layer"),
    [
        (running, "backbone.norm (BatchNorm1d)"),
        (transductive, "backbone.norm (BatchNorm1d)"),
        (Functional, "backbone (Functional)"),
        (Squeezed, "backbone (Squeezed)"),
        (lambda: Map(nn.BatchNorm2d(8)), "backbone.norm (BatchNorm2d)"),
        (lambda: Map(nn.InstanceNorm2d(8, track_running_stats=True)), "backbone.norm (InstanceNorm2d)"),
        (lambda: Map(nn.GroupNorm(8, 8)), "backbone.norm (GroupNorm)"),
    ],
)
def test_the_layer_is_found(backbone: Any, layer: str) -> None:
    fault = learner_of(backbone()).single_fault()
    assert fault is not None
    assert fault.layer == layer
    assert fault.always == ("InstanceNorm" in layer)


@pytest.mark.parametrize("backbone", [Wide, lambda: Normed(nn.LayerNorm(8)), lambda: Normed(nn.GroupNorm(2, 8))])
def test_other_layers_take_one_sample(backbone: Any) -> None:
    learner = learner_of(backbone())
    assert learner.single_fault() is None
    assert step_plan(learner, Method(), trainer(micro_batch_size=4)).least == 1


def test_evaluation_on_running_statistics_takes_one_sample() -> None:
    assert learner_of(running()).single_fault(training=False) is None
    assert learner_of(transductive()).single_fault(training=False) is not None


def test_frozen_statistics_take_one_sample() -> None:
    learner = learner_of(running())
    learner.freeze(learner.model.backbone.get_submodule("norm"))
    learner.rebuild()
    assert learner.single_fault() is None


def test_the_search_changes_nothing() -> None:
    learner = learner_of(running())
    learner.train()
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    versions = [buffer._version for buffer in learner.model.buffers()]
    state = torch.get_rng_state()
    assert learner.single_fault() is not None
    assert all(torch.equal(value, before[name]) for name, value in learner.model.state_dict().items())
    assert [buffer._version for buffer in learner.model.buffers()] == versions  # a step in progress would fail otherwise
    assert torch.equal(torch.get_rng_state(), state)
    assert all(part.training for part in learner.model.modules())


@pytest.mark.parametrize("backbone", [running, Functional, Squeezed])
@pytest.mark.parametrize("size", [2, 16])
def test_micro_batches_leave_no_single_sample(backbone: Any, size: int) -> None:
    seen: list[int] = []

    def watch(module: nn.Module, given: tuple[Tensor]) -> None:
        if torch.is_grad_enabled():  # a pass of a step
            seen.append(len(given[0]))

    learner = learner_of(backbone())
    learner.model.backbone.register_forward_pre_hook(watch)
    task = of_size(learner.stream, 0, 33).tasks[0]
    Training(learner, Method(), trainer(epochs=1, batch_size=33, micro_batch_size=size)).learn(task)
    assert seen == cut(33, size, least=2)


def test_micro_batches_of_other_models_are_cut_as_ever() -> None:
    learner = learner_of(Wide())
    learner.start(0)
    batch = learner.batch(learner.stream.tasks[0].train, torch.arange(33))
    plan = step_plan(learner, Method(), trainer(micro_batch_size=16))
    assert [len(part) for part in batch.parts(16, plan.least)] == [16, 16, 1]


def test_parts_keep_every_column() -> None:
    learner = learner_of(running())
    learner.start(0)
    batch = learner.batch(learner.stream.tasks[0].train, torch.arange(33))
    batch.own = 20
    found = batch.parts(16, least=2)
    assert [len(part) for part in found] == [16, 15, 2]
    assert [part.own for part in found] == [16, 4, 0]
    for name in ("inputs", "labels", "rows"):
        assert torch.equal(torch.cat([getattr(part, name) for part in found]), getattr(batch, name))


def test_a_last_batch_of_one_joins_the_one_before() -> None:
    assert epoch_sizes(learner_of(Functional()), 33, 16) == [16, 17]
    assert epoch_sizes(learner_of(Wide()), 33, 16) == [16, 17]  # as ever with BatchNorm
    assert epoch_sizes(learner_of(Normed(nn.LayerNorm(8))), 33, 16) == [16, 16, 1]


@pytest.mark.parametrize(
    ("options", "key"),
    [({"micro_batch_size": 1}, "trainer.micro_batch_size=1"), ({"batch_size": 1}, "trainer.batch_size=1")],
)
def test_sizes_of_one_are_refused_before_training(options: dict[str, Any], key: str) -> None:
    learner = learner_of(running())
    with pytest.raises(ConfigError) as error:
        check_single_samples(learner, Method(), trainer(**options))
    assert str(error.value).startswith(f"{key}: the layer backbone.norm (BatchNorm1d)")
    with pytest.raises(ConfigError, match=key):  # a method with a fit of its own is checked when it trains
        Training(learner, Method(), trainer(**options)).learn(learner.stream.tasks[0])
    check_single_samples(learner_of(Wide()), Method(), trainer(**options))


def test_a_task_of_one_sample_is_refused_before_the_first_task() -> None:
    learner = learner_of(running())
    learner.stream = of_size(learner.stream, 2, 1)
    with pytest.raises(ConfigError, match=r"task 2 \(.*\) trains on a single sample: the layer backbone.norm"):
        check_single_samples(learner, Method(), trainer())
    check_single_samples(learner, shipped("er"), trainer())  # joined by stored samples


def test_a_memory_of_one_sample_is_refused_by_its_key() -> None:
    learner = learner_of(running())
    method = shipped("gdumb", buffer_size=1)
    method.setup(learner, learner.stream)
    with pytest.raises(ConfigError, match=r"method.buffer_size=1: task 0"):
        Training(learner, method, trainer()).learn(learner.stream.tasks[0])


def test_a_layer_that_takes_no_sample_at_all_is_refused() -> None:
    learner = learner_of(Map(nn.InstanceNorm2d(8, track_running_stats=True)))
    with pytest.raises(ConfigError, match=r"backbone.norm \(InstanceNorm2d\) cannot train: Expected more than 1 spatial"):
        check_single_samples(learner, Method(), trainer())


@pytest.mark.parametrize("setting", ["task", "class"])
@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("agem", {"buffer_size": 3}),
        ("gem", {"buffer_size": 3}),
        ("derpp", {"buffer_size": 1}),
        ("derpp", {"replay_batch": 1}),
        ("er", {"buffer_size": 1}),
        ("er_ace", {"buffer_size": 1}),
        ("lwf", {}),
    ],
)
def test_one_stored_sample_passes_together_with_the_batch(method: str, values: dict[str, Any], setting: str) -> None:
    learner = learner_of(running(), setting=setting)
    made = shipped(method, **values)
    made.setup(learner, learner.stream)
    training = Training(learner, made, trainer(epochs=1))
    for task in learner.stream.tasks:
        training.learn(task)
    assert all(torch.isfinite(parameter).all() for parameter in learner.model.parameters())


@pytest.mark.parametrize("setting", ["task", "class"])
def test_a_stored_sample_beside_a_batch_has_the_outputs_of_their_joint_pass(setting: str) -> None:
    learner = learner_of(running(), setting=setting)
    learner.start(1)
    learner.train()
    memory = learner.memory(1)
    memory.offer(learner.stream.tasks[0].train.rows[:1], 0)
    drawn, beside = memory.sample(1), learner.batch(learner.stream.tasks[1].train, torch.arange(6))
    joined = learner.join(beside, drawn)
    expected = learner.forward(joined)
    found = learner.forward_stored(drawn, beside)
    assert torch.equal(found, expected[-1:])
    assert joined.joint is not None
    assert torch.equal(drawn.joint, joined.joint[-1:])


def test_stored_samples_pass_alone_where_the_model_takes_them() -> None:
    learner = learner_of(Wide())
    learner.start(1)
    memory = learner.memory(1)
    memory.offer(learner.stream.tasks[0].train.rows[:1], 0)
    drawn = memory.sample(1)
    alone = learner.forward(Batch(drawn.inputs, drawn.labels, drawn.rows, drawn.task, 0, drawn.tasks, 0))
    assert torch.equal(learner.forward_stored(drawn, learner.batch(learner.stream.tasks[1].train, torch.arange(6))), alone)


def test_evaluation_by_the_batch_at_hand_leaves_no_single_sample() -> None:
    learner = learner_of(transductive())
    assert all(len(column.split) == 40 for column in learner.stream.evaluation)
    found = [len(raw) for raw, *_ in parts(learner, learner.stream.evaluation, 13)]
    assert found == [13, 13, 12, 2] * 3
    evaluate(learner, Method(), learner.stream.evaluation, 13)
    check_evaluation(learner, learner.stream.evaluation, 13)
    assert 1 in [len(raw) for raw, *_ in parts(learner_of(running()), learner.stream.evaluation, 17)]  # 120 in one group


def test_evaluation_batches_of_one_are_refused_where_they_have_no_statistics() -> None:
    learner, other = learner_of(transductive()), learner_of(running())
    with pytest.raises(ConfigError, match=r"eval.batch_size=1: the layer backbone.norm"):
        check_evaluation(learner, learner.stream.evaluation, 1)
    check_evaluation(other, other.stream.evaluation, 1)


def test_an_evaluation_set_of_one_sample_is_named() -> None:
    learner = learner_of(transductive())
    first, *others = learner.stream.evaluation
    learner.stream = replace(learner.stream, evaluation=(replace(first, split=first.split.select(torch.arange(1))), *others))
    with pytest.raises(ConfigError, match=f"the evaluation set {first.name} has a single sample"):
        check_evaluation(learner, learner.stream.evaluation, 1000)


def test_torchs_own_error_gets_the_layer() -> None:
    learner = learner_of(running())
    learner.train()
    with pytest.raises(ValueError, match="Expected more than 1 value per channel") as raw:
        learner.features(torch.zeros(1, *learner.stream.input_shape))
    told = explained(raw.value, learner)
    assert told is not None
    assert "backbone.norm (BatchNorm1d)" in str(told)
    assert explained(ValueError("another"), learner) is None
