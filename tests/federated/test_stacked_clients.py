"""Clients side by side learn what each of them learns by itself."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from clbench.engine.optimizers import SGD, Adam
from clbench.engine.schedules import Cosine
from clbench.federated import transport
from clbench.federated.clients import Clients
from clbench.federated.messages import DIVERGED
from clbench.federated.servers.fedavg import FedAvg
from clbench.federated.servers.fedprox import FedProx
from clbench.federated.stacked_clients import train, unsupported_reason
from clbench.method import Method
from clbench.methods.naive import Naive
from tests.federated.servers.rounds import federate, federated_stream, options
from tests.methods.shipped import shipped
from tests.streams import Blobs, blob_stream, doubled, learner_for, trainer


@dataclass
class Halved(Method):
    """Halves what comes out of the loss, and keeps nothing."""

    data_free = True

    def criterion(self, learner, batch, logits):
        return super().criterion(learner, batch, logits) / 2


class Layered(nn.Module):
    """A linear layer and one by the name of its class."""

    def __init__(self, input_shape, layer, **others):
        super().__init__()
        self.linear, self.layer = nn.Linear(16, 8), getattr(nn, layer)(8) if layer == "BatchNorm1d" else getattr(nn, layer)()

    def forward(self, x):
        return self.layer(self.linear(x.flatten(1)))


class Noisy(nn.Module):
    """Random in every forward pass, in a way that no list of layers tells."""

    def __init__(self, input_shape, **others):
        super().__init__()
        self.linear = nn.Linear(16, 8)

    def forward(self, x):
        return nn.functional.dropout(self.linear(x.flatten(1)), 0.5, self.training)


def clients(
    setting="class", outputs="seen", optimizer=None, how=None, server=None, make=Naive, stream=None, model=None, **changes
):
    stream = federated_stream(doubled(stream or blob_stream(setting, outputs)), 5)
    learner = learner_for(stream, optimizer=optimizer or SGD(0.05), **(model or {}))
    learner.model.double()
    learner.rebuild()
    return Clients(learner, make, how or trainer(batch_size=7), options(server or FedAvg("samples"), 5, **changes))


def both(made, index=1, work=None):
    """Return the replies of all clients in a second round of a task, side by side and one by one."""
    learner = made.learner
    task = learner.stream.tasks[index]
    made.begin(task)
    down = {name: value.clone() for name, value in learner.model.state_dict().items()}
    names = learner.trainable()[0]
    work = work or dict.fromkeys(range(5), 1.0)
    together = train(made, task, 1, down, names, work)
    apart = [made.train(client, task, 1, down, names, share) for client, share in work.items()]
    return together, apart


def assert_same(together, apart):
    assert [reply.client for reply in together] == [reply.client for reply in apart]
    for one, other in zip(together, apart, strict=True):
        assert (one.samples, one.seen, one.error) == (other.samples, other.seen, other.error)
        assert one.tensors.keys() == other.tensors.keys()
        for name, tensor in one.tensors.items():
            torch.testing.assert_close(tensor, other.tensors[name], rtol=1e-10, atol=1e-12)
        assert one.loss == pytest.approx(other.loss, rel=1e-5)


OPTIMIZERS = {
    "plain": lambda: SGD(0.05),
    "momentum": lambda: SGD(0.05, momentum=0.9, weight_decay=1e-2),
    "nesterov": lambda: SGD(0.05, momentum=0.9, nesterov=True),
    "adamw": lambda: Adam(0.01, (0.9, 0.999), 1e-8, 0.1, decoupled=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_unequal_clients_learn_what_each_learns_alone(name):
    made = clients(optimizer=OPTIMIZERS[name](), local_epochs=3)
    together, apart = both(made)
    sizes = [reply.samples for reply in apart]
    assert len({-(-n // 7) for n in sizes}) > 1, "some stop earlier"
    assert any(n % 7 for n in sizes), "some have a short batch"
    assert sum(sizes) == len(made.learner.stream.tasks[1].train), "no sample is dropped"
    assert_same(together, apart)
    assert not torch.equal(*(reply.tensors["heads.0.weight"] for reply in together[:2]))


@pytest.mark.parametrize(("setting", "outputs"), [("task", "seen"), ("task", "all"), ("class", "all"), ("domain", "seen")])
def test_so_they_do_in_every_setting(setting, outputs):
    assert_same(*both(clients(setting, outputs)))


@pytest.mark.parametrize("how", [{"clip_norm": 0.05}, {"clip_value": 0.001}])
def test_gradients_are_clipped_for_each_client(how):
    assert_same(*both(clients(how=trainer(batch_size=7, **how))))


def test_steps_instead_of_epochs_and_slow_clients():
    assert_same(*both(clients(local_iterations=5), work={3: 1.0, 0: 0.3, 4: 0.5, 1: 1.0, 2: 0.01}))


def test_a_schedule_over_rounds_is_followed_side_by_side():
    how = {"rounds": 4, "how": trainer(batch_size=7, schedule=Cosine(0.0, "round"))}
    assert unsupported_reason(clients(**how)) is None
    together, apart = both(clients(**how))
    assert_same(together, apart)
    plain, _ = both(clients(rounds=4))
    assert not torch.allclose(plain[0].tensors["heads.0.weight"], together[0].tensors["heads.0.weight"])


def test_the_proximal_term_acts_on_every_client():
    together, apart = both(clients(server=FedProx("samples", 3.0), local_epochs=3))
    assert_same(together, apart)
    free, _ = both(clients(local_epochs=3))
    assert not torch.allclose(free[0].tensors["heads.0.weight"], together[0].tensors["heads.0.weight"])


def test_a_client_that_diverges_leaves_the_others_alone():
    made = clients()
    task = made.learner.stream.tasks[0]
    made.begin(task)
    down = {name: value.clone() for name, value in made.learner.model.state_dict().items()}
    pool = task.train.pool
    pool.inputs[task.train.rows[task.clients[2][0]]] = float("nan")
    names = made.learner.trainable()[0]
    replies = train(made, task, 0, down, names, dict.fromkeys(range(5), 1.0))
    assert [reply.error for reply in replies] == [None, None, DIVERGED, None, None]
    assert all(tensor.isfinite().all() for reply in replies for tensor in reply.tensors.values())


@pytest.mark.parametrize(
    ("why", "changes"),
    [
        ("stores something of its own", {"make": lambda: shipped("ewc")}),
        ("has its own criterion", {"make": Halved}),
        ("schedule", {"how": trainer(schedule=Cosine(0.0))}),
        ("splits a batch", {"how": trainer(micro_batch_size=2)}),
        ("augmented", {"stream": blob_stream(dataset=Blobs(flip=True))}),
        ("has dropout", {"model": {"_target_": f"{__name__}.Layered", "layer": "Dropout"}}),
        ("BatchNorm", {"model": {"_target_": f"{__name__}.Layered", "layer": "BatchNorm1d"}}),
    ],
)
def test_what_cannot_go_side_by_side_is_named(why, changes):
    assert why in unsupported_reason(clients(**changes))
    assert unsupported_reason(clients()) is None


@pytest.mark.parametrize("chunk", [2, 3, 8])
def test_rounds_in_chunks_end_where_those_one_by_one_do(chunk, monkeypatch):
    seen = []
    real = transport.train_stacked
    monkeypatch.setattr(transport, "train_stacked", lambda *args: seen.append(len(args[5])) or real(*args))
    one, other = (federate(FedAvg("samples"), blob_stream("task"), clients=5, rounds=2, tasks=2, chunk=n) for n in (chunk, 1))
    assert sum(seen) >= 5 - (5 % chunk == 1)
    assert max(seen) == min(chunk, 5)
    for name, value in one.learner.model.state_dict().items():
        torch.testing.assert_close(value, other.learner.model.state_dict()[name], rtol=1e-4, atol=1e-5)
    assert one.samples == other.samples


def test_a_model_that_vmap_refuses_is_trained_one_by_one_and_it_is_said_once(caplog):
    learner = learner_for(federated_stream(blob_stream("class"), 4), _target_=f"{__name__}.Noisy")
    federate(FedAvg("samples"), learner.stream, learner=learner, rounds=2, tasks=1, chunk=4)
    assert caplog.text.count("one by one") == 1
