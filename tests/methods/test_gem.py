"""GEM: the dual program by its optimality conditions, by enumeration, and in training."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.errors import ConfigError
from clbench.methods import agem, gem
from clbench.methods.gem import GEM
from clbench.methods.naive import Naive
from tests.streams import blob_stream, learn, learner_for, same, weights


def program(seed, t, width):
    """Return GG' `[t, t]` and Gg `[t]` of random gradients of `width` entries; t > width makes GG' singular."""
    draws = np.random.default_rng(seed)
    rows, own = draws.normal(size=(t, width)), draws.normal(size=width)
    return rows @ rows.T, rows @ own


def enumerated(gram, dots, margin, damping):
    """Return the best v >= margin over all choices of which entries sit at the margin."""
    quadratic, best, least = gram + damping * np.eye(len(dots)), None, np.inf
    for choice in product([False, True], repeat=len(dots)):
        free, v = np.array(choice), np.full(len(dots), margin)
        if free.any():
            right = -dots[free] - quadratic[np.ix_(free, ~free)].sum(axis=1) * margin
            v[free] = np.linalg.solve(quadratic[np.ix_(free, free)], right)
        value = v @ quadratic @ v / 2 + dots @ v
        if (v >= margin - 1e-12).all() and value < least:
            best, least = v, value
    return best


PROGRAMS = given(
    seed=st.integers(0, 10**6),
    t=st.integers(1, 6),
    width=st.sampled_from([2, 5, 40]),
    margin=st.sampled_from([0.0, 0.5, 1.0]),
    damping=st.sampled_from([1e-3, 1.0]),
)


@settings(deadline=None)
@PROGRAMS
def test_the_solution_meets_the_optimality_conditions(seed, t, width, margin, damping):
    """KKT: v >= margin, the slope is nowhere negative, and where v is above the margin it is zero."""
    gram, dots = program(seed, t, width)
    v = gem.dual(gram, dots, margin, damping)
    slope = (gram + damping * np.eye(t)) @ v + dots
    small = 1e-8 * (1 + np.abs(gram).max() + np.abs(dots).max()) * (1 + np.abs(v).max())
    assert (v >= margin).all()
    assert (slope >= -small).all()
    assert np.abs((v - margin) * slope).max() <= small * (1 + np.abs(v).max())


@settings(deadline=None)
@PROGRAMS
def test_the_solution_is_the_enumerated_one(seed, t, width, margin, damping):
    gram, dots = program(seed, t, width)
    expected = enumerated(gram, dots, margin, damping)
    np.testing.assert_allclose(
        gem.dual(gram, dots, margin, damping), expected, rtol=1e-5, atol=1e-7 * (1 + np.abs(expected).max())
    )


def test_inner_products_are_summed_over_all_parameters():
    draws = torch.Generator().manual_seed(0)
    trees = [{n: torch.randn(s, generator=draws) for n, s in (("w", (4, 3)), ("b", (4,)))} for _ in range(3)]
    flat = torch.stack([torch.cat([t["w"].flatten(), t["b"]]) for t in trees]).double()
    np.testing.assert_allclose(gem.inner_products(trees), (flat @ flat.T).numpy(), rtol=1e-12)


def opposed(method, stream, tasks):
    """Learn `tasks` tasks, then edit a gradient that opposes all memories; return it before and after, and the references."""
    learner, _ = learn(method, stream, tasks=tasks)
    learner.start(tasks)
    learner.gradients = {name: torch.zeros_like(value) for name, value in learner.parameters.items()}
    references = method._gradients(learner)
    before = {name: 0.01 - sum(r[name] for r in references) for name in learner.gradients}
    learner.gradients = {name: value.clone() for name, value in before.items()}
    with torch.no_grad():
        method.edit_gradients(learner, learner.batch(stream.tasks[tasks].train, torch.arange(4)))
    return before, learner.gradients, references


def test_one_earlier_task_and_no_margin_is_agem():
    before, after, (reference,) = opposed(GEM(60, 0.0, 1e-10, "end"), blob_stream("class"), 1)
    agem.project(before, reference)
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=1e-4, atol=1e-6)


def test_the_nearest_gradient_that_no_task_objects_to():
    """The primal program, by a general solver: min |z - g|^2 with Gz >= 0."""
    from scipy.optimize import minimize

    before, after, references = opposed(GEM(60, 0.0, 1e-9, "end"), blob_stream("class"), 2)
    assert len(references) == 2
    g, z, *rows = (torch.cat([v.flatten() for v in t.values()]).double().numpy() for t in (before, after, *references))
    rows = np.stack(rows)
    assert (rows @ g < 0).any()
    found = minimize(
        lambda v: np.square(v - g).sum() / 2,
        g,
        jac=lambda v: v - g,
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda v: rows @ v, "jac": lambda v: rows},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(z, found.x, atol=1e-4 * np.abs(g).max())


@pytest.mark.parametrize("fill", ["end", "stream"])
@pytest.mark.parametrize("outputs", ["seen", "all"])
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_in_training_no_earlier_task_objects(setting, outputs, fill):
    class Watched(GEM):
        def _gradients(self, learner):
            self.rows = super()._gradients(learner)
            assert len(self.rows) == learner.task
            return self.rows

        def edit_gradients(self, learner, batch):
            before = {name: value.clone() for name, value in learner.gradients.items()}
            super().edit_gradients(learner, batch)
            if not self.rows:
                return
            if (gem.inner_products([*self.rows, before])[-1, :-1] >= 0).all():
                kept.append(same(before, learner.gradients))
            else:
                products = gem.inner_products([*self.rows, learner.gradients])
                edited.append(products[-1, :-1].min() / np.sqrt(products.diagonal().max()))
            self.rows = []

    kept, edited = [], []
    learn(Watched(24, 0.5, 1e-6, fill), blob_stream(setting, outputs))
    assert all(kept)
    assert all(least > -1e-4 for least in edited)
    if setting != "task":
        assert edited, "no step was ever edited"


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_references_are_per_task_in_every_setting(setting):
    stream = blob_stream(setting)
    method = GEM(30, 0.5, 1e-3, "end")
    learner, _ = learn(method, stream, tasks=2)
    learner.start(2)
    learner.gradients = {name: torch.zeros_like(p) for name, p in learner.parameters.items()}
    found = method._gradients(learner)
    for task, reference in enumerate(found):
        rows = [row for owner, row in sorted(method.memory.samples) if owner == task]
        assert len(rows) == 10
        positions = torch.tensor([stream.tasks[task].train.rows.tolist().index(row) for row in rows])
        batch = learner.batch(stream.tasks[task].train, positions)
        logits = learner.logits(batch.inputs, task if setting == "task" else None)
        loss = torch.nn.functional.cross_entropy(logits, batch.labels)
        by_hand = torch.autograd.grad(loss, list(learner.parameters.values()), allow_unused=True)
        for value, expected in zip(reference.values(), by_hand, strict=True):
            torch.testing.assert_close(value, torch.zeros_like(value) if expected is None else expected)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_diverged_run_is_left_as_it_is(value):
    """The loss reports divergence, not the solver."""

    class Diverged(GEM):
        def _gradients(self, learner):
            return [{name: torch.full_like(p, value) for name, p in learner.parameters.items()}]

    stream = blob_stream()
    method = Diverged(30, 0.5, 1e-3, "end")
    learner = learner_for(stream)
    method.setup(learner, stream)
    learner.start(1)
    learner.gradients = {name: torch.full_like(p, -1.0) for name, p in learner.parameters.items()}
    method.edit_gradients(learner, learner.batch(stream.tasks[1].train, torch.arange(4)))
    assert all((gradient == -1).all() for gradient in learner.gradients.values())


def test_it_forgets_less_than_naive():
    stream = blob_stream("domain", kind="permuted", n_tasks=4)
    _, plain = learn(Naive(), stream)
    _, kept = learn(GEM(80, 0.5, 1e-3, "end"), stream)
    fall = [sum(rows[j][j] - rows[-1][j] for j in range(3)) for rows in (plain, kept)]
    assert fall[1] < fall[0]


def test_the_first_task_is_learned_as_by_naive():
    stream = blob_stream()
    plain, _ = learn(Naive(), stream, learner_for(stream), tasks=1)
    edited, _ = learn(GEM(30, 0.5, 1e-3, "stream"), stream, tasks=1)
    assert same(weights(plain), weights(edited))


def test_a_memory_without_a_slot_per_task_is_refused():
    with pytest.raises(ConfigError, match=r"buffer_size=2.*3 tasks"):
        learn(GEM(2, 0.5, 1e-3, "end"), blob_stream())
