"""O-LoRA: the penalty, its gradient, when it is zero, and its effect on the adapters."""

import pytest
import torch

from clbench.errors import ConfigError
from clbench.instantiate import instantiate
from clbench.testing import check_method
from tests.methods.shipped import shipped, values
from tests.streams import blob_stream, learn, learner_for, same, trainer, weights

pytest.importorskip("peft")


def olora(**changes):
    return shipped("olora", **{"rank": 2, "alpha": 4.0, "dropout": 0.0} | changes)


def at_task(method, index, setting="class", hidden=(16, 12)):
    """Earlier tasks learned, task `index` about to be."""
    stream = blob_stream(setting)
    learner, _ = learn(method, stream, learner_for(stream, hidden=hidden), tasks=index)
    learner.start(index)
    method.begin_task(learner, stream.tasks[index])
    return learner, learner.batch(stream.tasks[index].train, torch.arange(8))


def penalty(method, learner, batch):
    """With its graph; `amount` is the number."""
    return method.penalty(learner, batch, learner.forward(batch))


def amount(method, learner, batch):
    return float(penalty(method, learner, batch).detach())


def newest(method):
    return method._adapters.factors(method.names[-1])


def test_what_the_suite_promises_of_a_method():
    check_method("olora", ["optimizer.lr=0.02"])


@pytest.mark.parametrize("past", ["apart", "folded"])
@pytest.mark.parametrize("form", ["l1", "squared"])
def test_the_penalty_is_zero_just_where_the_rows_are_orthogonal(past, form):
    method = olora(past=past, penalty_form=form)
    learner, batch = at_task(method, 2)
    assert amount(method, learner, batch) > 0
    earlier = method._past()
    with torch.no_grad():
        for layer, (a, _) in newest(method).items():
            q = torch.linalg.qr(earlier[layer][0].mT.double()).Q
            a -= (a.double() @ q @ q.mT).float()
    assert amount(method, learner, batch) < 1e-5
    with torch.no_grad():
        for a, _ in newest(method).values():
            a.zero_()
    assert amount(method, learner, batch) == 0
    with torch.no_grad():
        newest(method)["layers.0"][0][0] = earlier["layers.0"][0][1]
    assert amount(method, learner, batch) > 0


@pytest.mark.parametrize("past", ["apart", "folded"])
def test_the_penalty_and_its_gradient_are_those_of_the_authors(past):
    method = olora(past=past, strength=0.7)
    learner, batch = at_task(method, 2)
    value = penalty(method, learner, batch)
    found = dict(zip(newest(method), torch.autograd.grad(value, [a for a, _ in newest(method).values()])))
    expected = 0.0
    for layer, (a, _) in newest(method).items():
        earlier = method._past()[layer][0]
        assert earlier.shape == (4, a.shape[1])
        expected += 0.7 * float((earlier @ a.detach().mT).abs().sum())
        torch.testing.assert_close(found[layer], 0.7 * (earlier @ a.mT).sign().mT @ earlier)
    assert float(value.detach()) == pytest.approx(expected, rel=1e-5)
    method.penalty_form = "squared"
    squared = sum(float((method._past()[layer][0] @ a.detach().mT).square().sum()) for layer, (a, _) in newest(method).items())
    assert amount(method, learner, batch) == pytest.approx(0.7 * squared, rel=1e-5)


def test_norms_are_not_squared_and_have_no_slope_at_zero():
    method = olora(strength=0.0, l2_strength=0.3)
    learner, batch = at_task(method, 0)
    value = penalty(method, learner, batch)
    factors = [factor for pair in newest(method).values() for factor in pair]
    assert float(value.detach()) == pytest.approx(
        0.3 * sum(float(torch.linalg.vector_norm(f.detach())) for f in factors), rel=1e-5
    )
    for factor, slope in zip(factors, torch.autograd.grad(value, factors)):
        norm = torch.linalg.vector_norm(factor.detach())
        torch.testing.assert_close(slope, 0.3 * factor.detach() / norm if norm > 0 else torch.zeros_like(slope))


