"""SI: the path integral, the importance made of it, the penalty's gradient."""

from itertools import pairwise

import pytest
import torch

from clbench.engine.optimizers import SGD
from clbench.errors import ConfigError, RefusedError
from clbench.instantiate import instantiate
from clbench.methods.compose import Compose
from clbench.methods.er import ER
from clbench.methods.naive import Naive
from clbench.methods.si import SI, BoundedSI
from tests.methods.shipped import shipped
from tests.streams import blob_stream, learn, learner_for, same, trainer, weights


class Watched(SI):
    """Stores every gradient, before and after the penalty, and the weights."""

    def setup(self, learner, stream):
        super().setup(learner, stream)
        self.steps, self.integrals, self.moved = [], [], []

    def begin_task(self, learner, task):
        super().begin_task(learner, task)
        self.steps.append([])

    def edit_gradients(self, learner, batch):
        own = {n: g.clone() for n, g in learner.gradients.items()}
        super().edit_gradients(learner, batch)
        total = {n: g.clone() for n, g in learner.gradients.items()}
        self.steps[-1].append((weights(learner), own, total))

    def end_task(self, learner, task, history):
        steps, self.steps[-1] = self.steps[-1], [*self.steps[-1], (weights(learner), {}, {})]
        self.integrals.append({n: v.clone() for n, v in self.integral.items()})
        self.moved.append({n: v - steps[0][0][n] for n, v in weights(learner).items()})
        super().end_task(learner, task, history)


@pytest.mark.parametrize("path", ["loss", "total"])
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_strength_zero_is_the_plain_run_bit_for_bit(path, setting):
    stream = blob_stream(setting)
    plain, _ = learn(Naive(), stream)
    off, _ = learn(SI(0.0, 0.1, path), stream)
    assert same(weights(plain), weights(off))


@pytest.mark.parametrize("path", ["loss", "total"])
@pytest.mark.parametrize("setting", ["task", "class"])
def test_the_integral_is_minus_the_sum_of_gradient_times_step_by_hand(path, setting):
    """Steps as differences of weights, under momentum; the clipped gradient by hand where it is the one that counts."""
    stream, bound = blob_stream(setting), 0.02
    method = Watched(5.0, 0.1, path)
    learn(method, stream, learner_for(stream, optimizer=SGD(0.05, momentum=0.5)), how=trainer(clip_value=bound))
    clipped = False
    for steps, integral in zip(method.steps, method.integrals, strict=True):
        expected = {n: torch.zeros_like(v) for n, v in integral.items()}
        for (before, own, total), (after, _, _) in pairwise(steps):
            clipped |= any(bool((g.abs() > bound).any()) for g in total.values())
            for name in expected:
                g = own[name] if path == "loss" else total[name].clamp(-bound, bound)
                expected[name] -= g * (after[name] - before[name])
        for name, value in expected.items():
            torch.testing.assert_close(integral[name], value, rtol=1e-3, atol=1e-6, msg=name)
    assert clipped


def test_the_two_paths_part_with_the_second_task():
    stream = blob_stream("domain", kind="permuted")
    loss, total = Watched(5.0, 0.1, "loss"), Watched(5.0, 0.1, "total")
    learn(loss, stream)
    learn(total, stream)
    assert same(loss.integrals[0], total.integrals[0])
    assert not same(loss.integrals[1], total.integrals[1])


def test_importance_is_the_sum_of_integrals_over_damped_squares_of_the_way():
    stream, damping = blob_stream("class"), 0.05
    method = Watched(5.0, damping, "total")
    learn(method, stream)
    for name, value in method.importance.items():
        pairs = zip(method.integrals, method.moved, strict=True)
        torch.testing.assert_close(value, sum(w[name] / (d[name] ** 2 + damping) for w, d in pairs))


def test_small_steps_add_up_to_the_fall_of_the_loss():
    stream = blob_stream("class")
    n = len(stream.tasks[0].train)
    method = Watched(1.0, 0.1, "loss")
    learner = learner_for(stream, optimizer=SGD(1e-3))
    losses = []

    def loss():
        with torch.no_grad():
            batch = learner.batch(stream.tasks[0].train, torch.arange(n))
            return float(method.criterion(learner, batch, learner.forward(batch)))

    learner.start(0)
    losses.append(loss())
    learn(method, stream, learner, tasks=1, how=trainer(50, n))
    losses.append(loss())
    fall = float(sum(value.sum() for value in method.integrals[0].values()))
    assert losses[0] - losses[1] > 0.01
    assert fall == pytest.approx(losses[0] - losses[1], rel=0.02)


def test_the_gradient_is_that_of_the_written_penalty():
    """By automatic differentiation of strength * sum_i Omega_i (theta_i - theta*_i)^2."""
    stream, strength = blob_stream("class"), 3.0
    method = SI(strength, 0.1, "loss")
    learner, _ = learn(method, stream, tasks=2)
    anchor = weights(learner)
    learner.start(2)
    with torch.no_grad():
        for parameter in learner.parameters.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    learner.gradients = {n: torch.zeros_like(p) for n, p in learner.parameters.items()}
    with torch.no_grad():
        method.edit_gradients(learner, None)
    free = {n: p.detach().clone().requires_grad_() for n, p in learner.parameters.items()}
    penalty = strength * sum((method.importance[n] * (free[n] - anchor[n]).square()).sum() for n in free)
    for (name, gradient), value in zip(learner.gradients.items(), torch.autograd.grad(penalty, list(free.values())), strict=True):
        assert float(value.abs().max()) > 0
        torch.testing.assert_close(gradient, value, rtol=1e-4, atol=1e-7, msg=name)


