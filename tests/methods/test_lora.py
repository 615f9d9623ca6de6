"""Low-rank adapters, one for all tasks or one for each: trained parameters, frozen ones, outputs."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from clbench.engine.optimizers import SGD
from clbench.engine.training.loop import Training
from clbench.errors import ConfigError, RefusedError
from clbench.instantiate import instantiate
from clbench.methods.compose import Compose
from clbench.methods.er import ER
from clbench.methods.ewc import EWC
from clbench.methods.gdumb import GDumb
from clbench.methods.joint import Cumulative
from clbench.methods.lwf import LwF
from clbench.methods.naive import Naive
from clbench.testing import check_method
from clbench.testing.method_checks import check_resumes
from tests.methods.shipped import shipped, values
from tests.streams import blob_stream, learn, learner_for, same, trainer, weights

pytest.importorskip("peft")
GENTLE = ("optimizer.lr=0.02",)


def lora(name, **changes):
    return shipped(name, **{"rank": 2, "alpha": 4.0, "dropout": 0.0} | changes)


def strong():
    """Return an optimiser with large steps and weight decay, which moves everything that is not frozen."""
    return SGD(0.05, momentum=0.9, weight_decay=0.01)


@pytest.mark.parametrize("name", ["seq_lora", "inc_lora"])
def test_what_the_suite_promises_of_a_method(name):
    check_method(name, GENTLE)


@pytest.mark.parametrize(("name", "changes"), [("seq_lora", []), ("inc_lora", []), ("inc_lora", ["method.past=apart"])])
def test_it_resumes_where_the_first_task_trains_the_network(name, changes):
    check_resumes(name, [*GENTLE, "method.base=first_task", *changes], ())


@pytest.mark.parametrize("name", ["ewc_lora", "replay_lora", "lwf_lora"])
def test_what_the_suite_promises_of_compositions(name):
    check_method(name, [*GENTLE, "scenario.n_tasks=2"])


@pytest.mark.parametrize("setting", ["task", "class"])
@pytest.mark.parametrize(
    ("name", "changes"), [("seq_lora", {}), ("inc_lora", {"past": "apart"}), ("inc_lora", {"past": "folded"})]
)
def test_the_network_below_stands_still(name, changes, setting):
    """Under momentum and weight decay; folded adapters excepted, whose sum is what was added."""
    stream = blob_stream(setting)
    learner = learner_for(stream, optimizer=strong())
    start = weights(learner)
    method = lora(name, **changes)
    learn(method, stream, learner)
    for layer, parameter in (("layers.0", "weight"), ("layers.0", "bias")):
        expected = start[f"backbone.{layer}.{parameter}"]
        now = learner.parameters[f"backbone.{layer}.base_layer.{parameter}"]
        if changes.get("past") == "folded" and parameter == "weight":
            a, b = method.kept[layer]
            torch.testing.assert_close(now, expected + 2.0 * b @ a)
            assert not torch.equal(now, expected)
        else:
            assert torch.equal(now, expected)
    assert not torch.equal(weights(learner)["heads.0.weight"], start["heads.0.weight"])


def test_normalisation_stands_still_too():
    stream = blob_stream()
    learner = learner_for(stream, optimizer=strong())
    learner.model.backbone = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU())
    start = weights(learner)
    learn(lora("inc_lora"), stream, learner)
    for name, value in weights(learner).items():
        if name.startswith("backbone.2."):
            assert torch.equal(value, start[name]), name


def test_earlier_adapters_are_bit_identical_after_later_tasks():
    stream, ends = blob_stream(), []
    method = lora("inc_lora", past="apart")
    learner = learner_for(stream, optimizer=strong(), hidden=(16, 12))

    def note(task, learner):
        factors = method._adapters.factors(method.names[-1])
        ends.append({layer: (a.detach().clone(), b.detach().clone()) for layer, (a, b) in factors.items()})

    learn(method, stream, learner, after=note)
    past = method._past()
    for task in (0, 1):
        rows = slice(2 * task, 2 * task + 2)
        for layer, (a, b) in ends[task].items():
            assert bool(b.any())
            assert torch.equal(past[layer][0][rows], a)
            assert torch.equal(past[layer][1][:, rows], b)


@pytest.mark.parametrize("past", ["apart", "folded"])
def test_an_adapter_that_is_added_changes_no_output(past):
    stream = blob_stream("task")
    method = lora("inc_lora", past=past)
    learner, _ = learn(method, stream, tasks=2)
    inputs = learner.batch(stream.tasks[0].train, torch.arange(9)).inputs
    learner.model.eval()
    before = [learner.logits(inputs, head).detach() for head in (0, 1)]
    learner.start(2)
    method.begin_task(learner, stream.tasks[2])
    learner.model.eval()
    for head, logits in enumerate(before):
        torch.testing.assert_close(learner.logits(inputs, head).detach(), logits, rtol=1e-5, atol=1e-5)
    for _, b in method._adapters.factors("task2").values():
        assert not bool(b.any())


def test_apart_and_folded_are_the_same():
    stream = blob_stream("task")
    apart, rows = learn(lora("inc_lora", past="apart"), stream, learner_for(stream, hidden=(16, 12)))
    folded, others = learn(lora("inc_lora", past="folded"), stream, learner_for(stream, hidden=(16, 12)))
    inputs = apart.batch(stream.tasks[0].train, torch.arange(30)).inputs
    apart.model.eval()
    folded.model.eval()
    for head in range(3):
        torch.testing.assert_close(apart.logits(inputs, head), folded.logits(inputs, head), rtol=1e-5, atol=1e-5)
    assert rows == others


def test_all_start_alike():
    stream = blob_stream()
    learners = [learn(lora(name), stream, tasks=1)[0] for name in ("seq_lora", "inc_lora", "olora")]
    assert same(weights(learners[0]), weights(learners[1]))
    assert same(weights(learners[0]), weights(learners[2]))


def test_one_adapter_goes_on_learning():
    stream, ends = blob_stream(), []
    learn(lora("seq_lora"), stream, after=lambda task, learner: ends.append(weights(learner)))
    for before, after in pairwise(ends):
        assert before.keys() == after.keys()
        for factor in "AB":
            name = f"backbone.layers.0.lora_{factor}.task0.weight"
            assert not torch.equal(before[name], after[name])


@pytest.mark.parametrize("name", ["seq_lora", "inc_lora"])
def test_the_first_task_may_train_the_network(name):
    stream = blob_stream()
    plain, _ = learn(Naive(), stream, tasks=1)
    learner, _ = learn(lora(name, base="first_task"), stream, tasks=1)
    assert same(weights(plain), weights(learner))
    method = lora(name, base="first_task", **({} if name == "seq_lora" else {"past": "apart"}))
    learner, _ = learn(method, stream)
    assert method.names == (["task1"] if name == "seq_lora" else ["task1", "task2"])
    assert torch.equal(learner.parameters["backbone.layers.0.base_layer.weight"], plain.parameters["backbone.layers.0.weight"])


@pytest.mark.parametrize("past", ["apart", "folded"])
def test_dropout_leaves_earlier_adapters_alone(past):
    """A new adapter adds nothing yet, so that any change in training mode would come from the earlier ones."""
    stream = blob_stream("task")
    method = lora("inc_lora", past=past, dropout=0.5)
    learner, _ = learn(method, stream, tasks=2)
    inputs = learner.batch(stream.tasks[0].train, torch.arange(9)).inputs
    learner.train()
    assert not torch.equal(learner.logits(inputs, 0), learner.logits(inputs, 0))  # the newest one's own
    learner.start(2)
    method.begin_task(learner, stream.tasks[2])
    learner.train()
    assert torch.equal(learner.logits(inputs, 0), learner.logits(inputs, 0))
    assert any(isinstance(module, nn.Dropout) and module.p == 0.5 for module in learner.model.modules())


def test_the_record_says_how_large_and_how_near():
    stream = blob_stream("task")
    method = lora("inc_lora")
    learn(method, stream, tasks=1)
    own = 4 * 2 * (16 + 16)
    assert method.diagnostics() == {"adapter_bytes": own, "trainable_parameters": 2 * 32 + 2 * 16 + 2}
    found = []
    for past in ("apart", "folded"):
        method = lora("inc_lora", past=past)
        learn(method, stream)
        found.append(method.diagnostics())
        assert found[-1]["adapter_bytes"] == 3 * own
        assert 0 < found[-1]["cosine_mean"]["mean"] <= found[-1]["cosine_max"]["max"] <= 1
    assert found[0]["cosine_max"]["max"] == pytest.approx(found[1]["cosine_max"]["max"], rel=1e-4)


def test_beside_a_penalty_replay_and_distillation():
    """Each part has an effect, and the network below does not change."""
    stream, start = blob_stream(), weights(learner_for(blob_stream()))
    alone, _ = learn(lora("seq_lora"), stream)
    for other in (EWC(50.0, "offline", 1.0, "exact", None), ER(30, 8, "reservoir"), LwF(1.0, 2.0, False, False)):
        for order in (("seq_lora", "other"), ("other", "seq_lora")):
            parts = {"seq_lora": lora("seq_lora"), "other": other}
            learner, _ = learn(Compose({name: parts[name] for name in order}), stream)
            assert not same(weights(alone), weights(learner))
            base = learner.parameters["backbone.layers.0.base_layer.weight"]
            assert torch.equal(base, start["backbone.layers.0.weight"])


def test_a_kept_model_with_adapters_comes_back_whatever_the_order():
    stream = blob_stream()
    for order in (("lora", "lwf"), ("lwf", "lora")):
        parts = {"lora": lambda: lora("inc_lora"), "lwf": lambda: LwF(1.0, 2.0, False, False)}
        method = Compose({name: parts[name]() for name in order})
        learner, _ = learn(method, stream, tasks=2)
        twin, fresh = Compose({name: parts[name]() for name in order}), learner_for(stream)
        twin.setup(fresh, stream)
        fresh.start(1)
        twin.load_state(fresh, method.state())
        fresh.model.load_state_dict(learner.model.state_dict())
        inputs = learner.batch(stream.tasks[0].train, torch.arange(8)).inputs
        assert torch.equal(twin.parts["lwf"].teacher.logits(inputs), method.parts["lwf"].teacher.logits(inputs))
        assert fresh.trainable()[0] == learner.trainable()[0]


@pytest.mark.parametrize(
    "bad", [{"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"base": "thawed"}, {"targets": "some"}, {"past": "gone"}]
)
def test_bad_values_are_refused_by_name(bad):
    with pytest.raises(ConfigError, match=f"method.{next(iter(bad))}"):
        instantiate(values("inc_lora") | bad, "method")


@pytest.mark.parametrize("setting", ["task", "class"])
def test_learning_anew_starts_from_the_adapter_as_it_was_drawn(setting):
    """The network below, the heads and the adapter: what a first task that saw everything would have started from."""
    stream = blob_stream(setting)
    fresh, method = learner_for(stream), lora("seq_lora")
    method.setup(fresh, stream)
    method.begin_task(fresh, stream.tasks[0])
    start = weights(fresh)
    learner, _ = learn(lora("seq_lora"), stream, learner_for(stream, optimizer=strong()))
    assert not same(weights(learner), start)
    learner.reset_model()
    assert same(weights(learner), start)
    assert all(p.requires_grad == ("lora" in name) for name, p in learner.parameters.items() if name.startswith("backbone."))


def test_cumulative_with_a_reset_beside_an_adapter_ends_where_the_last_task_alone_on_all_data_does():
    stream = blob_stream()
    anew, _ = learn(Compose({"lora": lora("seq_lora"), "all": Cumulative(True)}), stream)
    warm, _ = learn(Compose({"lora": lora("seq_lora"), "all": Cumulative(False)}), stream)
    once = learner_for(stream)
    method = Compose({"lora": lora("seq_lora"), "all": Cumulative(True)})
    method.setup(once, stream)
    training = Training(once, method, trainer())
    once.start(0)
    method.begin_task(once, stream.tasks[0])
    training.learn(stream.tasks[2])
    assert same(weights(anew), weights(once))
    assert not same(weights(warm), weights(once))


def test_gdumb_and_cumulative_beside_an_adapter_resume():
    for part in ("gdumb", "cumulative"):
        check_resumes("compose", [*GENTLE, "+method@method.parts.lora=seq_lora", f"+method@method.parts.all={part}"], ())


@pytest.mark.parametrize("start", [GDumb(30), Cumulative(True)])
@pytest.mark.parametrize(
    ("name", "changes"), [("inc_lora", {}), ("olora", {}), ("seq_lora", {"base": "first_task"}), ("inc_lora", {"past": "apart"})]
)
def test_starting_anew_beside_what_earlier_tasks_left_is_refused(name, changes, start):
    with pytest.raises(RefusedError, match=r"start returns the model to its initial weights .* lora keeps"):
        Compose({"lora": lora(name, **changes), "start": start})
    Compose({"lora": lora(name, **changes), "start": Cumulative(False)})
