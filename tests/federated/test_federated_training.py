"""Federated training: what it must equal, what it counts, what it survives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clbench.errors import ConfigError, DivergedError, RefusedError
from clbench.federated.messages import Reply
from clbench.runner.execute import thread_limit
from clbench.testing.make_run import make_spec, run
from tests.federated.common import SMALL, Broken, federated_spec, model, ready

ALONE = ("federated.clients=1", "federated.rounds=3")


@pytest.mark.parametrize("setting", ["task", "class"])
@pytest.mark.parametrize("model_options", [(), ("model.dropout=0.2",)])
def test_one_client_is_central_training(tmp_path, setting, model_options):
    common = ("scenario.n_tasks=5", f"scenario.setting={setting}", *model_options)
    central = run(make_spec("naive", [*common, "trainer.epochs=3"], results_dir=tmp_path / "central"))
    alone = run(federated_spec(*ALONE, f"scenario.setting={setting}", *model_options, folder=tmp_path / "alone"))
    assert alone.result["matrix"] == central.result["matrix"]
    assert alone.result["curves"] == central.result["curves"]


def test_one_client_of_several_passes_a_round_is_central_training(tmp_path):
    central = run(make_spec("naive", ["scenario.n_tasks=5", "scenario.setting=task", "trainer.epochs=4"], results_dir=tmp_path))
    options = ("federated.clients=1", "federated.rounds=2", "federated.local_epochs=2", "trainer.epochs=2")
    assert run(federated_spec(*options, folder=tmp_path)).result["matrix"] == central.result["matrix"]


@pytest.mark.parametrize("method", ["ewc", "lwf", "gpm", "er"])
def test_one_client_keeps_its_method(tmp_path, method):
    """EWC's Fisher information, LwF's teacher, GPM's bases and replay are those of central training."""
    central = run(make_spec(method, ["scenario.n_tasks=5", "scenario.setting=task", "trainer.epochs=1"], results_dir=tmp_path))
    alone = run(federated_spec("federated.clients=1", "federated.rounds=1", method=method, folder=tmp_path / "alone"))
    ours, theirs = (torch.tensor(record.result["matrix"]) for record in (alone, central))
    most = 2 if method == "gpm" else 0  # samples: GPM projects at the inputs in the one, the step in the other
    assert (ours - theirs).abs().max() <= most


def test_the_next_model_is_the_mean_weighted_by_samples(tmp_path):
    prepared, training = ready(federated_spec("federated.rounds=1", folder=tmp_path, partition="shards"))
    replies: list[Reply] = []
    training.transport = Broken(training.transport, lambda round, reply: replies.append(reply) or reply)
    task = prepared.stream.tasks[0]
    training.learn(task)
    sizes = [len(positions) for positions in task.clients]
    assert [reply.samples for reply in replies] == sizes
    assert sum(sizes) == len(task.train)
    found = model(prepared)
    for name in replies[0].tensors:
        mean = sum(reply.samples * reply.tensors[name].double() for reply in replies) / sum(sizes)
        assert torch.equal(found[name], mean.float())


def test_uniform_weights(tmp_path):
    prepared, training = ready(federated_spec("federated.rounds=1", "federated.server.weighting=uniform", folder=tmp_path))
    replies: list[Reply] = []
    training.transport = Broken(training.transport, lambda round, reply: replies.append(reply) or reply)
    training.learn(prepared.stream.tasks[0])
    name = "backbone.layers.0.weight" if "backbone.layers.0.weight" in replies[0].tensors else next(iter(replies[0].tensors))
    assert torch.equal(model(prepared)[name], (sum(reply.tensors[name].double() for reply in replies) / 4).float())


