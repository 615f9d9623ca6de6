"""RanPAC: ridge regression on projected features, for every order of samples; the current task selects the ridge."""

import pytest
import torch
from sklearn.linear_model import Ridge

from clbench.errors import ConfigError, DivergedError
from clbench.instantiate import instantiate
from clbench.methods import ranpac
from clbench.methods.ranpac import RanPAC
from clbench.toolkit import features as frozen
from tests.methods.test_ncm import learn_in, samples
from tests.streams import blob_stream, learn, learner_for, same, weights


def projected(method, x):
    return torch.relu(x.float() @ method.random).double() if method.projection else x


@pytest.mark.parametrize("projection", [None, 40])
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_scores_are_those_of_scikit_learns_ridge_regression(setting, projection):
    stream, method = blob_stream(setting), RanPAC(projection, [3.0], 0.2)
    learner, _ = learn(method, stream)
    x, y = samples(learner, stream.tasks)
    targets = torch.nn.functional.one_hot(y, len(method.counts)).double()
    reference = Ridge(alpha=3.0, fit_intercept=False).fit(projected(method, x).numpy(), targets.numpy())
    inputs = stream.preprocess(stream.evaluation[1].split.raw())
    h = projected(method, learner.features(inputs).detach().double())
    expected = torch.from_numpy(reference.predict(h.numpy()))
    expected = expected[:, 2:4] if setting == "task" else expected
    found = method.predict(learner, inputs, 1 if setting == "task" else None)
    # Features in float32 differ by 1e-7 between processors, and the inverse amplifies that. A ridge wrong by 1 % still fails.
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_neither_the_order_of_tasks_nor_the_size_of_batches_matters_at_a_fixed_ridge(monkeypatch):
    stream = blob_stream("class")
    first, second = RanPAC(40, [1.0], 0.2), RanPAC(40, [1.0], 0.2)
    learn_in(first, stream, [0, 1, 2])
    monkeypatch.setattr(frozen, "CHUNK", 7)
    learn_in(second, stream, [2, 0, 1])
    # The weights of one in the equation of the other: rounding in the features is not amplified there by the inverse.
    equation = first.gram + torch.eye(40).double()
    terms = equation.abs() @ second.weights.abs() + first.moment.abs()
    assert bool(((equation @ second.weights - first.moment).abs() <= 1e-5 * terms.max()).all())


def test_the_ridge_is_the_best_of_the_candidates_on_a_fifth_of_the_current_task():
    stream, candidates = blob_stream("class"), [1e-6, 1e-2, 1.0, 1e2, 1e4]
    method = RanPAC(40, candidates, 0.2)
    learner, _ = learn(method, stream, tasks=2)
    x, y = samples(learner, stream.tasks[1:2])
    h, targets = projected(method, x), torch.nn.functional.one_hot(y, 6).double()
    order = torch.randperm(80, generator=learner.generator("ranpac", 1))
    own, held = order[:64], order[64:]
    errors = []
    for ridge in candidates:
        fitted = torch.linalg.solve(h[own].mT @ h[own] + ridge * torch.eye(40).double(), h[own].mT @ targets[own])
        errors.append(float((h[held] @ fitted - targets[held]).square().mean()))
    assert method.ridge == candidates[errors.index(min(errors))]
    assert method.diagnostics() == {"ridge": method.ridge}
    assert 0 < errors.index(min(errors)) < 4


def test_the_projection_is_normal_drawn_once_and_by_the_seed():
    stream = blob_stream("class")
    method, again, other = (RanPAC(2000, [1.0], 0.2) for _ in range(3))
    method.setup(learner_for(stream, seed=3), stream)
    again.setup(learner_for(stream, seed=3), stream)
    other.setup(learner_for(stream, seed=4), stream)
    assert torch.equal(method.random, again.random)
    assert not torch.equal(method.random, other.random)
    assert abs(float(method.random.mean())) < 0.03  # five standard errors of 16 * 2000 draws
    assert abs(float(method.random.std()) - 1) < 0.02


def test_a_ridge_lost_in_rounding_gives_way_to_the_next(monkeypatch):
    gram = torch.full((3, 3), 1e12, dtype=torch.float64)  # of rank one; 1e-8 vanishes beside it
    assert ranpac._solve(gram, torch.ones(3, 1).double(), 1e-8) is None
    assert ranpac._solve(gram, torch.ones(3, 1).double(), 1.0) is not None
    solve = ranpac._solve
    monkeypatch.setattr(ranpac, "_solve", lambda g, m, ridge: None if ridge < 1 else solve(g, m, ridge))
    method = RanPAC(20, [0.1], 0.2)
    with pytest.raises(DivergedError, match="singular"):
        learn(method, blob_stream("class"))
    method = RanPAC(20, [10.0, 0.1, 1.0], 0.2)
    learn(method, blob_stream("class"))
    assert method.ridge in (1.0, 10.0)


def test_only_outputs_in_play_win_and_nothing_is_trained():
    rows = []
    for outputs in ("seen", "all"):
        stream, method = blob_stream("class", outputs), RanPAC(40, [1.0], 0.2)
        learner = learner_for(stream)
        before = weights(learner)
        rows.append(learn(method, stream, learner)[1])
        assert same(before, weights(learner))
    assert rows[0] == rows[1]


def test_many_random_features_learn_what_few_cannot():
    stream = blob_stream("class")
    _, few = learn(RanPAC(4, [1.0], 0.2), stream)
    _, many = learn(RanPAC(200, [1.0], 0.2), stream)
    assert sum(many[-1]) > sum(few[-1])


@pytest.mark.parametrize(
    ("key", "value"),
    [("projection", 0), ("ridges", []), ("ridges", [0.0]), ("held_out", 0.0), ("held_out", 1.0)],
)
def test_values_that_cannot_be_used_are_refused(key, value):
    node = {"_target_": "clbench.methods.ranpac.RanPAC", "projection": 10, "ridges": [1.0], "held_out": 0.2, key: value}
    with pytest.raises(ConfigError, match=rf"method\.{key}"):
        instantiate(node, "method")
