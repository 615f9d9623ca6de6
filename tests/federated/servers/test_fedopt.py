"""Server optimisers against references written apart, torch's own optimisers, and Flower's strategies."""

from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clbench.errors import ConfigError
from tests.federated.servers.rounds import federate
from tests.federated.servers.shipped import shipped
from tests.streams import blob_stream, learner_for, same, weights

SHAPES = {"backbone.w": (3, 4), "heads.0.b": (5,)}


def models(rounds, seed=3, dtype=torch.float64):
    """Return what the clients' models average to, round by round, given as steps from wherever the server is."""
    g = torch.Generator().manual_seed(seed)
    return [{name: torch.randn(shape, generator=g, dtype=dtype) for name, shape in SHAPES.items()} for _ in range(rounds)]


def holder(*names):
    return SimpleNamespace(parameters=dict.fromkeys(names or SHAPES))


def after(rule, pushes, start=None):
    """Return the server's model after each round in which the clients moved by `pushes` on average."""
    learner, model, seen = holder(), start or {name: torch.ones_like(push) for name, push in pushes[0].items()}, []
    for push in pushes:
        model = rule.aggregate(learner, model, {name: model[name] + push[name] for name in model})
        seen.append(model)
    return seen


def set_up(name, **changes):
    rule = shipped(name, **changes)
    rule.setup(holder(), None)
    return rule


def close(a, b):
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("lr", [1.0, 0.3])
def test_momentum_is_that_of_torch_on_the_pseudo_gradient(momentum, lr):
    pushes = models(6)
    ours = after(set_up("fedavgm", lr=lr, momentum=momentum), pushes)
    theirs = {name: torch.nn.Parameter(torch.ones_like(push)) for name, push in pushes[0].items()}
    optimizer = torch.optim.SGD(theirs.values(), lr, momentum)
    for push, model in zip(pushes, ours, strict=True):
        for name, parameter in theirs.items():
            parameter.grad = -push[name]
        optimizer.step()
        close(model, {name: parameter.detach() for name, parameter in theirs.items()})


def test_no_momentum_is_the_mean():
    (push,) = models(1)
    (model,) = after(set_up("fedavgm", lr=1.0, momentum=0.0), [push])
    close(model, {name: 1 + step for name, step in push.items()})


@pytest.mark.parametrize("first", ["tau", "zero"])
def test_adam_is_algorithm_2(first):
    """Scalar by scalar in plain Python, from the paper's lines 9 to 14."""
    pushes, lr, beta1, beta2, tau = models(7), 0.05, 0.8, 0.95, 0.01
    ours = after(set_up("fedadam", lr=lr, betas=[beta1, beta2], tau=tau, first=first), pushes)
    for name, shape in SHAPES.items():
        for place in np.ndindex(*shape):
            x, m, v = 1.0, 0.0, tau**2 if first == "tau" else 0.0
            for push, model in zip(pushes, ours, strict=True):
                delta = float(push[name][place])
                m = beta1 * m + (1 - beta1) * delta
                v = beta2 * v + (1 - beta2) * delta**2
                x = x + lr * m / (np.sqrt(v) + tau)
                assert float(model[name][place]) == pytest.approx(x, rel=1e-12)


@pytest.mark.parametrize(
    ("betas", "reference"),
    [
        ((0.0, 0.9), lambda values: torch.optim.RMSprop(values, 0.05, alpha=0.9, eps=1e-3)),
        ((0.0, 0.0), lambda values: torch.optim.Adam(values, 0.05, betas=(0.0, 0.0), eps=1e-3)),  # nothing to correct
    ],
)
def test_adam_is_torch_where_the_two_coincide(betas, reference):
    pushes = models(6)
    ours = after(set_up("fedadam", lr=0.05, betas=list(betas), tau=1e-3, first="zero"), pushes)
    theirs = {name: torch.nn.Parameter(torch.ones_like(push)) for name, push in pushes[0].items()}
    optimizer = reference(theirs.values())
    for push, model in zip(pushes, ours, strict=True):
        for name, parameter in theirs.items():
            parameter.grad = -push[name]
        optimizer.step()
        close(model, {name: parameter.detach() for name, parameter in theirs.items()})


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_momentum_is_flowers(momentum):
    strategy = pytest.importorskip("flwr.serverapp.strategy")
    theirs = strategy.FedAvgM(server_learning_rate=0.6, server_momentum=momentum)
    _compare(theirs, set_up("fedavgm", lr=0.6, momentum=momentum))


def test_adam_is_flowers_but_for_its_correction():
    """Flower corrects the bias by a factor on the rate, whose power is the number of the round plus one."""
    strategy = pytest.importorskip("flwr.serverapp.strategy")
    theirs = strategy.FedAdam(eta=0.1, beta_1=0.9, beta_2=0.99, tau=1e-3)
    rule = set_up("fedadam", betas=[0.9, 0.99], tau=1e-3, first="zero")

    def corrected(round):
        rule.lr = 0.1 * (1 - 0.99 ** (round + 1)) ** 0.5 / (1 - 0.9 ** (round + 1))

    _compare(theirs, rule, corrected)