def test_a_dropped_client_changes_weights_and_nothing_else(tmp_path):
    """Without client 2 the model is what the three others make of it, as if it were not there."""
    prepared, training = ready(federated_spec("federated.rounds=1", folder=tmp_path))
    kept: list[Reply] = []

    def drop(round: int, reply: Reply) -> Reply | None:
        if reply.client == 2:
            return Reply(2, error="it hung up")
        kept.append(reply)
        return reply

    training.transport = Broken(training.transport, drop)
    training.learn(prepared.stream.tasks[0])
    total = sum(reply.samples for reply in kept)
    for name, value in model(prepared).items():
        if name in kept[0].tensors:
            assert torch.equal(value, (sum(r.samples * r.tensors[name].double() for r in kept) / total).float())
    assert training.diagnostics()["federated"]["rejected"] == {"it hung up": 1}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: {**t, next(iter(t)): next(iter(t.values())) * float("nan")}, "not finite"),
        (lambda t: {**t, next(iter(t)): torch.zeros(3, 3)}, "has the shape [3, 3]"),
        (lambda t: {name: value for name, value in t.items() if name != next(iter(t))}, "it lacks"),
        (lambda t: {**t, "extra": torch.zeros(1)}, "nobody asked for"),
        (lambda t: {**t, next(iter(t)): next(iter(t.values())).long()}, "is torch.int64"),
    ],
)
def test_a_broken_reply_is_left_out_and_told(tmp_path, spoil, said):
    told: list[str] = []
    prepared, training = ready(federated_spec(folder=tmp_path), told)
    training.transport = Broken(
        training.transport, lambda round, reply: replace(reply, tensors=spoil(reply.tensors)) if reply.client == 1 else reply
    )
    record = prepared.run()
    assert all(torch.isfinite(value).all() for value in model(prepared).values())
    (wrong, times), *_ = record.result["diagnostics"][0]["federated"]["rejected"].items()
    assert said in wrong
    assert times == 2  # rounds
    assert any("client 1 is left out" in text and said in text for text in told)


def test_a_round_without_replies_leaves_the_model(tmp_path):
    prepared, training = ready(federated_spec(folder=tmp_path))
    training.transport = Broken(training.transport, lambda round, reply: None)
    before = model(prepared)
    training.learn(prepared.stream.tasks[0])
    assert all(torch.equal(value, before[name]) for name, value in model(prepared).items())
    assert training.diagnostics()["federated"]["idle_rounds"] == 2


def test_all_clients_diverging_is_an_error_that_names_the_rate(tmp_path):
    with pytest.raises(DivergedError, match=r"optimizer.lr=1000000000000.0"):
        run(federated_spec("optimizer.lr=1e12", folder=tmp_path))


def test_bytes_are_those_of_the_tensors_sent(tmp_path):
    prepared, training = ready(federated_spec("federated.participation=0.5", "federated.rounds=3", folder=tmp_path))
    seen = {"down": 0, "up": 0}
    inner = training.transport.train

    def train(task, round, down, names, work, rider):
        seen["down"] += len(work) * sum(tensor.nbytes for tensor in down.values())
        for reply in inner(task, round, down, names, work, rider):
            seen["up"] += sum(tensor.nbytes for tensor in reply.tensors.values())
            yield reply

    training.transport.train = train
    record = prepared.run()
    assert training.sent == seen
    assert record.cost["bytes_sent"] == sum(seen.values())
    body = sum(p.numel() for p in prepared.learner.model.backbone.parameters())
    head = sum(p.numel() for p in prepared.learner.model.heads[0].parameters())
    assert seen["up"] == 5 * 3 * 2 * 4 * (body + head)  # tasks, rounds, clients, bytes of a float
    assert seen["down"] == 3 * 2 * 4 * sum(body + met * head for met in range(1, 6))  # and the heads met so far come down


def test_resuming_is_bit_equal(tmp_path):
    for method in ("naive", "ewc", "lwf", "er"):
        spec = federated_spec("federated.participation=0.5", method=method, folder=tmp_path / method)
        whole = run(replace(spec, results_dir=str(tmp_path / f"{method}_whole")))
        prepared, _ = ready(spec)
        with thread_limit(spec.execution.threads):
            prepared.begin()
            prepared._measure("untrained", -1, None)
            for task in prepared.tasks[:2]:
                prepared.training.learn(task)
                prepared.learned()
                prepared._measure("task", task.index, None)
                prepared.save(task)
        resumed = run(spec)
        assert resumed.result == whole.result
        assert resumed.cost["bytes_sent"] == whole.cost["bytes_sent"]
        assert resumed.cost["method_state_bytes"] == whole.cost["method_state_bytes"]


