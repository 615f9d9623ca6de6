"""MAS: the sensitivity by two ways and by hand, the penalty's gradient."""

import pytest
import torch

from clbench.data.pool import Split
from clbench.errors import ConfigError
from clbench.instantiate import instantiate
from clbench.methods.mas import MAS
from clbench.methods.naive import Naive
from clbench.toolkit import importance
from tests.streams import blob_stream, learn, learner_for, same, trainer, weights

CASES = [("task", "seen"), ("task", "all"), ("domain", "seen"), ("class", "seen"), ("class", "all")]


def with_convolution(stream):
    learner = learner_for(stream)
    learner.model.backbone = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 16)
    )
    learner.rebuild()
    return learner


def by_hand(learner, split, outputs):
    """One sample and one backward pass at a time."""
    total = {n: torch.zeros_like(p) for n, p in learner.parameters.items()}
    head = learner.task if learner.stream.setting == "task" else 0
    for i in range(len(split)):
        logits = learner.model(learner.batch(split, torch.tensor([i])).inputs, head, outputs)
        found = torch.autograd.grad((logits**2).sum(), list(learner.parameters.values()), allow_unused=True)
        for name, gradient in zip(total, found, strict=True):
            total[name] += 0 if gradient is None else gradient.abs() / len(split)
    return total


@pytest.mark.parametrize(("setting", "outputs"), CASES)
def test_strength_zero_is_the_plain_run_bit_for_bit(setting, outputs):
    stream = blob_stream(setting, outputs)
    plain, _ = learn(Naive(), stream)
    off, _ = learn(MAS(0.0, 20), stream)
    assert same(weights(plain), weights(off))


@pytest.mark.parametrize("make", [learner_for, with_convolution])
@pytest.mark.parametrize(("setting", "outputs", "columns"), [("task", "seen", None), ("class", "seen", 4), ("class", "all", 6)])
def test_sensitivity_is_the_mean_of_absolute_gradients_by_hand(make, setting, outputs, columns):
    stream = blob_stream(setting, outputs)
    learner, _ = learn(Naive(), stream, make(stream), tasks=2)
    found = importance.output_sensitivity(learner, stream.tasks[1].train, None, torch.Generator())
    expected = by_hand(learner, stream.tasks[1].train, columns)
    assert found.keys() == set(learner.trainable()[0])
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("what", ["fisher", "sensitivity"])
@pytest.mark.parametrize(("setting", "outputs"), CASES)
def test_linear_layers_and_any_module_agree(what, setting, outputs, monkeypatch):
    stream = blob_stream(setting, outputs)
    learner, _ = learn(Naive(), stream, tasks=2)

    def measure():
        draws, split = torch.Generator().manual_seed(0), stream.tasks[1].train
        if what == "fisher":
            return importance.diagonal_fisher(learner, split, "empirical", 40, draws)
        return importance.output_sensitivity(learner, split, 40, draws)

    quick = measure()
    monkeypatch.setattr(importance, "_only_linear", lambda *a: False)
    slow = measure()
    assert quick.keys() == slow.keys()
    for name in quick:
        torch.testing.assert_close(quick[name], slow[name], rtol=1e-4, atol=1e-6, msg=name)


def test_no_label_is_asked():
    stream = blob_stream("class", "all")
    learner, _ = learn(Naive(), stream, tasks=1)
    train = stream.tasks[0].train
    wrong = Split(train.pool, train.rows, 1 - train.labels, train.tasks, train.view)
    found = [importance.output_sensitivity(learner, split, None, torch.Generator()) for split in (train, wrong)]
    assert same(*found)


def test_the_gradient_is_that_of_the_written_penalty():
    """By automatic differentiation of strength * sum_i Omega_i (theta_i - theta*_i)^2, Omega summed over the tasks."""
    stream, strength = blob_stream("class"), 3.0
    method, found = MAS(strength, 30), []

    def remember(task, learner):
        found.append(importance.output_sensitivity(learner, task.train, 30, learner.generator("mas", task.index)))

    learner, _ = learn(method, stream, learner_for(stream), tasks=2, after=remember)
    anchor = weights(learner)
    learner.start(2)
    with torch.no_grad():
        for parameter in learner.parameters.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    learner.gradients = {n: torch.zeros_like(p) for n, p in learner.parameters.items()}
    with torch.no_grad():
        method.edit_gradients(learner, None)
    free = {n: p.detach().clone().requires_grad_() for n, p in learner.parameters.items()}
    penalty = strength * sum(((found[0][n] + found[1][n]) * (free[n] - anchor[n]).square()).sum() for n in free)
    for (name, gradient), value in zip(learner.gradients.items(), torch.autograd.grad(penalty, list(free.values())), strict=True):
        assert float(value.abs().max()) > 0
        torch.testing.assert_close(gradient, value, rtol=1e-4, atol=1e-6, msg=name)


def test_it_forgets_less_than_naive_on_permuted_inputs():
    stream = blob_stream("domain", kind="permuted", n_tasks=3)
    _, plain = learn(Naive(), stream)
    _, held = learn(MAS(0.5, None), stream)
    assert held[-1][0] > plain[-1][0]
    assert sum(held[-1]) > sum(plain[-1])


def test_it_forgets_less_than_naive_with_heads():
    stream = blob_stream("task")
    _, plain = learn(Naive(), stream, learner_for(stream, 2, hidden=(6,)), how=trainer(4))
    _, held = learn(MAS(0.5, None), stream, learner_for(stream, 2, hidden=(6,)), how=trainer(4))
    assert plain[0][0] - plain[-1][0] > held[0][0] - held[-1][0]
    assert sum(held[-1]) > sum(plain[-1])


@pytest.mark.parametrize("bad", [{"strength": -1.0}, {"samples": 0}])
def test_bad_values_are_refused_by_name(bad):
    node = {"_target_": "clbench.methods.mas.MAS", "strength": 1.0, "samples": None} | bad
    with pytest.raises(ConfigError, match=f"method.{next(iter(bad))}"):
        instantiate(node, "method")