def _compare(theirs, ours, before=lambda round: None):
    """Run both over rounds of three clients of different sizes; clients answer around where the server is."""
    from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

    def record(tensors):
        return ArrayRecord({name: Array(tensor.numpy()) for name, tensor in tensors.items()})

    sizes = [3, 10, 7]
    model = {name: torch.ones(shape, dtype=torch.float64) for name, shape in SHAPES.items()}
    grid = SimpleNamespace(get_node_ids=lambda: [1, 2, 3])
    for round in range(1, 6):
        clients = [{name: model[name] + push[name] for name in model} for push in models(3, seed=round)]
        with suppress(RuntimeError):  # it notes where the server is; messages can be made only within a run
            theirs.configure_train(round, record(model), _empty(), grid)
        replies = [
            SimpleNamespace(
                content=RecordDict({"arrays": record(client), "metrics": MetricRecord({"num-examples": n})}),
                has_error=lambda: False,
            )
            for client, n in zip(clients, sizes, strict=True)
        ]
        expected, _ = theirs.aggregate_train(round, replies)
        before(round)
        mean = {name: sum(n * client[name] for n, client in zip(sizes, clients, strict=True)) / sum(sizes) for name in model}
        model = ours.aggregate(holder(), model, mean)
        for name, array in expected.items():
            np.testing.assert_allclose(model[name].numpy(), array.numpy(), rtol=1e-11, atol=1e-12)


def _empty():
    from flwr.app import ConfigRecord

    return ConfigRecord()


@pytest.mark.parametrize("name", ["fedavgm", "fedadam"])
def test_it_goes_on_from_its_state(name):
    pushes = models(5)
    whole = after(set_up(name), pushes)
    first, second = set_up(name), set_up(name)
    half = after(first, pushes[:3])[-1]
    second.load_state(None, first.state())
    rest = after(second, pushes[3:], half)
    assert all(torch.equal(rest[-1][key], whole[-1][key]) for key in whole[-1])


@pytest.mark.parametrize("name", ["fedavgm", "fedadam"])
@pytest.mark.parametrize("carry", [False, True])
def test_moments_outlive_a_task_only_where_they_are_carried(name, carry):
    pushes = models(4)
    rule, fresh = set_up(name, carry=carry), set_up(name, carry=carry)
    rule.begin_task(None, None)
    half = after(rule, pushes[:2])[-1]
    rule.begin_task(None, None)
    fresh.begin_task(None, None)
    later, anew = after(rule, pushes[2:], half)[-1], after(fresh, pushes[2:], half)[-1]
    assert all(torch.equal(later[key], anew[key]) for key in later) is not carry


@pytest.mark.parametrize("name", ["fedavgm", "fedadam"])
def test_statistics_are_the_mean(name):
    """Under Adam a running variance would move by the rate, below zero in the end."""
    rule, start = set_up(name), {"backbone.w": torch.ones(2), "backbone.running_var": torch.ones(2)}
    mean = {"backbone.w": torch.zeros(2), "backbone.running_var": torch.full((2,), 0.5)}
    for _ in range(3):
        moved = rule.aggregate(holder("backbone.w"), start, mean)
    assert torch.equal(moved["backbone.running_var"], mean["backbone.running_var"])
    assert not torch.equal(moved["backbone.w"], mean["backbone.w"])


@pytest.mark.parametrize("name", ["fedavgm", "fedadam"])
def test_heads_and_enlarged_parameters_have_moments_of_their_own(name):
    """Another task's head joins in; a layer that grew starts anew; what was seen before goes on."""
    rule, (push, other) = set_up(name, carry=True), models(2)
    once = after(rule, [push])[-1]
    both = rule.aggregate(
        holder("backbone.w", "heads.1.b"),
        {"backbone.w": once["backbone.w"], "heads.1.b": torch.ones(7, dtype=torch.float64)},
        {"backbone.w": once["backbone.w"] + other["backbone.w"], "heads.1.b": torch.zeros(7, dtype=torch.float64)},
    )
    close({"backbone.w": both["backbone.w"]}, {"backbone.w": after(set_up(name), [push, other])[-1]["backbone.w"]})
    grown = rule.aggregate(holder(), {"heads.0.b": torch.ones(9)}, {"heads.0.b": torch.zeros(9)})
    anew = set_up(name).aggregate(holder(), {"heads.0.b": torch.ones(9)}, {"heads.0.b": torch.zeros(9)})
    assert torch.equal(grown["heads.0.b"], anew["heads.0.b"])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("fedavgm", {"momentum": 1.0}),
        ("fedavgm", {"lr": 0.0}),
        ("fedadam", {"tau": 0.0}),
        ("fedadam", {"betas": [0.9, 1.0]}),
        ("fedadam", {"first": "one"}),
    ],
)
def test_bad_values_are_named(name, changes):
    (key,) = changes
    with pytest.raises(ConfigError, match=f"federated.server.{key}"):
        shipped(name, **changes)


@pytest.mark.parametrize("setting", ["task", "class"])
def test_without_momentum_rounds_are_those_of_federated_averaging(setting):
    plain, ours = (federate(rule, blob_stream(setting)) for rule in (shipped("fedavg"), shipped("fedavgm", lr=1.0, momentum=0.0)))
    assert same(weights(plain.learner), weights(ours.learner))


@pytest.mark.parametrize("name", ["fedavgm", "fedadam"])
def test_one_round_is_the_rule_on_what_averaging_makes(name):
    """The whole path: what federated averaging would have made is the rule's mean, and the next model comes of it."""
    start = weights(learner_for(blob_stream("domain")))
    mean = weights(federate(shipped("fedavg"), blob_stream("domain"), rounds=1, tasks=1).learner)
    found = weights(federate(shipped(name), blob_stream("domain"), rounds=1, tasks=1).learner)
    rule = set_up(name)
    expected = rule.aggregate(holder(*start), start, mean)
    assert same(found, expected)
    assert (name == "fedavgm") is same(found, mean)  # the first step of momentum is the mean; Adam's is not