def test_clients_differ_in_what_they_draw(tmp_path):
    """Two clients with the same number of samples go through them in different orders, the same one every time."""
    prepared, training = ready(federated_spec(folder=tmp_path))
    clients, orders = training.clients, []
    for client in (0, 1, 1):
        with clients.acting(client) as own:
            own.start(clients.share(client, prepared.stream.tasks[0]))
            orders.append(prepared.learner.generator("batches", 0).get_state())
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[1], orders[2])


def test_what_is_measured_within_a_task_goes_by_rounds(tmp_path):
    record = run(federated_spec("eval.every=2", "federated.rounds=4", folder=tmp_path))
    assert [e["step"] for e in record.result["events"] if e["kind"] == "within"] == [2, 4] * 5


def test_rounds_by_task(tmp_path):
    record = run(federated_spec("federated.rounds=[3,1]", folder=tmp_path))
    assert [len(losses) for losses in record.result["curves"]["loss"]] == [3, 1, 1, 1, 1]


def test_the_record_says_who_owns_what(tmp_path):
    record = run(federated_spec(partition="shards", folder=tmp_path))
    counts = torch.tensor([[[int(n) for n in text.split()] for text in task] for task in record.result["partition"]])
    assert counts.shape == (5, 4, 2)
    assert 2 * counts.sum() == record.cost["samples"]  # all are there, and were passed over in each of two rounds
    assert (counts == 0).any()  # shards: some client lacks a class
    assert "partition" not in run(make_spec("naive", SMALL[:1], results_dir=tmp_path)).result


@pytest.mark.parametrize("method", ["joint", "icarl", "trgp", "ncm"])
def test_methods_that_cannot_be_a_clients_are_refused(tmp_path, method):
    options = () if method != "ncm" else ("scenario.setting=class",)
    with pytest.raises(RefusedError):
        run(federated_spec(*options, method=method, folder=tmp_path))


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["trainer.epochs=7"], "trainer.epochs=7"),
        (["trainer.iterations=7"], "trainer.iterations=7"),
        (["scenario.online=true"], "scenario.online=true"),
        (["optimizer.carry=true"], "optimizer.carry=true"),
        (["federated.clients=0"], "federated.clients=0"),
        (["federated.participation=1.5"], "federated.participation=1.5"),
        (["federated.rounds=[]"], "federated.rounds"),
        (["federated.server.weighting=median"], "federated.server.weighting"),
        (["federated.clients=5000"], "federated.clients=5000"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(tmp_path, overrides, named):
    def attempt() -> None:
        run(replace(make_spec("naive", ["+federated=iid", *overrides]), results_dir=str(tmp_path)))

    with pytest.raises(ConfigError) as raised:
        attempt()
    assert named in str(raised.value)


def test_names_and_variant(tmp_path):
    spec = federated_spec("federated.dropout=0.1", folder=tmp_path)
    assert spec.identity["names"]["server"] == "fedavg"
    assert "dropout=0.1" in spec.variant
    assert "fedavg" not in spec.variant
    shorter = federated_spec("federated.local_iterations=3", folder=tmp_path)
    assert shorter.variant.count("iterations") == 1
    assert "local_iterations=3" in shorter.variant
    assert "server" not in make_spec("naive", []).identity["names"]


def test_failing_and_slow_clients_are_counted_and_survived(tmp_path):
    options = ("federated.dropout=0.5", "federated.stragglers=0.5", "federated.rounds=6")
    record = run(federated_spec(*options, folder=tmp_path))
    assert sum(each["federated"]["failed"] for each in record.result["diagnostics"]) > 10
    assert record.cost["samples"] < 5 * 6 * 4 * 72 * 0.75
