"""Freezing: the bottom layers stay the same bits, by number and not by a part of their names."""

import itertools

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from clbench.engine.optimizers import SGD, Adam
from clbench.errors import ClbenchError, ConfigError
from clbench.methods.compose import Compose
from clbench.methods.naive import Naive
from clbench.models.classifier import Classifier
from clbench.testing import check_method
from tests.methods.shipped import shipped
from tests.methods.test_gpm import OPTIMIZERS
from tests.streams import blob_stream, learn, learner_for, same, weights
from tests.tokens import token_learner, token_stream

CARRIED = {
    "momentum and decay, carried": lambda: SGD(0.05, 0.9, 0.05, carry=True),
    "adamw, carried": lambda: Adam(0.01, (0.9, 0.999), 1e-8, 0.1, True, carry=True),
}


def moved(kind, method, optimizer="adamw", layers=2, dropout=0.0, setting="class"):
    """Return the tensors that the first task moves, those that later tasks move, and the learner."""
    stream, states = token_stream(setting), []
    learner = token_learner(kind, stream, (OPTIMIZERS | CARRIED)[optimizer](), layers, dropout)
    states.append(weights(learner))
    learn(method, stream, learner, after=lambda task, lrn: states.append(weights(lrn)))

    def changed(a, b):
        return {name for name in a if not torch.equal(a[name], b[name])}

    return changed(states[0], states[1]), changed(states[1], states[3]), learner


def bottom(name, layers, parts=("embed", "wte", "wpe", "shared")):
    """Return whether a tensor belongs to the embeddings or to one of the blocks below `layers`, by reading its name."""
    numbers = [int(part) for part in name.split(".") if part.isdigit()]
    if name.startswith("heads."):
        return False
    return numbers[0] < layers if numbers else any(part in name for part in parts)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum and weight decay", "adamw", *CARRIED])
def test_frozen_tensors_are_the_same_bits_and_the_others_move(optimizer):
    first, later, _ = moved("gpt2", shipped("freeze", layers=2), optimizer, layers=3)
    unused = {name for name in first if name.endswith("c_attn.bias")}
    assert later | unused == {name for name in first if not bottom(name, 2)} | unused
    assert {"backbone.model.h.2.mlp.c_fc.weight", "backbone.model.ln_f.weight", "heads.0.weight"} <= later
    assert {"backbone.model.h.0.mlp.c_fc.weight", "backbone.model.wte.weight"} <= first


def test_it_is_the_second_layer_and_not_all_that_begin_with_a_one():
    """The authors' list of names: `layers.1` is a part of `layers.10` and `layers.11` as well."""
    method = shipped("freeze", layers=2)
    _, later, learner = moved("llama", method, layers=12)
    still = {int(n.split(".")[3]) for n in learner.parameters if ".layers." in n and n not in later}
    assert still == {0, 1}
    substring = {int(n.split(".")[3]) for n in learner.parameters if any(f"layers.{i}" in n for i in range(2))}
    assert substring == {0, 1, 10, 11}, "what the fault would freeze"
    found = method.diagnostics()
    assert found["training_layers"] == [f"model.layers.{n}" for n in range(2, 12)]
    assert found["frozen"] + found["trainable"] == sum(p.numel() for p in learner.model.parameters())
    assert found["trainable"] == sum(p.numel() for n, p in learner.parameters.items() if n in later or p.requires_grad)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert", "opt", "t5"])
def test_what_enters_the_first_layer_that_learns_is_the_same_in_training_too(kind):
    stream, seen = token_stream(), {}
    method = shipped("freeze", layers=2)
    learner = token_learner(kind, stream, OPTIMIZERS["adamw"](), layers=4, dropout=0.3)
    names = {"llama": "layers", "gpt2": "h", "bert": "encoder.layer", "opt": "decoder.layers", "t5": "encoder.block"}
    old = stream.tasks[0].train.raw()[:5]

    def after(task, lrn):
        caught = []
        block = lrn.model.backbone.get_submodule(f"model.{names[kind]}.2")

        def catch(module, arguments, named):
            caught.append(arguments[0] if arguments else named["hidden_states"])

        handle = block.register_forward_pre_hook(catch, with_kwargs=True)
        for mode in ("train", "eval"):
            lrn.train() if mode == "train" else lrn.model.eval()
            with torch.no_grad():
                lrn.model(old)
        handle.remove()
        seen[task.index] = caught

    learn(method, stream, learner, after=after)
    assert torch.equal(seen[1][1], seen[2][1])
    assert torch.equal(seen[2][0], seen[2][1]), "dropout of what is frozen stands still"
    assert torch.equal(seen[0][1], seen[1][1]), "frozen before the second task begins"


def test_nothing_frozen_is_naive_bit_for_bit():
    for changes in ({"layers": 0, "embeddings": False}, {"layers": 1, "from_task": 9}):
        stream = token_stream()
        plain, rows = learn(Naive(), stream, token_learner("gpt2", stream))
        other, found = learn(shipped("freeze", **changes), stream, token_learner("gpt2", stream))
        assert rows == found
        assert same(weights(plain), weights(other))


