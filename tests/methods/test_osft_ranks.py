"""OSFT's retained rank of each layer, by schedule and importance, with PEFT as a reference."""

import copy

import pytest
import torch
from torch import nn

from clbench.engine.optimizers import SGD
from clbench.engine.training.loop import Training
from clbench.methods.osft import OSFT
from clbench.models.classifier import Classifier
from clbench.toolkit.svd_linear import FACTORS, FactoredLinear
from tests.methods.shipped import shipped
from tests.streams import blob_stream, learn, learner_for, trainer, weights
from tests.tokens import token_learner, token_stream


@pytest.mark.parametrize(("base", "frozen"), [("smaller", False), ("larger", True)])
def test_the_larger_side_freezes_layers_much_longer_than_wide(base, frozen):
    """The authors' scripts: T5-large's feed-forward layers are 4 times as long as wide, and entirely frozen from a quarter on."""
    stream, states = token_stream(), []
    learner = token_learner("llama", stream)
    method = shipped("osft", schedule="fixed", fraction=0.45, rank_base=base, targets=["up_proj", "q_proj"])
    learn(method, stream, learner, after=lambda t, lrn: states.append(weights(lrn)))
    name = "backbone.model.layers.0.mlp.up_proj.weight"
    assert torch.equal(states[0][name], states[2][name]) == frozen
    assert method.rank(1, 3, (40, 16)) == (16 if frozen else 7)


def test_retained_ranks_are_the_written_ones():
    linear = shipped("osft", schedule="linear")
    assert [linear.rank(t, 10, (20, 10)) for t in range(10)] == list(range(10))
    paper = shipped("osft", schedule="importance")
    assert [paper.rank(1, 5, (100, 100), i) for i in (0.0, 0.5, 1.0, 9.0)] == [10, 45, 80, 100]
    listed = shipped("osft", schedule="fixed", fraction=[0.3, 0.5, 0.7])
    assert [listed.rank(t, 3, (10, 30)) for t in range(3)] == [3, 5, 7]
    wide = shipped("osft", schedule="fixed", fraction=0.25, rank_base="larger")
    assert [wide.rank(1, 3, shape) for shape in ((1024, 4096), (64, 64), (64, 128))] == [1024, 16, 32]


def test_importance_is_the_cosine_of_input_and_output():
    class Turn(nn.Module):
        """Square layers: one that keeps its input, one that turns a half of it away; and one that is not square."""

        def __init__(self):
            super().__init__()
            self.same, self.turn, self.needs_all_heads = (
                nn.Linear(16, 16, bias=False),
                nn.Linear(16, 16, bias=False),
                nn.Linear(16, 20),
            )
            half = torch.eye(16)
            half[8:, 8:] *= -1
            self.same.weight.data, self.turn.weight.data = torch.eye(16), half

        def forward(self, x):
            return self.needs_all_heads(self.turn(self.same(x.flatten(1))))

    stream = blob_stream("class")
    learner = learner_for(stream)
    learner.model = Classifier(Turn(), stream.head_sizes, (1, 4, 4))
    method = shipped("osft", importance_samples=1000, from_task=0)
    method.setup(learner, stream)
    learner.start(0)
    x = learner.batch(stream.tasks[0].train, torch.arange(len(stream.tasks[0].train))).inputs.flatten(1)
    method.begin_task(learner, stream.tasks[0])
    turned = torch.cat([x[:, :8], -x[:, 8:]], dim=1)
    cosine = max(0.0, float(torch.nn.functional.cosine_similarity(x, turned).mean()))
    found = method._importance
    assert found["same"] == pytest.approx(2 / (1 + cosine), rel=1e-4)
    assert found["turn"] == pytest.approx(2 * cosine / (1 + cosine), rel=1e-4, abs=1e-6)
    assert found["needs_all_heads"] == 1.0, "neither square nor in a block"
    assert method._ranks["same"] == [min(16, int(16 * (0.1 + 0.7 * found["same"]))), 16]