def test_there_is_something_to_be_orthogonal_to_from_the_second_task_on():
    """The fault of runs whose printed loss was 0 throughout (issue 41 of the authors' repository)."""
    stream, found = blob_stream(), []
    method = olora()
    learn(method, stream, after=lambda task, learner: found.append(method.diagnostics().get("overlap_at_start")))
    assert found[0] is None
    assert found[1] > 0
    assert found[2] > found[1] / 2
    method = olora()
    assert amount(method, *at_task(method, 0)) == 0


@pytest.mark.parametrize("setting", ["task", "class"])
@pytest.mark.parametrize("past", ["apart", "folded"])
def test_strength_zero_is_inc_lora_bit_for_bit(setting, past):
    """With dropout, so that a number drawn in between would be noticed."""
    stream, options = blob_stream(setting), {"past": past, "dropout": 0.2}
    plain, rows = learn(shipped("inc_lora", rank=2, alpha=4.0, **options), stream)
    off, others = learn(olora(strength=0.0, **options), stream)
    on, _ = learn(olora(strength=0.5, **options), stream)
    assert same(weights(plain), weights(off))
    assert rows == others
    assert not same(weights(plain), weights(on))


def test_apart_and_folded_are_the_same():
    stream, found = blob_stream("task"), []
    inputs = learner_for(stream).batch(stream.tasks[0].train, torch.arange(30)).inputs
    for past in ("apart", "folded"):
        method = olora(past=past, strength=0.05, penalty_form="squared")  # smooth: nothing turns on the sign of a zero
        learner, _ = learn(method, stream, learner_for(stream, hidden=(16, 12)))
        learner.model.eval()
        with torch.no_grad():
            found.append(torch.cat([learner.logits(inputs, head) for head in range(3)], 1))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)


def test_angles_open_with_the_strength():
    stream, found = blob_stream(), []
    for strength in (0.0, 0.01, 0.1):
        method = olora(strength=strength)
        learn(method, stream, learner_for(stream, hidden=(32,)), how=trainer(6))
        found.append(method.diagnostics()["cosine_max"]["max"])
    assert found[0] > found[1] > found[2]


def test_each_task_may_have_a_strength_of_its_own():
    one, other = olora(strength=[0.0, 0.2, 0.7], l2_strength=[0.1, 0.0, 0.3]), olora(strength=0.7, l2_strength=0.3)
    for method in (one, other):  # the earlier adapters differ, the formula at the third task does not
        learner, batch = at_task(method, 2)
        pairs = [factor.detach() for pair in newest(method).values() for factor in pair]
        expected = 0.7 * float(method.overlap(learner).detach()) + 0.3 * sum(float(torch.linalg.vector_norm(f)) for f in pairs)
        assert amount(method, learner, batch) == pytest.approx(expected, rel=1e-5)
    assert amount(one, *at_task(one, 0)) == pytest.approx(
        0.1 * sum(float(torch.linalg.vector_norm(f.detach())) for pair in newest(one).values() for f in pair), rel=1e-5
    )
    same_all = [learn(olora(strength=given), blob_stream())[1] for given in (0.5, [0.5, 0.5, 0.5])]
    assert same_all[0] == same_all[1]


def test_a_list_of_another_length_is_refused():
    with pytest.raises(ConfigError, match=r"method\.strength=\[0\.5, 0\.5\] has 2 values, and the stream 3 tasks"):
        learn(olora(strength=[0.5, 0.5]), blob_stream())


@pytest.mark.parametrize("bad", [{"strength": -0.1}, {"l2_strength": -1.0}, {"penalty_form": "l2"}])
def test_bad_values_are_refused_by_name(bad):
    with pytest.raises(ConfigError, match=f"method.{next(iter(bad))}"):
        instantiate(values("olora") | bad, "method")
