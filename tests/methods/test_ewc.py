"""EWC: the penalty's gradient, the estimators, the accumulators."""

import pytest
import torch

from clbench.methods.ewc import EWC
from clbench.methods.naive import Naive
from clbench.toolkit import importance
from tests.streams import blob_stream, learn, learner_for, same, weights


@pytest.mark.parametrize("mode", ["offline", "online"])
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_strength_zero_is_the_plain_run_bit_for_bit(mode, setting):
    stream = blob_stream(setting)
    plain, _ = learn(Naive(), stream)
    off, _ = learn(EWC(0.0, mode, 1.0, "exact", None), stream)
    assert same(weights(plain), weights(off))


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_the_gradient_is_that_of_the_written_penalty(mode):
    """By automatic differentiation of lambda/2 sum_s sum_i F_s,i (theta_i - theta_s,i)^2 with the anchors kept apart."""
    stream, strength, decay = blob_stream("class"), 3.0, 0.7
    method = EWC(strength, mode, decay, "empirical", 30)
    anchors = []

    def remember(task, learner):
        fisher = importance.diagonal_fisher(learner, task.train, "empirical", 30, learner.generator("ewc", task.index))
        anchors.append((fisher, {n: p.detach().clone() for n, p in learner.parameters.items()}))

    learner, _ = learn(method, stream, tasks=2, after=remember)
    learner.start(2)
    with torch.no_grad():
        for parameter in learner.parameters.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    learner.gradients = {n: torch.zeros_like(p) for n, p in learner.parameters.items()}
    with torch.no_grad():
        method.edit_gradients(learner, None)
    free = {n: p.detach().double().requires_grad_() for n, p in learner.parameters.items()}
    if mode == "offline":
        pairs = anchors
    else:
        total = {n: decay * anchors[0][0][n] + anchors[1][0][n] for n in free}
        pairs = [(total, anchors[1][1])]
    penalty = sum((f[n].double() * (free[n] - a[n].double()).square()).sum() for f, a in pairs for n in free) * strength / 2
    expected = torch.autograd.grad(penalty, list(free.values()))
    for (name, gradient), value in zip(learner.gradients.items(), expected, strict=True):
        torch.testing.assert_close(gradient.double(), value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_next_to_the_anchor_the_gradient_is_not_rounding_noise(mode):
    """A strength of 1e10 (van de Ven et al. 2022 on Split MNIST) would magnify it: sum_s F_s theta and sum_s F_s theta_s, each
    rounded, differ by about 1e-7 of themselves."""
    stream = blob_stream("class")
    method = EWC(1e10, mode, 1.0, "exact", None)
    learner, _ = learn(method, stream, tasks=1)
    learner.start(1)
    anchor = {n: p.detach().double() for n, p in learner.parameters.items()}
    with torch.no_grad():
        for parameter in learner.parameters.values():
            parameter.mul_(1 + 1e-5)
    learner.gradients = {n: torch.zeros_like(p) for n, p in learner.parameters.items()}
    with torch.no_grad():
        method.edit_gradients(learner, None)
    for name, gradient in learner.gradients.items():
        expected = 1e10 * method.importance[name].double() * (learner.parameters[name].detach().double() - anchor[name])
        torch.testing.assert_close(gradient.double(), expected, rtol=1e-4, atol=0, msg=name)


@pytest.mark.parametrize("estimator", ["exact", "empirical", "sampled"])
@pytest.mark.parametrize("setting", ["task", "class"])
def test_linear_layers_and_any_module_agree(estimator, setting, monkeypatch):
    stream = blob_stream(setting)
    learner, _ = learn(Naive(), stream, tasks=1)
    arguments = (learner, stream.tasks[0].train, estimator, 40)
    quick = importance.diagonal_fisher(*arguments, torch.Generator().manual_seed(0))
    monkeypatch.setattr(importance, "_only_linear", lambda *a: False)
    slow = importance.diagonal_fisher(*arguments, torch.Generator().manual_seed(0))
    assert quick.keys() == slow.keys()
    for name in quick:
        torch.testing.assert_close(quick[name], slow[name], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("setting", ["class", "task"])
def test_exact_is_the_expectation_over_labels_by_hand(setting):
    """With `outputs=all`, the loss covers all heads concatenated, and so does the model's own distribution of labels."""
    stream = blob_stream(setting, "all")
    learner, _ = learn(Naive(), stream, tasks=1)
    found = importance.diagonal_fisher(learner, stream.tasks[0].train, "exact", None, torch.Generator())
    expected = {n: torch.zeros_like(p) for n, p in learner.parameters.items()}
    train = stream.tasks[0].train
    for i in range(len(train)):
        batch = learner.batch(train, torch.tensor([i]))
        scores = torch.log_softmax(learner.forward(batch), 1)[0]
        for c in range(6):
            gradients = torch.autograd.grad(scores[c], list(learner.parameters.values()), retain_graph=True)
            for name, gradient in zip(expected, gradients, strict=True):
                expected[name] += scores[c].exp().detach() * gradient.square() / len(train)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-8)


def test_a_convolutional_net_works_too():
    stream = blob_stream("class")
    learner = learner_for(stream)
    learner.model.backbone = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 16)
    )
    learner.rebuild()
    method = EWC(1.0, "online", 1.0, "empirical", 20)
    learn(method, stream, learner)
    assert method.importance["backbone.0.weight"].shape == (4, 1, 3, 3)
    assert float(method.importance["backbone.0.weight"].sum()) > 0


def test_a_strong_penalty_holds_the_first_task():
    stream = blob_stream("domain", kind="permuted", n_tasks=3)
    _, plain = learn(Naive(), stream)
    _, held = learn(EWC(50.0, "offline", 1.0, "exact", None), stream)
    assert held[-1][0] > plain[-1][0]
