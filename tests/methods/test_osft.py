"""OSFT: old singular directions are frozen with every optimiser; the rest trains."""

import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from clbench.engine.optimizers import SGD, Adam
from clbench.errors import ClbenchError, ConfigError, RefusedError
from clbench.method import Method
from clbench.methods.naive import Naive
from clbench.methods.osft import OSFT
from clbench.models.classifier import Classifier
from clbench.testing import check_method
from clbench.toolkit.svd_linear import FACTORS, FactoredLinear
from tests.methods.shipped import shipped, values
from tests.methods.test_gpm import OPTIMIZERS
from tests.streams import blob_stream, learn, learner_for, same, weights
from tests.tokens import token_learner, token_stream

HALF = {"schedule": "fixed", "fraction": 0.5}


class Watched(OSFT):
    """Looks at the factored layers at the start of each task and after every step (before the next, and at the end)."""

    def setup(self, learner, stream):
        super().setup(learner, stream)
        self._drifts, self._starts, self._kept = [], {}, []

    def begin_task(self, learner, task):
        super().begin_task(learner, task)
        self._starts = {name: copy.deepcopy(layer) for name, layer in self._svd_layers.items()}

    def look(self):
        for name, layer in self._svd_layers.items():
            start = self._starts[name]
            moved = (layer.dense() - start.dense()).detach()
            across = float((start.U_high.mT @ moved).abs().max()), float((moved @ start.V_high.mT).abs().max())
            self._drifts.append((max(across), float(moved.abs().max())))
            self._kept.append(all(torch.equal(getattr(layer, n), getattr(start, n)) for n in ("U_high", "S_high", "V_high")))

    def edit_update(self, learner, updates):
        self.look()
        super().edit_update(learner, updates)

    def end_task(self, learner, task, history):
        self.look()
        super().end_task(learner, task, history)


class Unprojected(Watched):
    def edit_update(self, learner, updates):
        self.look()


def watched(kind=Watched, optimizer="adamw", **changes):
    method = shipped("osft", kind, **(HALF | changes))
    stream = blob_stream("class")
    learn(method, stream, learner_for(stream, optimizer=OPTIMIZERS[optimizer](), hidden=(20, 20)))
    return method


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_step_moves_a_weight_along_what_is_retained(optimizer):
    method = watched(optimizer=optimizer)
    assert len(method._drifts) > 20
    assert max(drift for drift, _ in method._drifts) < 1e-5
    assert max(moved for _, moved in method._drifts) > 1e-3, "and yet it moves"
    assert all(method._kept), "the frozen factors are the same bits"


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_without_the_projection_it_does(optimizer):
    assert max(drift for drift, _ in watched(Unprojected, optimizer)._drifts) > 1e-3


def test_nor_is_projecting_the_gradient_enough_under_adam():
    class Gradient(Unprojected):
        def edit_gradients(self, learner, batch):
            OSFT.edit_update(self, learner, learner.gradients)

    assert max(drift for drift, _ in watched(Gradient, "adam")._drifts) > 1e-3
    assert max(drift for drift, _ in watched(Gradient, "sgd")._drifts) < 1e-5


