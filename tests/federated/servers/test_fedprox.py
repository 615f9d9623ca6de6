"""The proximal term: its gradient, and the anchor."""

from types import SimpleNamespace

import pytest
import torch

from clbench.errors import ConfigError
from clbench.federated.servers.fedprox import Proximal
from tests.federated.servers.rounds import federate, federated_stream
from tests.federated.servers.shipped import shipped
from tests.streams import blob_stream, learner_for, same, trainer, weights


def test_the_gradient_is_that_of_the_term():
    """Against autograd, on a loss written out."""
    g = torch.Generator().manual_seed(0)
    parameters = {name: torch.nn.Parameter(torch.randn(shape, generator=g)) for name, shape in (("w", (3, 2)), ("b", (4,)))}
    anchor = {name: torch.randn(p.shape, generator=g) for name, p in parameters.items()} | {"other": torch.ones(1)}
    own = {name: torch.randn(p.shape, generator=g) for name, p in parameters.items()}
    part, learner = Proximal(0.7), SimpleNamespace(parameters=parameters, gradients={n: x.clone() for n, x in own.items()})
    part.receive(learner, anchor)
    with torch.no_grad():
        part.edit_gradients(learner, None)
    loss = sum((own[name] * p).sum() + 0.35 * (p - anchor[name]).square().sum() for name, p in parameters.items())
    expected = torch.autograd.grad(loss, list(parameters.values()))
    for found, gradient in zip(learner.gradients.values(), expected, strict=True):
        torch.testing.assert_close(found, gradient)


def test_what_came_down_is_no_state():
    part = Proximal(0.7)
    part.receive(None, {"w": torch.ones(3)})
    assert part.state() == {}


def test_nothing_at_the_clients_without_a_strength():
    assert shipped("fedprox", mu=0.0).client_part() is None
    assert shipped("fedprox", mu=0.5).client_part() == Proximal(0.5)


def test_a_negative_strength_is_refused():
    with pytest.raises(ConfigError, match=r"federated\.server\.mu"):
        shipped("fedprox", mu=-1.0)


def test_zero_is_federated_averaging():
    runs = [federate(shipped(*rule), blob_stream("task")) for rule in (("fedavg",),)]
    runs.append(federate(shipped("fedprox", mu=0.0), blob_stream("task")))
    assert same(*(weights(run.learner) for run in runs))
    assert runs[0].losses == runs[1].losses


def test_clients_stay_nearer_to_what_they_were_sent():
    """With several local passes; and the anchor moves on with the model: a strong term slows down, but does not hold still."""
    start = weights(learner_for(blob_stream("domain")))

    def moved(mu, rounds):
        run = federate(shipped("fedprox", mu=mu), blob_stream("domain"), rounds=rounds, tasks=1, local_epochs=5)
        return sum(float((value - start[name]).square().sum()) for name, value in weights(run.learner).items()) ** 0.5

    distances = [moved(mu, 1) for mu in (0.0, 0.1, 1.0, 5.0)]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 1.2 * distances[-1]
    assert moved(5.0, 6) > 2 * distances[-1]


def test_a_step_is_the_proximal_step_written_out():
    """One client, one round of two steps of plain gradient descent: the second is drawn back by the first."""
    stream = federated_stream(blob_stream("domain"), 1)
    learner = learner_for(stream)
    probe = learner_for(stream)
    run = federate(
        shipped("fedprox", mu=2.0),
        stream,
        clients=1,
        rounds=1,
        tasks=1,
        learner=learner,
        how=trainer(batch_size=64),
        local_iterations=2,
    )
    start = {name: p.detach().clone() for name, p in probe.parameters.items()}
    probe.start(0)
    order = torch.randperm(len(stream.tasks[0].train), generator=probe.generator("batches", 0, 0, 0))
    for positions in order.split(64)[:2]:
        batch = probe.batch(stream.tasks[0].train, positions)
        loss = torch.nn.functional.cross_entropy(probe.forward(batch), batch.labels)
        gradients = torch.autograd.grad(loss, list(probe.parameters.values()))
        with torch.no_grad():
            for (name, p), gradient in zip(probe.parameters.items(), gradients, strict=True):
                p -= 0.05 * (gradient + 2.0 * (p - start[name]))
    for name, value in weights(run.learner).items():
        torch.testing.assert_close(value, weights(probe)[name])
