"""Any model's weights as matrices: hooks find the inputs, and steps orthogonal to the inputs change no output."""

import pytest
import torch
from torch import nn

from clbench import subspace
from clbench.errors import RefusedError
from clbench.models.classifier import Classifier
from clbench.toolkit import weight_matrices
from tests.streams import blob_stream, learner_for


class Attentive(nn.Module):
    """Rows of the 4x4 image as four tokens; a transformer layer, a convolution, and one linear layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(4, 4))
        self.conv = nn.Conv2d(1, 2, 3, padding=1, groups=1)
        self.mix = nn.Linear(8, 8)
        self.attention = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.pairs = nn.Embedding(9, 8)

    def forward(self, x):
        maps = self.conv(x + self.positions)
        tokens = maps.permute(0, 2, 1, 3).reshape(len(x), 4, 8)
        tokens = self.mix(torch.relu(self.mix(tokens))) + self.pairs((x[:, 0, :, 0] > 0).long() + 2)
        return self.attention(tokens).mean(1)


def attentive(setting="domain"):
    stream = blob_stream(setting)
    learner = learner_for(stream)
    torch.manual_seed(0)
    learner.model = Classifier(Attentive(), stream.head_sizes, (1, 4, 4))
    learner.start(0)
    return stream, learner


NAMES = [
    "backbone.conv.weight",
    "backbone.mix.weight",
    "backbone.attention.self_attn.in_proj_weight",
    "backbone.attention.self_attn.out_proj.weight",
    "backbone.attention.linear1.weight",
    "backbone.attention.linear2.weight",
    "backbone.pairs.weight",
]


def test_all_weights_are_found_in_the_models_order():
    _, learner = attentive()
    assert list(weight_matrices.matrices(learner)) == [*NAMES, "heads.0.weight"]
    assert list(weight_matrices.matrices(learner, head=False)) == NAMES
    assert list(weight_matrices.matrices(attentive("task")[1])) == NAMES
    left = weight_matrices.uncovered(learner, weight_matrices.matrices(learner))
    norms = [f"backbone.attention.norm{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")]
    assert left == ["backbone.positions", *norms]


def test_steps_off_the_rows_leave_every_output_where_it_was():
    """The whole of it: hooks, several calls, attention, embeddings, biases, and projection of a random step."""
    torch.set_default_dtype(torch.float64)
    try:
        stream, learner = attentive()
        found = weight_matrices.matrices(learner)
        positions = torch.arange(3)
        batch = learner.batch(stream.tasks[0].train, positions)
        batch.inputs = batch.inputs.double()
        learner.batch = lambda *_: batch
        bases = {
            name: subspace.extend(None, rows, 1.0)
            for name, rows in weight_matrices.entering(learner, stream.tasks[0].train, positions, found)
        }
        assert bases["backbone.mix.weight"].shape[1] == 9, "two calls of four tokens on three samples fill the layer"
        before = learner.forward(batch).detach()
        projectors = {name: subspace.remove(basis, found[name].bias is not None) for name, basis in bases.items()}
        updates = {
            name: torch.randn_like(p)
            for name, p in learner.parameters.items()
            if name not in weight_matrices.uncovered(learner, found)
        }
        raw = {name: update.clone() for name, update in updates.items()}
        weight_matrices.project(updates, found, projectors)
        moved = {name: float((updates[name] - raw[name]).abs().max()) for name in bases}
        assert all(moved.values())
        with torch.no_grad():
            for name, update in updates.items():
                learner.parameters[name] += update
            after = learner.forward(batch)
            assert (after - before).abs().max() < 1e-10
            for name, update in raw.items():
                learner.parameters[name] += update
            assert (learner.forward(batch) - before).abs().max() > 1e-3
    finally:
        torch.set_default_dtype(torch.float32)


def test_each_layer_may_have_its_own_number_of_samples():
    stream, learner = attentive()
    found = weight_matrices.matrices(learner)
    counts = dict.fromkeys(found, 2) | {"backbone.conv.weight": 5}
    rows = dict(weight_matrices.entering(learner, stream.tasks[0].train, torch.arange(5), found, counts))
    whole = dict(weight_matrices.entering(learner, stream.tasks[0].train, torch.arange(5), found))
    assert rows["backbone.conv.weight"].shape == (5 * 16, 10)
    assert rows["heads.0.weight"].shape == (2, 9)
    assert torch.equal(rows["heads.0.weight"], whole["heads.0.weight"][:2])
    assert rows["backbone.mix.weight"].shape == (2 * 2 * 4, 9)


def test_gradients_lie_in_the_span_of_what_enters():
    stream, learner = attentive()
    found = weight_matrices.matrices(learner)
    positions = torch.arange(2)
    gradients = weight_matrices.gradients(learner, stream.tasks[0].train, positions, found)
    for name, rows in weight_matrices.entering(learner, stream.tasks[0].train, positions, found):
        basis = subspace.extend(None, rows, 1.0)
        gradient = gradients[name]
        assert gradient.abs().max() > 0
        assert (gradient - gradient @ basis @ basis.mT).abs().max() < 1e-4 * gradient.abs().max()


def changed(change):
    stream, learner = attentive()
    change(learner.model.backbone)
    return stream, learner


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda net: setattr(net, "memory", nn.LSTM(2, 2)), r"memory is a LSTM.*\n.*register"),
        (lambda net: setattr(net, "other", nn.MultiheadAttention(8, 2, kdim=3)), "other cannot be projected.*kdim"),
        (lambda net: setattr(net.attention.linear1, "weight", net.attention.linear2.weight), "are one parameter"),
    ],
)
def test_models_that_cannot_be_protected_are_refused(change, words):
    _, learner = changed(change)
    with pytest.raises(RefusedError, match=words.split(r"\n")[0]) as caught:
        weight_matrices.matrices(learner)
    assert caught.value.remedy


def test_a_layer_that_is_never_called_is_refused():
    stream, learner = changed(lambda net: setattr(net, "idle", nn.Linear(2, 2)))
    learner.start(0)
    with pytest.raises(RefusedError, match="idle takes no part"):
        dict(weight_matrices.entering(learner, stream.tasks[0].train, torch.arange(2), weight_matrices.matrices(learner)))


def test_frozen_statistics_stand_still_while_the_rest_trains():
    _, learner = attentive()
    norm = nn.BatchNorm1d(3)
    learner.model.backbone.norm = norm
    weight_matrices.freeze_statistics(learner)
    learner.train()
    assert learner.model.training
    assert not norm.training
