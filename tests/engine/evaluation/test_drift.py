"""Drift: zero where nothing moved, and what a hand works out where something did."""

import math

import pytest
import torch
from torch import nn

from clbench.engine.evaluation.drift import Drift, activations, layers_of, principal_angle, relative_change
from clbench.runs.run import assemble
from clbench.testing.make_run import make_spec, run

BRIEF = ("scenario.n_tasks=2", "trainer.epochs=1")


def learner(*overrides):
    return assemble(make_spec("naive", [*BRIEF, *overrides]), torch.device("cpu"))[2]


def test_nothing_moves_where_nothing_was_changed():
    made = learner()
    drift = Drift(made)
    drift.start()
    found = drift.report()
    assert found, "no layers"
    for entry in found.values():
        assert entry["weights"] == 0
        assert abs(entry.get("activations", 0)) < 1e-6
        assert entry.get("angle", 0) < 1e-4


def test_weights_move_as_worked_out_by_hand():
    made = learner()
    drift = Drift(made)
    drift.start()
    name = next(name for name, p in made.model.named_parameters() if p.dim() == 2)
    layer = next(layer for layer, names in layers_of(made.model).items() if name in names)
    size = sum(float(made.parameters[other].detach().square().sum()) for other in layers_of(made.model)[layer])
    with torch.no_grad():
        made.parameters[name][0, :2] += torch.tensor([0.3, -0.4])
    found = drift.report()
    assert found[layer]["weights"] == pytest.approx(0.5 / math.sqrt(size), rel=1e-4)
    assert all(entry["weights"] == 0 for other, entry in found.items() if other != layer)
    assert found[layer]["activations"] > 0


def test_scaled_weights_and_turned_directions():
    old = torch.tensor([3.0, 4.0])
    assert relative_change([(old, 2 * old)]) == pytest.approx(1)
    assert relative_change([(torch.zeros(2), torch.zeros(2))]) == 0
    before = torch.tensor([[1.0, 0, 0], [2.0, 0, 0]])
    turned = torch.tensor([[1.0, 1.0, 0], [2.0, 2.0, 0]])
    assert principal_angle(before, turned, 1) == pytest.approx(45)
    assert principal_angle(before, -before, 1) == pytest.approx(0, abs=1e-5)
    plane = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    tilted = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])  # angles 0 and 90 degrees
    assert principal_angle(plane, tilted, 2) == pytest.approx(45)


def test_layers_are_numbered_parts_and_modules_of_their_own():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(2, 2)

    model = nn.Module()
    model.backbone = nn.Module()
    model.backbone.embed = nn.Embedding(3, 2)
    model.backbone.layers = nn.ModuleList(Block() for _ in range(11))
    model.heads = nn.ModuleList([nn.Linear(2, 2)])
    found = layers_of(model)
    assert list(found) == ["backbone.embed", *(f"backbone.layers.{i}" for i in range(11)), "heads.0"]
    assert found["backbone.layers.1"] == ["backbone.layers.1.inner.weight", "backbone.layers.1.inner.bias"]


def test_the_probe_is_of_task_0_and_looking_changes_nothing():
    made = learner()
    drift = Drift(made)
    first = made.stream.tasks[0].train
    assert set(drift.probe.rows.tolist()) <= set(first.rows.tolist())
    made.model.train()
    one, two = activations(made, drift.probe), activations(made, drift.probe)
    assert made.model.training
    assert all(torch.equal(one[layer], two[layer]) for layer in one)
    assert not any(layer.startswith("heads.") for layer in one)


def test_the_record_has_it_where_asked_for_and_the_run_is_the_same():
    plain, told = (run(make_spec("naive", [*BRIEF, *more])) for more in ((), ("eval.drift=true",)))
    assert told.result["matrix"] == plain.result["matrix"]
    assert plain.id == run(make_spec("naive", [*BRIEF, "eval.drift=false"])).id != told.id
    assert all("drift" not in each for each in plain.result["diagnostics"])
    for each in told.result["diagnostics"]:
        assert all(entry["weights"] > 0 for layer, entry in each["drift"].items() if layer.startswith("backbone"))
