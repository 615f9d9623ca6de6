"""Drift by layer: a line per task, a panel per quantity."""

import math

import numpy as np
import pytest

from clbench.plots.plot_drift import PANELS, draw, reported, table
from tests.leaderboard.factory import record
from tests.plots.looks import check_readable, drawn, traced

MANY = ["backbone.body.embed_in", *(f"backbone.body.layers.{i}" for i in range(12)), "backbone.body.final_layer_norm", "heads.0"]


def test_only_records_that_have_drift_are_drawn():
    assert len(reported(traced())) == 3
    assert reported(record()) == []


def test_values_by_seed_task_and_layer():
    layers, found = table([traced(0), traced(1)])
    assert layers == ["backbone.embed", "backbone.layers.0", "heads.0"]
    assert found["weights"].shape == (2, 3, 3)
    assert found["weights"][1, 2, 1] == pytest.approx(0.61)
    assert math.isnan(found["activations"][0, 0, 2])


@pytest.mark.parametrize("layers", [MANY, MANY[:2]])
def test_the_picture(layers):
    figure = drawn(draw, [traced(0, layers=layers), traced(1, layers=layers)])
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(PANELS.values())
    weights = figure.axes[0]
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in weights.lines}
    assert list(lines) == ["group 0", "group 1", "recovery"]
    assert lines["group 1"][1] == pytest.approx(0.405)
    named = [label.get_text() for label in weights.get_xticklabels()]
    assert named[:2] == ["embed_in", "layers.0"]
    check_readable(figure)
