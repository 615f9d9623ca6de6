"""A run under Flower's simulation engine equals a run in one process; failures of nodes are reported and survived."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

pytest.importorskip("flwr", reason="Flower is not installed (pip install 'clbench[federated]')")

from clbench.errors import ConfigError, RefusedError
from clbench.federated.messages import Reply
from clbench.flower.grid_transport import GridTransport
from clbench.flower.wire_format import FIELDS, pack, pack_reply, unpack, unpack_reply
from clbench.testing.make_run import run
from tests.federated.common import federated_spec, ready

CPU = torch.device("cpu")


def test_tensors_travel_as_they_are():
    sent = {
        "w": torch.randn(3, 2),
        "d": torch.randn(2, dtype=torch.float64),
        "n": torch.tensor(7),
        "none": torch.zeros(0, 4),
    }
    packed = pack({"round": 3, "names": ["w"], "loss": None}, sent, {"w": torch.ones(1)})
    about, model, more = unpack(packed, CPU, {"round": int, "names": list})
    assert about == {"round": 3, "names": ["w"]}
    assert model.keys() == sent.keys()
    assert all(torch.equal(model[name], sent[name]) and model[name].dtype == sent[name].dtype for name in sent)
    assert torch.equal(more["w"], torch.ones(1))


def test_replies_travel_as_they_are():
    reply = Reply(3, {"w": torch.ones(2)}, 40, 80, 0.25, {"s": torch.ones(1, dtype=torch.float64)})
    found = unpack_reply(pack_reply(reply), CPU)
    assert replace(found, tensors={}, answer={}) == replace(reply, tensors={}, answer={})
    assert torch.equal(found.tensors["w"], reply.tensors["w"])
    assert torch.equal(found.answer["s"], reply.answer["s"])
    assert unpack_reply(pack_reply(Reply(1, error="it broke")), CPU) == Reply(1, error="it broke")


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["fot", "fot_authors"])
def test_the_engines_agree(tmp_path, rule):
    """The same model after the same rounds: the same matrix, losses to float tolerance, the same bytes."""
    options = (f"federated/server={rule}", "federated.clients=3", "scenario.n_tasks=2")
    local, flower = (
        run(federated_spec(*options, f"runner.federated={engine}", folder=tmp_path / engine)) for engine in ("local", "flower")
    )
    assert flower.id == local.id
    assert flower.result["matrix"] == local.result["matrix"]
    for ours, theirs in zip(flower.result["curves"]["loss"], local.result["curves"]["loss"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    assert flower.cost["bytes_sent"] == local.cost["bytes_sent"]


class Node:
    """A grid of one node that answers at once, in this process; or says that it failed."""

    def __init__(self, answer):
        self.answer, self.sent = answer, {}

    def get_node_ids(self):
        return [11]

    def push_messages(self, messages):
        for number, message in enumerate(messages):
            self.sent[f"m{len(self.sent)}{number}"] = message
        return list(self.sent)[-1:]

    def pull_messages(self, ids):
        return [found for id in ids if (found := self.answer(id, self.sent[id])) is not None]


@pytest.fixture
def within_a_run(monkeypatch):
    """Flower makes messages only within a run; here they are only carried."""
    import clbench.flower.grid_transport as module

    class Carried:
        def __init__(self, content, dst_node_id, message_type, group_id):
            self.content, self.node = content, dst_node_id

    monkeypatch.setattr(module, "Message", Carried)


class Told:
    def __init__(self, id, content=None, reason=None):
        self.content = content
        self.metadata = type("M", (), {"reply_to_message_id": id, "src_node_id": 11})
        self.error = type("E", (), {"reason": reason})

    def has_error(self):
        return self.content is None


def transport(folder, answer, timeout=5.0, *options):
    _, training = ready(federated_spec("federated.clients=2", "scenario.n_tasks=2", *options, folder=folder))
    clients = training.clients
    return training, GridTransport(Node(answer), clients, federated_spec(folder=folder), timeout)


def test_a_node_that_fails_is_a_reply_that_says_so(tmp_path, within_a_run):
    training, grid = transport(tmp_path, lambda id, message: Told(id, reason="boom   at line 3"))
    task = training.learner.stream.tasks[0]
    training.clients.begin(task)
    (reply,) = grid.train(task, 0, {}, [], {1: 1.0}, None)
    assert reply == Reply(1, error="its node failed: boom at line 3", node="11")


def test_a_node_that_is_gone_is_a_reply_that_says_so(tmp_path, within_a_run):
    training, grid = transport(tmp_path, lambda id, message: None, 0.05)
    task = training.learner.stream.tasks[0]
    (reply,) = grid.train(task, 0, {}, [], {0: 1.0}, None)
    assert reply == Reply(0, error="no answer within 0.05 s", node="11")


def test_a_run_outlives_a_client_that_breaks(tmp_path, within_a_run):
    """Client 1 raises in every round, client 0 trains in this process; the run ends, and says what happened."""
    told: list[str] = []
    spec = federated_spec("federated.clients=2", "scenario.n_tasks=2", folder=tmp_path)
    prepared, training = ready(spec, told)
    clients = training.clients

    def answer(id, message):
        about, down, _ = unpack(message.content, CPU, FIELDS["train"])
        if about["client"] == 1:
            return Told(id, reason="ValueError: broken data")
        task = prepared.stream.tasks[about["task"]]
        reply = clients.train(0, task, about["round"], down, about["names"], about["work"])
        return Told(id, pack_reply(reply))

    training.transport = GridTransport(Node(answer), clients, spec, 5.0)
    record = prepared.run()
    assert record.result["diagnostics"][0]["federated"]["rejected"] == {"its node failed: ValueError: broken data": 2}
    assert any("client 1 (node 11) is left out of round 0 of task 0" in text for text in told)
    assert json.loads(json.dumps(record.result)) == record.result


@pytest.mark.parametrize("method", ["ewc", "er", "lwf"])
def test_methods_that_keep_something_at_clients_are_refused(tmp_path, method):
    _, training = ready(federated_spec(method=method, folder=tmp_path))
    with pytest.raises(RefusedError, match=r"runner\.federated=local"):
        GridTransport(Node(None), training.clients, federated_spec(folder=tmp_path), 1.0)


def test_the_engine_is_named_and_no_part_of_what_a_run_is(tmp_path):
    with pytest.raises(ConfigError, match=r"runner\.federated='carrier'"):
        federated_spec("runner.federated=carrier")
    assert federated_spec("runner.federated=flower").id == federated_spec().id