def test_layers_that_are_not_square_have_the_importance_of_their_block():
    stream = token_stream()
    learner = token_learner("llama", stream, layers=3)
    method = shipped("osft", from_task=0)
    method.setup(learner, stream)
    learner.start(0)
    method.begin_task(learner, stream.tasks[0])
    found = method._importance
    for block in range(3):
        near = {found[f"model.layers.{block}.mlp.{part}_proj"] for part in ("gate", "up", "down")}
        assert len(near | {found[f"model.layers.{block}.self_attn.k_proj"]}) == 1
    blocks = [found[f"model.layers.{block}.mlp.up_proj"] for block in range(3)]
    assert sum(blocks) / 3 == pytest.approx(1)
    assert len(set(blocks)) == 3
    assert found["model.layers.0.self_attn.o_proj"] not in blocks, "square: it has a cosine of its own"


class Pair(nn.Module):
    """Two linear layers, for comparison with PEFT."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(16, 24), nn.Linear(24, 12)

    def forward(self, x):
        return self.down(torch.relu(self.up(x.flatten(1))))


def test_decomposition_forward_gradient_and_trajectory_are_those_of_peft():
    peft = pytest.importorskip("peft")
    stream = blob_stream("class")
    learner = learner_for(stream, optimizer=SGD(0.05))
    torch.manual_seed(1)
    learner.model = Classifier(Pair(), stream.head_sizes, (1, 4, 4))
    theirs = copy.deepcopy(learner.model)
    config = peft.OSFConfig(target_modules=["up", "down"], effective_rank=0.25)
    with_osf = peft.inject_adapter_in_model(config, theirs.backbone)
    method = shipped("osft", schedule="fixed", fraction=0.25, from_task=0)
    method.setup(learner, stream)
    training = Training(learner, method, trainer())
    task = stream.tasks[0]
    seen = {}

    def edit(lrn, updates):
        OSFT.edit_update(method, lrn, updates)
        seen.update({name: update.clone() for name, update in updates.items()})

    method.edit_update = edit
    training.begin(task)
    for name in ("up", "down"):
        osf, own = getattr(with_osf, name), getattr(learner.model.backbone, name)
        assert isinstance(own, FactoredLinear)
        assert own.rank == osf.effective_rank["default"]
        for factor in FACTORS:
            assert torch.equal(osf.osf_svd_params["default"][factor], own.get_parameter(factor))
    start = {
        n: {f: getattr(learner.model.backbone, n).get_parameter(f).detach().clone() for f in FACTORS} for n in ("up", "down")
    }
    for parameter in theirs.parameters():
        parameter.requires_grad_(True)
    for name in ("up", "down"):  # the frozen part is within the base layer's weight
        getattr(with_osf, name).base_layer.weight.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in theirs.parameters() if p.requires_grad], 0.05)
    learner.train()
    theirs.train()
    for first in range(0, 60, 10):
        batch = learner.batch(task.train, torch.arange(first, first + 10))
        logits = theirs(batch.inputs)[:, :2]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, batch.labels).backward()
        assert torch.allclose(learner.forward(batch), logits, atol=1e-5)
        training.step(batch)
        for name in ("up", "down"):
            params = getattr(with_osf, name).osf_svd_params["default"]
            for factor in FACTORS:
                assert torch.allclose(seen[f"backbone.{name}.{factor}"], params[factor].grad, atol=1e-5), (name, factor)
        optimizer.step()
    for name in ("up", "down"):
        params, own = getattr(with_osf, name).osf_svd_params["default"], getattr(learner.model.backbone, name)
        for factor in FACTORS:
            assert torch.allclose(own.get_parameter(factor), params[factor], atol=1e-5)
            assert not torch.allclose(own.get_parameter(factor), start[name][factor], atol=1e-4), "and it moved"
