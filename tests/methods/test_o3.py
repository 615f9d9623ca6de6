"""O3: the network below never moves, detectors weight the adapters, and resumed runs are the same."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("peft")

from clbench.engine.evaluation.accuracy import evaluate
from clbench.engine.training.loop import Training
from clbench.errors import ConfigError
from clbench.methods.naive import Naive
from tests.methods.shipped import shipped, values
from tests.methods.test_unlearning import stream_of
from tests.streams import Blobs, learn, learner_for, same, trainer, weights

REQUESTS = ({"classes": [1]}, {"classes": [4]})


def o3(name="o3", weighting=None, **changes):
    node = copy.deepcopy(values("o3"))
    if name == "o3_authors":
        own = values(name)
        node |= {key: own[key] for key in ("adapters", "labels")}
        for part, said in own["detector"].items():
            node["detector"][part] = node["detector"][part] | said if isinstance(said, dict) else said
    node["detector"]["weighting"] |= weighting or {}
    return shipped("o3", **(node | {"lr": 0.05, "dropout": 0.0} | changes))


def met(requests=REQUESTS, tasks=None, name="o3", per_class=40, **changes):
    """Return (method, learner, rows) after all requests."""
    stream = stream_of(requests, datasets={"blobs": Blobs(per_class=per_class)})
    method = o3(name, **changes)
    learner, rows = learn(method, stream, tasks=tasks, how=trainer(epochs=6))
    return method, learner, rows


def inputs_of(learner, n=30):
    split = learner.stream.tasks[0].train
    return learner.batch(split, torch.arange(0, len(split), len(split) // n)).inputs


def base(weights):
    return {name.replace(".base_layer", ""): value for name, value in weights.items() if ".lora_" not in name}


@pytest.mark.parametrize("name", ["o3", "o3_authors"])
def test_without_requests_bitwise_the_base(name):
    stream = stream_of(())
    learner, rows = learn(o3(name), stream)
    plain, expected = learn(Naive(), stream)
    assert rows == expected
    assert same(weights(learner), weights(plain))


@pytest.mark.parametrize("name", ["o3", "o3_authors"])
def test_requests_leave_the_network_and_its_head_as_they_were(name):
    _, learner, _ = met(name=name)
    plain, _ = learn(Naive(), stream_of(REQUESTS), how=trainer(epochs=6))
    assert same(base(weights(learner)), weights(plain))


def test_weight_nothing_is_the_base_bitwise_and_weight_one_the_plain_adapter():
    method, learner, _ = met()
    x = inputs_of(learner)
    learner.model.eval()
    plain = learn(Naive(), stream_of(REQUESTS), how=trainer(epochs=6))[0]
    plain.model.eval()
    with torch.no_grad():
        with method.loaded(torch.zeros(len(x), 2)):
            assert torch.equal(learner.logits(x), plain.logits(x))
        with method.loaded(torch.tensor([[0.0, 1.0]]).expand(len(x), 2)):
            loaded = learner.logits(x)
        method._adapters.act(["request2"])
        assert torch.allclose(loaded, learner.logits(x), atol=1e-6)
        assert not torch.allclose(loaded, plain.logits(x), atol=1e-2)


def test_the_weight_of_each_sample_is_its_own():
    method, learner, _ = met()
    x = inputs_of(learner)
    learner.model.eval()
    mixed = torch.zeros(len(x), 2)
    mixed[::2, 0] = 1
    with torch.no_grad(), method.loaded(mixed):
        both = learner.logits(x)
    with torch.no_grad(), method.loaded(torch.zeros(len(x), 2)):
        off = learner.logits(x)
    with torch.no_grad(), method.loaded(torch.tensor([[1.0, 0.0]]).expand(len(x), 2)):
        on = learner.logits(x)
    assert torch.allclose(both[::2], on[::2], atol=1e-6)
    assert torch.allclose(both[1::2], off[1::2], atol=1e-6)


def test_the_penalty_is_nothing_only_where_all_products_are():
    method, learner, _ = met(tasks=2)
    task = learner.stream.tasks[2]
    training = Training(learner, method, trainer())
    training.begin(task)
    overlap = method.overlap(learner)
    assert float(overlap.detach()) > 0
    old, new = (method._adapters.factors(name) for name in ("request1", "request2"))
    expected = sum(float((old[layer][0] @ new[layer][0].mT).detach().square().sum()) for layer in old) / len(old)
    assert float(overlap.detach()) == pytest.approx(expected, rel=1e-5)
    overlap.backward()
    assert all(a.grad is None for a, _ in old.values())
    assert all(float(a.grad.abs().max()) > 0 for a, _ in new.values())
    with torch.no_grad():
        for layer, (a, _) in new.items():
            basis = torch.linalg.svd(old[layer][0]).Vh
            a.copy_(torch.zeros_like(a))
            a[: min(len(a), a.shape[1] - len(old[layer][0]))] = basis[len(old[layer][0]) :][: len(a)]
    assert float(method.overlap(learner).detach()) == pytest.approx(0, abs=1e-8)


def test_a_greater_strength_holds_adapters_further_apart():
    overlaps = [met(strength=strength)[0].diagnostics()["overlap"] for strength in (0.0, 1.0)]
    assert overlaps[1] < 0.5 * overlaps[0]


def test_classes_are_forgotten_and_the_rest_is_not():
    _, learner, rows = met(per_class=160, lr=0.2, weighting={"offset": 0.0, "sharpness": 40.0})
    found = {(c.role, c.request): rows[-1][i] / len(c.split) for i, c in enumerate(learner.stream.evaluation)}
    before = {(c.role, c.request): rows[0][i] / len(c.split) for i, c in enumerate(learner.stream.evaluation)}
    assert before[("forget_test", 1)] == before[("forget_test", 2)] == 1
    assert found[("forget_test", 1)] < 0.5
    assert found[("forget_test", 2)] < 0.5
    assert found[("retain", None)] > 0.95


def test_other_labels_are_never_right():
    stream = stream_of(REQUESTS)
    learner, method = learner_for(stream), o3()
    method.setup(learner, stream)
    training = Training(learner, method, trainer())
    training.learn(stream.tasks[0])
    task = stream.tasks[1]
    training.begin(task)
    seen = []
    method.fit(learner, task, lambda split, epochs: seen.append((split.labels, epochs)), ())
    assert seen[0][1] == 15
    assert set(seen[0][0].tolist()) == {0, 2, 3, 4, 5}


def test_the_detectors_tell_requests_from_the_rest_on_test_samples():
    method, learner, _ = met()
    learner.model.eval()
    for place, request in enumerate(learner.stream.requests):
        own = next(c for c in learner.stream.evaluation if (c.role, c.request) == ("forget_test", request.index))
        rest = next(c for c in learner.stream.evaluation if c.role == "retain")
        h = [
            method.forget_score(learner, learner.batch(c.split, torch.arange(len(c.split))).inputs)[:, place] for c in (own, rest)
        ]
        assert float((h[0].unsqueeze(1) > h[1]).float().mean()) > 0.9


@pytest.mark.parametrize("name", ["o3", "o3_authors"])
def test_a_restored_method_answers_bitwise_the_same(name):
    method, learner, _ = met(name=name)
    stream, x = learner.stream, inputs_of(learner)
    learner.model.eval()
    state, kept = copy.deepcopy(method.state()), weights(learner)
    again, other = o3(name), learner_for(stream)
    again.setup(other, stream)
    again.load_state(other, state)
    other.model.load_state_dict(kept)
    other.start(stream.tasks[-1].index)
    other.model.eval()
    with torch.no_grad():
        assert torch.equal(again.predict(other, x, None), method.predict(learner, x, None))
    assert [name for name, p in other.model.named_parameters() if p.requires_grad] == [
        name for name, p in learner.model.named_parameters() if p.requires_grad
    ]


def test_what_is_learned_after_a_request_is_learned_by_the_network_alone():
    requests = [{"classes": [1], "after": 0}]
    stream = stream_of(requests, n_tasks=2)
    kinds = [task.kind for task in stream.tasks]
    assert kinds == ["learn", "forget", "learn"]
    learner, _ = learn(o3(), stream)
    plain, _ = learn(Naive(), stream_of(requests, n_tasks=2))
    assert same(base(weights(learner)), weights(plain))


def test_more_requests_cost_one_more_look_each():
    """Detectors and adapters grow with requests, and only linearly: one pass through the encoder for each."""
    method, learner, _ = met(requests=({"classes": [1]}, {"classes": [4]}, {"classes": [2]}))
    calls = []
    method.detector._encoder.register_forward_hook(lambda *_: calls.append(1))
    learner.model.eval()
    x = inputs_of(learner)
    method.predict(learner, x, None)
    assert len(calls) == 3
    method.predict(learner, x, None)
    assert len(calls) == 3, "the same inputs again are not looked at again"
    method.predict(learner, x + 1, None)
    assert len(calls) == 6


def test_a_request_of_few_samples_is_met():
    method, learner, _ = met(requests=({"samples": 3},))
    assert len(method.detector.boundaries) == 1
    assert torch.isfinite(method.predict(learner, inputs_of(learner), None)).all()


def test_a_detector_that_is_none_is_refused():
    with pytest.raises(ConfigError, match=r"method\.detector"):
        o3(detector=None)


def test_training_is_on_the_adapter_at_full_weight():
    """A request trains on the logits of the plain adapter, for every detector."""
    method, learner, _ = met(tasks=1)
    task = learner.stream.tasks[1]
    training = Training(learner, method, trainer())
    training.begin(task)
    moved: set[str] = set()

    def train(split, epochs):
        before = weights(learner)
        training.fit(split, 1)
        moved.update(name for name, value in weights(learner).items() if not torch.equal(value, before[name]))

    method.fit(learner, task, train, ())
    assert moved
    assert all(".lora_" in name and "request1" in name for name in moved)
    learner.train()
    batch = learner.batch(task.train, torch.arange(8))
    direct = learner.forward(batch)
    method._adapters.act(["request1"])
    assert torch.equal(direct, learner.forward(batch))
    method.end_task(learner, task, ())
    assert float(F.mse_loss(learner.forward(batch), direct).detach()) > 0


def test_evaluation_goes_through_the_detectors():
    method, learner, rows = met()
    loose, _ = [evaluate(learner, which, learner.stream.evaluation, 64) for which in (method, Naive())]
    assert [hit for hit, _ in loose] == rows[-1]