def test_outputs_on_inputs_in_the_retained_span_do_not_change():
    seen = []

    class Ended(Watched):
        def end_task(self, learner, task, history):
            for name, layer in self._svd_layers.items():
                draws = torch.Generator().manual_seed(0)
                within = torch.randn(9, layer.rank, generator=draws) @ layer.V_high
                other = torch.randn(9, layer.in_features, generator=draws)
                with torch.no_grad():
                    moved = [layer(x) - layer.bias - self._starts[name](x) + self._starts[name].bias for x in (within, other)]
                seen.append([float(each.abs().max()) for each in moved])
            super().end_task(learner, task, history)

    method = shipped("osft", Ended, **HALF)
    stream = blob_stream("class")
    learn(method, stream, learner_for(stream, optimizer=Adam(0.01, (0.9, 0.999), 1e-8), hidden=(20, 20)))
    assert seen
    assert max(same for same, _ in seen) < 1e-5
    assert min(other for _, other in seen) > 1e-2


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert", "t5"])
def test_transformers_are_decomposed_without_a_change_and_every_factor_learns(kind):
    stream = token_stream()
    learner = token_learner(kind, stream)
    inputs, labels = stream.tasks[1].train.raw(), stream.tasks[1].train.labels
    method = shipped("osft", from_task=0, **HALF)
    method.setup(learner, stream)
    learner.model.eval()
    before, plain = learner.model(inputs).detach(), weights(learner)
    learner.start(0)
    method.begin_task(learner, stream.tasks[0])
    learner.model.eval()
    logits = learner.model(inputs)
    assert torch.allclose(logits, before, atol=1e-4)
    assert len(method._svd_layers) >= 2 * 4, sorted(method._svd_layers)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    for name in [f"backbone.{layer}.{factor}" for layer in method._svd_layers for factor in FACTORS]:
        if "pooler" in name:  # takes no part in the features
            continue
        (gradient,) = torch.autograd.grad(loss, learner.parameters[name], retain_graph=True)
        assert float(gradient.abs().max()) > 0, name
    method.end_task(learner, stream.tasks[0], ())
    back = weights(learner)
    assert back.keys() == plain.keys()
    assert all(torch.allclose(back[name], plain[name], atol=1e-5) for name in plain)


def test_rank_zero_is_naive_bit_for_bit_and_so_is_the_first_task():
    for changes in ({"schedule": "fixed", "fraction": 0.0}, {"schedule": "fixed", "from_task": 9}):
        stream = blob_stream("class")
        plain, rows = learn(Naive(), stream)
        other, found = learn(shipped("osft", **changes), stream)
        assert rows == found
        assert same(weights(plain), weights(other))
    method = shipped("osft", schedule="linear", from_task=0)
    first, _ = learn(method, stream, tasks=1)
    assert same(weights(first), weights(learn(Naive(), stream, tasks=1)[0]))
    assert {name: entry["rank"] for name, entry in method.diagnostics()["layers"].items()} == {"layers.0": 0}


@pytest.mark.parametrize("others", ["train", "freeze"])
def test_at_full_rank_no_weight_moves(others):
    stream, states = blob_stream("class"), []
    method = shipped("osft", schedule="fixed", fraction=1.0, others=others)
    learner = learner_for(stream, optimizer=OPTIMIZERS["adamw"](), hidden=(20, 20))
    learn(method, stream, learner, after=lambda task, lrn: states.append(weights(lrn)))
    moved = {name for name in states[0] if not torch.equal(states[0][name], states[2][name])}
    biases = {"backbone.layers.0.bias", "backbone.layers.1.bias"} if others == "train" else set()
    assert moved == {"heads.0.weight", "heads.0.bias"} | biases
    assert all(parameter.requires_grad for name, parameter in learner.parameters.items() if name.endswith("weight"))


def test_what_is_not_factored_stands_still_under_freeze_and_heads_learn():
    stream, states = token_stream(), []
    method = shipped("osft", others="freeze", **HALF)
    learn(method, stream, token_learner("bert", stream, OPTIMIZERS["adamw"]()), after=lambda t, lrn: states.append(weights(lrn)))
    moved = {name for name in states[0] if float((states[0][name] - states[1][name]).abs().max()) > 1e-5}
    chosen = {f"backbone.{name}.weight" for name in method._ranks if "pooler" not in name}
    assert moved == chosen | {"heads.0.weight", "heads.0.bias"}


def test_between_tasks_the_model_is_plain_and_the_method_keeps_nothing():
    stream = blob_stream("class")
    names = weights(learner_for(stream)).keys()

    def after(task, learner):
        assert weights(learner).keys() == names
        assert not any(isinstance(module, FactoredLinear) for module in learner.model.modules())
        assert method.state() == {}

    method = shipped("osft", **HALF)
    learn(method, stream, after=after)


def test_each_task_decomposes_what_the_last_one_left():
    stream, tops = blob_stream("class"), []

    class Kept(OSFT):
        def begin_task(self, learner, task):
            before = weights(learner)
            super().begin_task(learner, task)
            for name, layer in self._svd_layers.items():
                s = torch.linalg.svdvals(before[f"backbone.{name}.weight"])[: layer.rank]
                tops.append((float((layer.S_high - s).abs().max()), layer.S_high.clone(), layer.S_low.detach().clone()))

    learn(shipped("osft", Kept, **HALF), stream)
    assert len(tops) == 2
    assert max(difference for difference, _, _ in tops) < 1e-5
    assert not torch.allclose(tops[0][2], tops[1][2], atol=1e-4)
    assert torch.allclose(tops[0][1], tops[1][1], atol=1e-4), "what stood still is orthogonal to what learned, and leads again"