def test_a_plain_loop_with_the_penalty_under_autograd_goes_the_same_way():
    """As Buzzega et al.'s program: the loss and penalty clipped entry by entry, omega += lr * gradient^2."""
    stream, strength, damping, rate, bound, batches = blob_stream("domain", kind="permuted"), 5.0, 0.1, 0.05, 0.05, []

    class Recorded(SI):
        def extend_batch(self, learner, batch):
            batches.append((batch.task, batch.inputs, batch.labels))
            return batch

    learner, _ = learn(
        Recorded(strength, damping, "total"), stream, learner_for(stream, optimizer=SGD(rate)), how=trainer(clip_value=bound)
    )
    model = learner_for(stream).model
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    importance = [torch.zeros_like(p) for p in model.parameters()]
    for task in range(3):
        anchor = [p.detach().clone() for p in model.parameters()]
        integral = [torch.zeros_like(p) for p in model.parameters()]
        for inputs, labels in [(x, y) for t, x, y in batches if t == task]:
            optimizer.zero_grad()
            penalty = sum((w * (p - a) ** 2).sum() for w, p, a in zip(importance, model.parameters(), anchor, strict=True))
            (torch.nn.functional.cross_entropy(model(inputs), labels) + strength * penalty).backward()
            torch.nn.utils.clip_grad_value_(model.parameters(), bound)
            integral = [w + rate * p.grad**2 for w, p in zip(integral, model.parameters(), strict=True)]
            optimizer.step()
        for w, own, p, a in zip(importance, integral, model.parameters(), anchor, strict=True):
            w += own / ((p.detach() - a) ** 2 + damping)
    for name, value in model.named_parameters():
        torch.testing.assert_close(learner.parameters[name].detach(), value.detach(), rtol=1e-4, atol=1e-5, msg=name)


def test_a_head_is_judged_by_its_own_task_alone():
    stream, seen = blob_stream("task"), []
    method = SI(1.0, 0.1, "total")
    learn(method, stream, after=lambda task, learner: seen.append({n: v.clone() for n, v in method.importance.items()}))
    assert "heads.1.weight" not in seen[0]
    assert torch.equal(seen[0]["heads.0.weight"], seen[2]["heads.0.weight"])
    assert not torch.equal(seen[0]["backbone.layers.0.weight"], seen[2]["backbone.layers.0.weight"])


def test_nothing_of_a_step_is_carried_from_task_to_task():
    stream = blob_stream()
    method = SI(1.0, 0.1, "loss")
    learner, _ = learn(method, stream, tasks=2)
    state = method.state()
    assert state["slope"] == {}
    assert state["integral"] == {}
    assert same(state["anchor"], weights(learner))


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_beside_replay_it_is_no_projection(setting):
    stream = blob_stream(setting)
    er, _ = learn(ER(30, 8, "reservoir"), stream)
    off, _ = learn(Compose({"er": ER(30, 8, "reservoir"), "si": SI(0.0, 0.1, "total")}), stream)
    method = Compose({"er": ER(30, 8, "reservoir"), "si": SI(2.0, 0.1, "total")})
    seen = []
    on, _ = learn(method, stream, after=lambda *_: seen.append(dict(method.parts["si"].importance)))
    assert same(weights(er), weights(off))
    assert not same(weights(er), weights(on))
    if setting == "task":  # replayed samples move the old heads again
        assert not torch.equal(seen[0]["heads.0.weight"], seen[1]["heads.0.weight"])
    with pytest.raises(RefusedError, match="projected away"):
        Compose({"er": ER(10, 2, "reservoir"), "si": SI(1.0, 0.1, "total"), "gpm": shipped("gpm", threshold=0.9, samples=10)})


@pytest.mark.parametrize("path", ["loss", "total"])
def test_it_forgets_less_than_naive_on_permuted_inputs(path):
    stream = blob_stream("domain", kind="permuted", n_tasks=3)
    _, plain = learn(Naive(), stream)
    _, held = learn(SI(10.0, 0.1, path), stream)
    assert held[-1][0] > plain[-1][0]
    assert sum(held[-1]) > sum(plain[-1])


def test_it_forgets_less_than_naive_with_heads():
    stream = blob_stream("task")
    _, plain = learn(Naive(), stream, learner_for(stream, 2, hidden=(6,)), how=trainer(4))
    _, held = learn(SI(5.0, 0.1, "total"), stream, learner_for(stream, 2, hidden=(6,)), how=trainer(4))
    assert plain[0][0] - plain[-1][0] > held[0][0] - held[-1][0]
    assert sum(held[-1]) > sum(plain[-1])


@pytest.mark.parametrize("bad", [{"strength": -1.0}, {"damping": 0.0}, {"path": "gradient"}])
def test_bad_values_are_refused_by_name(bad):
    node = {"_target_": "clbench.methods.si.SI", "strength": 1.0, "damping": 0.1, "path": "loss"} | bad
    with pytest.raises(ConfigError, match=f"method.{next(iter(bad))}"):
        instantiate(node, "method")


def test_importance_above_the_ceiling_counts_as_the_ceiling():
    """The stored sum has no bound: later importance is added to the full sum."""
    stream = blob_stream("domain", kind="permuted")
    free, _ = learn(SI(5.0, 0.1, "total"), stream)
    high, _ = learn(BoundedSI(5.0, 0.1, "total", ceiling=1e6), stream)
    assert same(weights(free), weights(high))
    method = BoundedSI(5.0, 0.1, "total", ceiling=1e-3)
    learn(method, stream)
    assert any(bool((omega > 1e-3).any()) for omega in method.importance.values())
    for name, weight in method.weights().items():
        torch.testing.assert_close(weight, torch.minimum(method.importance[name], torch.tensor(1e-3)))


def test_a_ceiling_of_0_is_refused():
    with pytest.raises(ConfigError, match="ceiling"):
        shipped("si_bounded", ceiling=0.0)
