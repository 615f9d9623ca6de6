"""LwF: the distillation's gradient, its teacher, the warm-up, and a composition with replay."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clbench.engine.optimizers import SGD
from clbench.errors import ConfigError
from clbench.instantiate import instantiate
from clbench.methods.compose import Compose
from clbench.methods.er import ER
from clbench.methods.lwf import LwF
from clbench.methods.naive import Naive
from tests.methods.shipped import shipped
from tests.streams import blob_stream, learn, learner_for, same, trainer, weights

CASES = [("task", "seen"), ("task", "all"), ("domain", "seen"), ("class", "seen"), ("class", "all")]
OLD = {"task": [2, 2], "domain": [2], "class": [4]}
"""The softmaxes to distil once two of three tasks of two classes are learned."""


def lwf(strength=1.0, temperature=2.0, scaled=False, warmup=False):
    return LwF(strength, temperature, scaled, warmup)


def er():
    return ER(30, 8, "reservoir")


def at_third_task(method, setting, outputs="seen", **options):
    """Two tasks learned, the third about to be."""
    stream = blob_stream(setting, outputs)
    learner, _ = learn(method, stream, learner_for(stream, **options), tasks=2)
    learner.start(2)
    method.begin_task(learner, stream.tasks[2])
    return stream, learner


def distil(learner, method, batch):
    """The gradient of the penalty alone, by name."""
    batch = method.extend_batch(learner, batch)
    value = method.penalty(learner, batch, learner.forward(batch))
    names, parameters = learner.trainable(learner.needs_all_heads(batch))
    return value, dict(zip(names, torch.autograd.grad(value, parameters, allow_unused=True), strict=True))


def shake(learner):
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in learner.parameters.values():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=draws))


@pytest.mark.parametrize("warmup", [False, True])
@pytest.mark.parametrize(("setting", "outputs"), CASES)
def test_strength_zero_is_the_plain_run_bit_for_bit(setting, outputs, warmup):
    stream = blob_stream(setting, outputs)
    plain, _ = learn(Naive(), stream)
    off, _ = learn(lwf(0.0, warmup=warmup), stream)
    assert same(weights(plain), weights(off))


@pytest.mark.parametrize(("setting", "outputs"), CASES)
def test_a_student_that_is_its_teacher_is_left_alone(setting, outputs):
    method = lwf(5.0)
    stream, learner = at_third_task(method, setting, outputs)
    value, gradients = distil(learner, method, learner.batch(stream.tasks[2].train, torch.arange(16)))
    assert abs(float(value.detach())) < 1e-6
    for gradient in gradients.values():
        assert gradient is None or float(gradient.abs().max()) < 1e-6


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(("setting", "outputs"), CASES)
def test_the_gradient_is_that_of_cross_entropy_with_soft_targets(setting, outputs, scaled):
    """Head by head with heads, one softmax over the old outputs else; the earlier model rebuilt from its weights."""
    strength, temperature = 3.0, 2.5
    method = lwf(strength, temperature, scaled)
    stream, learner = at_third_task(method, setting, outputs)
    earlier = learner_for(stream).model
    earlier.load_state_dict(weights(learner))
    shake(learner)
    batch = learner.batch(stream.tasks[2].train, torch.arange(16))
    _, found = distil(learner, method, batch)

    def logits(model, head, size):
        return model(batch.inputs, head, None)[:, :size] / temperature

    loss = 0.0
    for head, size in enumerate(OLD[setting]):
        soft = logits(earlier, head, size).softmax(1).detach()
        loss = loss + strength * F.cross_entropy(logits(learner.model, head, size), soft)
    expected = torch.autograd.grad(loss, list(learner.parameters.values()), allow_unused=True)
    for (name, parameter), value in zip(learner.parameters.items(), expected, strict=True):
        value = torch.zeros_like(parameter) if value is None else value * (temperature**2 if scaled else 1)
        given = found.get(name)
        given = torch.zeros_like(parameter) if given is None else given
        torch.testing.assert_close(given, value, rtol=1e-3, atol=1e-6, msg=name)
    assert float(found["heads.0.weight"].abs().max()) > 1e-4


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_replayed_samples_are_not_distilled(setting):
    method = Compose({"er": er(), "lwf": lwf()})
    stream, learner = at_third_task(method, setting)
    shake(learner)
    part = method.parts["lwf"]
    own = learner.batch(stream.tasks[2].train, torch.arange(16))
    joined = learner.join(own, method.parts["er"].memory.sample(8))
    alone, _ = distil(learner, part, own)
    together, _ = distil(learner, part, joined)
    assert len(joined) == 24
    torch.testing.assert_close(together, alone)


def test_the_teacher_stays_as_it_was_while_the_next_task_is_learned():
    stream, ends = blob_stream("task"), []

    class Ends(LwF):
        def end_task(self, learner, task, history):
            teacher = self.teacher.model.state_dict() if self.teacher else {}
            ends.append((weights(learner), {n: v.clone() for n, v in teacher.items()}))
            super().end_task(learner, task, history)

    learn(Ends(1.0, 2.0, False, False), stream)
    for (before, _), (after, teacher) in pairwise(ends):
        assert same(teacher, before)
        assert not same(after, before)


@pytest.mark.parametrize("outputs", ["seen", "all"])
def test_old_heads_go_on_learning(outputs):
    stream = blob_stream("task", outputs)
    ends = []
    learn(lwf(), stream, after=lambda task, learner: ends.append(weights(learner)))
    for name in ("heads.0.weight", "heads.1.weight"):
        assert not torch.equal(ends[1][name], ends[2][name])


class Stops(LwF):
    """Learns later tasks' new outputs alone: what the warm-up leaves."""

    def fit(self, learner, task, train, history):
        runs = []
        super().fit(learner, task, lambda split: (runs.append(0), train(split) if len(runs) == 1 else None), history)