def test_with_all_layers_frozen_the_last_norm_and_the_head_learn():
    _, later, _ = moved("gpt2", shipped("freeze", layers=2))
    assert later == {"backbone.model.ln_f.weight", "backbone.model.ln_f.bias", "heads.0.weight", "heads.0.bias"}


def test_embeddings_may_go_on_learning():
    _, later, _ = moved("gpt2", shipped("freeze", layers=1, embeddings=False))
    assert "backbone.model.wte.weight" in later
    assert not any(".h.0." in name for name in later)


@pytest.mark.parametrize("start", [0, 1, 2])
def test_it_starts_exactly_at_its_task(start):
    stream, states = blob_stream("class"), []
    method = shipped("freeze", layers=1, from_task=start)
    learner = learner_for(stream, hidden=(20, 20))
    states.append(weights(learner))
    learn(method, stream, learner, after=lambda task, lrn: states.append(weights(lrn)))
    name = "backbone.layers.0.weight"
    assert [not torch.equal(a[name], b[name]) for a, b in itertools.pairwise(states)] == [task < start for task in range(3)]
    assert method.diagnostics()["frozen_layers"] == 1
    assert method.diagnostics()["training_layers"] == ["layers.1"]


def test_running_statistics_and_dropout_of_frozen_layers_stand_still():
    stream, states = blob_stream("class"), []
    learner = learner_for(stream)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Conv2d(4, 4, 2), nn.BatchNorm2d(4), nn.Flatten())
    learner.model = Classifier(net, stream.head_sizes, (1, 4, 4))
    learn(shipped("freeze", layers=1), stream, learner, after=lambda task, lrn: states.append(weights(lrn)))
    later = {name for name in states[0] if not torch.equal(states[0][name], states[2][name])}
    assert not any(name.startswith(("backbone.0.", "backbone.1.")) for name in later)
    assert {"backbone.3.weight", "backbone.4.running_mean"} <= later
    learner.train()
    assert [part.training for part in net[:5]] == [False, False, False, True, True]


def test_a_head_tied_to_the_embeddings_freezes_with_them():
    stream, states = token_stream(n_tasks=2), []
    learner = token_learner("gpt2", stream)
    learner.model.heads[0] = nn.Linear(16, 30, bias=False)
    learner.model.heads[0].weight = learner.model.backbone.model.wte.weight
    method = shipped("freeze", layers=1)
    learn(method, stream, learner, after=lambda task, lrn: states.append(weights(lrn)))
    assert torch.equal(states[0]["heads.0.weight"], states[1]["heads.0.weight"])
    assert method.diagnostics()["head_frozen"]
    free = shipped("freeze", layers=1, embeddings=False)
    learn(free, stream, token_learner("gpt2", stream))
    assert not free.diagnostics()["head_frozen"]


def test_parameters_of_a_module_around_the_layers_freeze_alone():
    class Prefixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.prefix = nn.Parameter(torch.ones(16))
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(16, 16), nn.Tanh()) for _ in range(3))

        def forward(self, x):
            x = x.flatten(1) * self.prefix
            for block in self.blocks:
                x = block(x)
            return x

    stream, states = blob_stream("class"), []
    learner = learner_for(stream)
    learner.model = Classifier(Prefixed(), stream.head_sizes, (1, 4, 4))
    learn(shipped("freeze", layers=1), stream, learner, after=lambda task, lrn: states.append(weights(lrn)))
    later = {name for name in states[0] if not torch.equal(states[0][name], states[2][name])}
    blocks = {f"backbone.blocks.{n}.0.{part}" for n in (1, 2) for part in ("weight", "bias")}
    assert later == blocks | {"heads.0.weight", "heads.0.bias"}


@pytest.mark.parametrize("part", ["er", "ewc", "lwf"])
def test_it_is_a_part_of_others(part):
    stream, states = blob_stream("class"), []
    method = Compose({"freeze": shipped("freeze", layers=1), part: shipped(part)})
    learner = learner_for(stream, hidden=(20, 20))
    learn(method, stream, learner, after=lambda task, lrn: states.append(weights(lrn)))
    assert torch.equal(states[0]["backbone.layers.0.weight"], states[2]["backbone.layers.0.weight"])
    assert not torch.equal(states[0]["backbone.layers.1.weight"], states[2]["backbone.layers.1.weight"])


@pytest.mark.parametrize(
    ("kind", "count", "names"), [("llama", 2, "model.layers.0 to model.layers.1"), ("t5", 4, "decoder.block.1")]
)
def test_more_layers_than_there_are(kind, count, names):
    stream = token_stream()
    with pytest.raises(ConfigError, match=rf"method\.layers=5, but the backbone Encoder has {count} layers \(.*{names}\)"):
        learn(shipped("freeze", layers=5), stream, token_learner(kind, stream))


@pytest.mark.parametrize("changes", [{"layers": -1}, {"embeddings": "some"}, {"from_task": -1}, {"layers": 1.5}])
def test_values_out_of_range_are_refused(changes):
    with pytest.raises((ValidationError, ClbenchError)):
        shipped("freeze", **changes)


def test_the_promises():
    check_method("freeze", neutral={"layers": 0, "embeddings": False})
    check_method({"_target_": "clbench.methods.freeze.Freeze", "version": 1, "layers": 2, "embeddings": True, "from_task": 0})
