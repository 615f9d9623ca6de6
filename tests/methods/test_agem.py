"""A-GEM: the edited gradient never opposes its reference; the source of the reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.errors import ConfigError
from clbench.methods import agem
from clbench.methods.agem import AGEM
from clbench.methods.naive import Naive
from tests.streams import blob_stream, learn, learner_for, same, trainer, weights

ROUNDING = 4e-6
"""Of the share taken away: a quotient of two products, each with a relative error of at most 1.8e-6 under noise of 1e-6."""
WAYS = [("end", "ring"), ("stream", "ring"), ("stream", "reservoir")]


def inner(a, b):
    """Return <a, b>, |a|, |b| of two trees, summed in float64."""
    a, b = (torch.cat([tree[name].flatten() for name in sorted(tree)]).double() for tree in (a, b))
    return float(a @ b), float(a.norm()), float(b.norm())


def tree(seed, scale):
    draws = torch.Generator().manual_seed(seed)
    return {name: scale * torch.randn(shape, generator=draws) for name, shape in (("w", (5, 3)), ("b", (5,)), ("v", (2, 2)))}


@settings(deadline=None)
@given(
    seed=st.integers(0, 10**6),
    turn=st.sampled_from([-1.0, -0.999, -0.3, 0.0, 0.7]),
    scale=st.sampled_from([0.0, 1e-15, 1e-8, 1.0, 1e8]),
)
def test_the_edited_gradient_never_opposes_its_reference(seed, turn, scale):
    gradients, reference = tree(seed, 1.0), tree(seed + 1, 1.0)
    for name in gradients:  # from opposed to random to aligned
        gradients[name] += 10 * turn * reference[name]
        reference[name] *= scale
    before = {name: value.clone() for name, value in gradients.items()}
    product, size, _ = inner(before, reference)
    agem.project(gradients, reference)
    after, left, length = inner(gradients, reference)
    assert after >= -ROUNDING * size * length
    assert left <= size * (1 + ROUNDING)
    if product > 1e-6 * size * length or scale == 0:
        assert same(before, gradients)
    elif product < -1e-6 * size * length:
        assert abs(after) <= ROUNDING * size * length  # as little as possible is taken: the constraint is met with equality


@pytest.mark.parametrize("scale", [1e-18, 1e-20, 1e-25, 1e-35, 1e-42])
def test_a_vanishing_reference_takes_away_no_more_than_there_is(scale):
    gradients, reference = tree(0, 1.0), {name: -scale * value for name, value in tree(0, 1.0).items()}
    size = inner(gradients, gradients)[1]
    agem.project(gradients, reference)
    assert inner(gradients, reference)[1] <= size * (1 + 1e-5)


def test_the_projection_is_that_of_equation_11():
    gradients, reference = {"w": torch.tensor([1.0, -3.0])}, {"w": torch.tensor([1.0, 1.0])}
    agem.project(gradients, reference)
    torch.testing.assert_close(gradients["w"], torch.tensor([2.0, -2.0]))


@pytest.mark.parametrize(("fill", "policy"), WAYS)
@pytest.mark.parametrize("outputs", ["seen", "all"])
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_in_training_no_step_opposes_its_reference(setting, outputs, fill, policy, monkeypatch):
    seen = []

    def watched(gradients, reference, project=agem.project):
        before = inner(gradients, reference)[0]
        project(gradients, reference)
        seen.append((before, *inner(gradients, reference)))
        assert gradients.keys() == reference.keys()

    monkeypatch.setattr(agem, "project", watched)
    learn(AGEM(24, 16, fill, policy), blob_stream(setting, outputs))
    assert all(after >= -ROUNDING * size * length for _, after, size, length in seen)
    assert len(seen) > 0
    if setting != "task":
        assert any(before < 0 for before, *_ in seen), "no step was ever edited"


def test_the_reference_is_the_gradient_on_the_stored_samples():
    """Compare with the same projection by hand, on all samples in memory."""
    stream = blob_stream("class")
    method = AGEM(30, 1000, "end", "ring")
    learner, _ = learn(method, stream, tasks=2)
    learner.start(2)
    held = method.memory.read(method.memory.slots())
    parameters = list(learner.parameters.values())
    loss = torch.nn.functional.cross_entropy(learner.forward(held), held.labels)
    reference = dict(zip(learner.parameters, torch.autograd.grad(loss, parameters), strict=True))
    learner.gradients = {name: -2 * value + 0.01 for name, value in reference.items()}
    expected = {name: value.clone() for name, value in learner.gradients.items()}
    share = inner(expected, reference)[0] / inner(reference, reference)[0]
    with torch.no_grad():
        method.edit_gradients(learner, learner.batch(stream.tasks[2].train, torch.arange(4)))
    for name, value in learner.gradients.items():
        torch.testing.assert_close(value, expected[name] - share * reference[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_every_task_leaves_its_share(setting):
    stream = blob_stream(setting)
    method, counts = AGEM(31, 8, "end", "reservoir"), []
    learn(method, stream, after=lambda task, lrn: counts.append([int(t) for t, _ in sorted(method.memory.samples)]))
    assert counts == [[0] * 10, [0] * 10 + [1] * 10, [0] * 10 + [1] * 10 + [2] * 10]
    for task, row in method.memory.samples:
        assert row in stream.tasks[task].train.rows.tolist()


def test_what_is_stored_at_the_end_depends_on_the_seed():
    stream = blob_stream()
    held = []
    for seed in (0, 1):
        method = AGEM(30, 8, "end", "ring")
        learn(method, stream, learner_for(stream, seed=seed), tasks=1)
        held.append(method.memory.samples)
    assert held[0] != held[1]


@pytest.mark.parametrize(("policy", "current"), [("ring", False), ("reservoir", True)])
def test_whose_samples_are_drawn_while_memory_fills(policy, current):
    class Watched(AGEM):
        def _draw(self):
            drawn = super()._draw()
            owners.setdefault(drawn.task, []).extend(drawn.tasks.tolist())
            return drawn

    owners = {}
    learn(Watched(30, 8, "stream", policy), blob_stream("domain"))
    assert set(owners[0]) == ({0} if current else set())
    assert set(owners[1]) == ({0, 1} if current else {0})
    assert set(owners[2]) == ({0, 1, 2} if current else {0, 1})


def test_samples_are_offered_once_whatever_the_epochs():
    stream = blob_stream()
    method = AGEM(1000, 4, "stream", "reservoir")
    learn(method, stream, how=trainer(epochs=3))
    assert method.memory.seen == len(method.memory.samples) == sum(len(task.train) for task in stream.tasks)


def test_the_first_task_is_learned_as_by_naive():
    stream = blob_stream()
    plain, _ = learn(Naive(), stream, tasks=1)
    for fill in ("end", "stream"):
        edited, _ = learn(AGEM(30, 8, fill, "ring"), stream, tasks=1)
        assert same(weights(plain), weights(edited))


def test_old_heads_are_left_alone_in_the_task_setting():
    marks = []
    learn(AGEM(30, 8, "end", "ring"), blob_stream("task"), after=lambda task, lrn: marks.append(weights(lrn)))
    assert torch.equal(marks[0]["heads.0.weight"], marks[2]["heads.0.weight"])


def test_it_forgets_less_than_naive():
    stream = blob_stream("domain", kind="permuted", n_tasks=4)
    _, plain = learn(Naive(), stream)
    _, kept = learn(AGEM(80, 64, "end", "ring"), stream)
    fall = [sum(rows[j][j] - rows[-1][j] for j in range(3)) for rows in (plain, kept)]
    assert fall[1] < fall[0]


@pytest.mark.parametrize("fill", ["end", "stream"])
def test_a_memory_without_a_slot_per_task_is_refused(fill):
    with pytest.raises(ConfigError, match=r"buffer_size=2.*3 tasks"):
        learn(AGEM(2, 8, fill, "ring"), blob_stream())