@pytest.mark.parametrize("setting", ["task", "class"])
def test_the_warm_up_moves_the_new_outputs_alone(setting):
    """Momentum, weight decay and normalisation do not change the rest."""
    stream, ends = blob_stream(setting), []
    learner = learner_for(stream, optimizer=SGD(0.05, momentum=0.9, weight_decay=0.01))
    learner.model.backbone = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU())
    learner.rebuild()
    learn(Stops(1.0, 2.0, False, True), stream, learner, after=lambda task, learner: ends.append(weights(learner)))
    for task in (1, 2):
        head, new = (task, slice(None)) if setting == "task" else (0, slice(2 * task, 2 * task + 2))
        for name, before in ends[task - 1].items():
            after = ends[task][name].clone()
            if name.startswith(f"heads.{head}."):
                assert not torch.equal(before[new], after[new]), name
                after[new] = before[new]
            assert torch.equal(before, after), name
    assert all(parameter.requires_grad for parameter in learner.parameters.values())


@pytest.mark.parametrize(("setting", "outputs"), [case for case in CASES if case[0] != "domain"])
@pytest.mark.parametrize("beside", [None, "er"])
def test_a_step_of_the_warm_up_is_on_the_loss_over_the_new_outputs(setting, outputs, beside):
    """With features as they were learned: no dropout."""
    stream, ends, rate = blob_stream(setting, outputs), [], 0.05
    method = Stops(1.0, 2.0, False, True)
    method = method if beside is None else Compose({"er": er(), "lwf": method})
    n = len(stream.tasks[0].train)
    learner = learner_for(stream, optimizer=SGD(rate), dropout=0.5)
    learn(method, stream, learner, tasks=2, how=trainer(1, n), after=lambda task, learner: ends.append(weights(learner)))
    head, new = (1, slice(0, 2)) if setting == "task" else (0, slice(2, 4))
    learner.model.load_state_dict(ends[0])
    learner.model.eval()
    train = stream.tasks[1].train
    inputs = learner.batch(train, torch.arange(n)).inputs
    labels = train.labels - (2 if setting == "class" else 0)
    loss = F.cross_entropy(learner.model(inputs, head, None)[:, new], labels)
    weight = learner.parameters[f"heads.{head}.weight"]
    (gradient,) = torch.autograd.grad(loss, [weight])
    torch.testing.assert_close(ends[1][f"heads.{head}.weight"], (weight - rate * gradient).detach(), rtol=1e-4, atol=1e-6)


def test_nothing_is_warmed_up_where_outputs_are_shared():
    stream = blob_stream("domain")
    assert same(weights(learn(lwf(warmup=True), stream)[0]), weights(learn(lwf(), stream)[0]))


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_beside_replay_strength_zero_is_replay_bit_for_bit(setting):
    stream = blob_stream(setting)
    alone, _ = learn(er(), stream)
    off, _ = learn(Compose({"er": er(), "lwf": lwf(0.0)}), stream)
    on, _ = learn(Compose({"er": er(), "lwf": lwf(1.0)}), stream)
    assert same(weights(alone), weights(off))
    assert not same(weights(alone), weights(on))


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_the_order_beside_replay_does_not_matter(setting):
    stream = blob_stream(setting)
    first, _ = learn(Compose({"lwf": lwf(), "er": er()}), stream)
    last, _ = learn(Compose({"er": er(), "lwf": lwf()}), stream)
    assert same(weights(first), weights(last))


def test_it_is_no_replay_to_a_projection():
    stream = blob_stream("task")
    learner, _ = learn(Compose({"gpm": shipped("gpm", threshold=0.9, samples=30), "lwf": lwf()}), stream)
    assert all(bool(value.isfinite().all()) for value in weights(learner).values())


def test_it_forgets_less_than_naive_with_heads():
    stream = blob_stream("task")
    _, plain = learn(Naive(), stream, learner_for(stream, 2, hidden=(6,)), how=trainer(4))
    _, held = learn(lwf(), stream, learner_for(stream, 2, hidden=(6,)), how=trainer(4))
    assert plain[0][0] - plain[-1][0] > held[0][0] - held[-1][0]
    assert sum(held[-1]) > sum(plain[-1])


def test_what_it_carries_comes_back():
    stream = blob_stream("class")
    method = lwf()
    learner, _ = learn(method, stream, tasks=2)
    twin = lwf()
    twin.setup(learner, stream)
    assert not twin.teacher
    twin.load_state(learner, method.state())
    inputs = learner.batch(stream.tasks[0].train, torch.arange(8)).inputs
    assert torch.equal(twin.teacher.logits(inputs), method.teacher.logits(inputs))
    assert twin.teacher.logits(inputs).shape == (8, 4)


@pytest.mark.parametrize("bad", [{"strength": -1.0}, {"temperature": 0.0}, {"scaled": "perhaps"}])
def test_bad_values_are_refused_by_name(bad):
    node = {"_target_": "clbench.methods.lwf.LwF", "strength": 1.0, "temperature": 2.0, "scaled": False, "warmup": False} | bad
    with pytest.raises(ConfigError, match=f"method.{next(iter(bad))}"):
        instantiate(node, "method")