def test_an_attention_module_that_reads_its_weights_keeps_them():
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True)

        def forward(self, x):
            return self.layer(x.squeeze(1)).mean(1)

    stream = blob_stream("class")
    learner = learner_for(stream)
    torch.manual_seed(0)
    learner.model = Classifier(Attending(), stream.head_sizes, (1, 4, 4))
    method = shipped("osft", from_task=0, **HALF)
    method.setup(learner, stream)
    learner.start(0)
    learner.model.eval()
    x = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = learner.model(x)
        method.begin_task(learner, stream.tasks[0])
        learner.model.eval()
        assert sorted(method._svd_layers) == ["layer.linear1", "layer.linear2"]
        assert torch.allclose(learner.model(x), before, atol=1e-5), "also where torch reads the weights of a whole block itself"


def test_what_another_part_froze_is_left_alone():
    stream, states = blob_stream("class"), []
    from clbench.methods.compose import Compose

    parts = {"freeze": shipped("freeze", layers=1), "osft": shipped("osft", **HALF)}
    learner = learner_for(stream, hidden=(20, 20))
    learn(Compose(parts), stream, learner, after=lambda t, lrn: states.append(weights(lrn)))
    assert torch.equal(states[0]["backbone.layers.0.weight"], states[2]["backbone.layers.0.weight"])
    assert not torch.equal(states[0]["backbone.layers.1.weight"], states[2]["backbone.layers.1.weight"])
    assert list(parts["osft"]._ranks) == ["layers.1"]


def test_the_record_tells_ranks_importance_and_what_was_removed():
    method = watched(OSFT)
    found = method.diagnostics()
    assert found["layers"]["layers.0"]["rank"] == 8
    assert found["layers"]["layers.0"]["full"] == 16
    assert 0.05 < found["layers"]["layers.0"]["removed"] < 0.99
    # of both layers: factors, S, and biases; then the head
    assert found["trainable"] == (8 * (16 + 20) + 8 + 20) + (10 * 40 + 10 + 20) + (6 * 20 + 6)
    important = shipped("osft")
    learn(important, blob_stream("class"), learner_for(blob_stream("class"), hidden=(20, 20)))
    assert important.diagnostics()["layers"]["layers.1"]["importance"] == 1.0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"targets": ["q_proj"]}, "q_proj"),
        ({"mrr": 0.9}, "method.trr=0.8 is below method.mrr=0.9"),
        ({"fraction": [0.1, 0.2]}, "2 values for 3 tasks"),
    ],
)
def test_bad_input_is_told(changes, told):
    with pytest.raises(ConfigError, match=told):
        learn(shipped("osft", **changes), blob_stream("class"))


@pytest.mark.parametrize(
    "changes", [{"fraction": 1.5}, {"mrr": -0.1}, {"schedule": "none"}, {"others": "some"}, {"from_task": -1}]
)
def test_values_out_of_range_are_refused(changes):
    with pytest.raises((ValidationError, ClbenchError)):
        shipped("osft", **changes)


def test_moments_that_outlive_a_task_are_refused():
    stream = blob_stream("class")
    with pytest.raises(RefusedError, match="carry"):
        learn(shipped("osft"), stream, learner_for(stream, optimizer=SGD(0.1, 0.9, carry=True)))


def test_convolutions_alone_are_refused():
    stream = blob_stream("class")
    learner = learner_for(stream)
    learner.model = Classifier(nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten()), stream.head_sizes, (1, 4, 4))
    with pytest.raises(ConfigError, match="no Linear"):
        shipped("osft").setup(learner, stream)


@pytest.mark.parametrize("schedule", ["importance", "linear"])
def test_the_promises(schedule):
    check_method({**values("osft"), "schedule": schedule}, neutral={"schedule": "fixed", "fraction": 0.0})


def test_it_overrides_what_it_should():
    assert OSFT.edit_update is not Method.edit_update
