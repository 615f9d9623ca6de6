"""Subspaces over tasks: each quantity in its panel, per layer, over seeds."""

import itertools
import math

import numpy as np
import pytest

from clbench.plots.plot_subspaces import LINES, PANELS, draw, sizes, table
from tests.leaderboard.factory import record
from tests.plots.looks import check_readable, drawn, heading, projected

LAYERS = ("backbone.layers.0.weight", "heads.0.weight")
RESNET = ["conv1", *(f"layer{i}.{j}.conv{k}" for i in range(1, 5) for j in range(2) for k in (1, 2)), "heads.0"]


def panels(figure):
    """Return {title: axes} of the panels."""
    return {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_title(loc="left")}


def lines(axes):
    """Return {layer: values over tasks}."""
    return {line.get_label(): np.asarray(line.get_ydata()) for line in axes.lines if not line.get_label().startswith("_")}


def test_sizes_in_percent_and_directions():
    found = sizes(projected(1))
    assert found[2] == {
        LAYERS[0]: {"free": 67.0, "added": 11.0, "removed": pytest.approx(12), "relaxed": 3.0},
        LAYERS[1]: {"free": 64.0, "added": 12.0, "removed": pytest.approx(13), "relaxed": 4.0},
    }
    assert "removed" not in found[0][LAYERS[0]]


@pytest.mark.parametrize(
    "diagnostics",
    [{}, [], [{}, {}], [{"ridge": 1.0}], [None], "none", [{"layer": {"taken": 3}}], [{"layer": {"taken": "3", "of": True}}]],
)
def test_diagnostics_of_another_kind_have_no_sizes(diagnostics):
    made = record()
    made.result["diagnostics"] = diagnostics
    assert sizes(made) == []


def test_no_diagnostics_at_all():
    made = record()
    del made.result["diagnostics"]
    assert sizes(made) == []


def test_values_that_are_no_numbers_are_missing():
    (found,) = sizes(projected(diagnostics=[{"a": {"taken": 1, "of": 0, "added": None, "removed": "x", "relaxed": True}}]))
    assert found == {"a": {}}


def test_parts_of_a_composition():
    entry = {"taken": 1, "of": 4}
    assert sizes(projected(diagnostics=[{"gpm": {"a.weight": entry}}])) == [{"gpm.a.weight": {"free": 75.0}}]


def test_table_shapes_and_short_names():
    layers, found = table([projected(seed) for seed in range(3)])
    assert layers == ["backbone.layers.0", "heads.0"]
    assert list(found) == list(PANELS)
    assert {values.shape for values in found.values()} == {(3, 2, 3)}
    assert found["added"][:, :, 0].tolist() == [[10, 11], [11, 12], [12, 13]]


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["net.a.weight", "net.b.weight"], ["a", "b"]),
        (["net.weight"], ["net"]),
        (["net.0.weight", "head.0.weight"], ["net.0", "head.0"]),
        (["weight", "a.weight"], ["weight", "a.weight"]),
        (["a", "a.b"], ["a", "a.b"]),
        (["x.a.x", "x.x"], ["a.x", "x"]),
    ],
)
def test_names_lose_what_all_share(names, short):
    entry = {"taken": 1, "of": 4}
    assert table([projected(diagnostics=[dict.fromkeys(names, entry)])])[0] == short


def test_a_layer_that_comes_later_has_no_value_before():
    entry = {"taken": 1, "of": 4}
    layers, found = table([projected(diagnostics=[{}, {"a.weight": entry}, {"a.weight": entry, "b.weight": entry}])])
    assert layers == ["a", "b"]
    assert np.isnan(found["free"][0]).tolist() == [[True, False, False], [True, True, False]]


def test_lines_are_means_over_seeds_with_a_band_from_min_to_max():
    axes = panels(drawn(draw, [projected(seed) for seed in (0, 1, 4)]))[PANELS["free"]]
    found = lines(axes)
    assert list(found) == ["backbone.layers.0", "heads.0"]
    mean = 10 + 5 / 3
    assert found["backbone.layers.0"] == pytest.approx([100 - mean, 100 - 2 * mean, 100 - 3 * mean])
    assert len(axes.collections) == 2
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((100 - 3 * 14, 100 - 10))
    assert band[band[:, 0] == 1][:, 1] == pytest.approx([100 - 2 * 14, 100 - 2 * 10])
    assert (axes.get_ylim()[0], axes.get_xlabel()) == (0, "task")


def test_one_seed_has_no_band():
    figure = drawn(draw, [projected()])
    assert not any(axes.collections for axes in panels(figure).values())
    assert "1 seed" in heading(figure)[1]


def test_bars_of_directions_added():
    axes = panels(drawn(draw, [projected(seed) for seed in (0, 2)]))[PANELS["added"]]
    bars = {container.get_label(): container for container in axes.containers if hasattr(container, "patches")}
    assert [bar.get_height() for bar in bars["heads.0"]] == pytest.approx([12, 12, 12])
    edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for each in bars.values() for bar in each)
    assert all(right <= left + 1e-9 for (_, right), (left, _) in itertools.pairwise(edges))  # side by side
    assert [round(bar.get_x() + bar.get_width() / 2) for bar in bars["heads.0"]] == [0, 1, 2]
    (low, high) = axes.collections[0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((10, 12))


def test_share_removed_begins_with_the_second_task():
    figure = drawn(draw, [projected()])
    values = lines(panels(figure)[PANELS["removed"]])["heads.0"]
    assert math.isnan(values[0])
    assert values[1:] == pytest.approx([2, 3])
    assert len({axes.get_xlim() for axes in panels(figure).values()}) == 1  # the panels are read one under the other


def test_relaxed_directions():
    values = lines(panels(drawn(draw, [projected(seed) for seed in range(2)]))[PANELS["relaxed"]])
    assert values["backbone.layers.0"] == pytest.approx([0.5, 1.5, 2.5])


@pytest.mark.parametrize(
    ("keys", "shown"),
    [((), ["free"]), (("added", "removed"), ["free", "added", "removed"]), (("relaxed",), ["free", "relaxed"])],
)
def test_what_no_record_has_gets_no_panel(keys, shown):
    made = projected()
    for task in made.result["diagnostics"]:
        for name, entry in task.items():
            task[name] = {key: entry[key] for key in ("taken", "of", *keys)}
    figure = drawn(draw, [made])
    assert list(panels(figure)) == [PANELS[key] for key in shown]
    check_readable(figure)


def test_the_legend_names_every_layer_once():
    for keys in (("added", "removed", "relaxed"), ("added", "removed")):  # below the panels, or in the place of the fourth
        made = projected()
        for task in made.result["diagnostics"]:
            for name, entry in task.items():
                task[name] = {key: entry[key] for key in ("taken", "of", *keys)}
        figure = drawn(draw, [made])
        legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
        assert [[text.get_text() for text in legend.get_texts()] for legend in legends] == [["backbone.layers.0", "heads.0"]]


def test_many_layers_make_heat_maps():
    few = drawn(draw, [projected(layers=RESNET[:LINES])])
    assert not few.axes[0].images
    assert len(lines(few.axes[0])) == LINES
    figure = drawn(draw, [projected(seed, layers=RESNET) for seed in (0, 2)])
    assert len(panels(figure)) == 4
    axes = panels(figure)[PANELS["added"]]
    values = axes.collections[0].get_array()
    assert values.shape == (len(RESNET), 3)
    assert np.asarray(values)[:, 1] == pytest.approx(np.arange(len(RESNET)) + 11)
    assert axes.yaxis_inverted()
    named = panels(figure)[PANELS["free"]]
    assert [label.get_text() for label in named.get_yticklabels()] == RESNET
    assert panels(figure)[PANELS["removed"]].collections[0].get_array().mask[:, 0].all()


def test_heat_maps_of_many_layers_name_some():
    figure = drawn(draw, [projected(layers=[f"net.block{i}.weight" for i in range(200)], of=1000)])
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [f"block{i}" for i in range(0, 200, 5)]
    check_readable(figure)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(("layers", "n_tasks"), [(LAYERS[:1], 2), (LAYERS, 5), (RESNET[:8], 20), (RESNET, 10), (RESNET, 40)])
def test_readable(layers, n_tasks, seeds):
    check_readable(drawn(draw, [projected(seed, layers=layers, n_tasks=n_tasks, of=1000) for seed in range(seeds)]))


def test_readable_with_long_names():
    layers = [f"a_backbone_of_some_name.layers.{i}.attention.output.dense" for i in range(8)] + ["x"]
    for some in (layers[1:], layers):
        check_readable(drawn(draw, [projected(layers=some, variant="threshold=[" + ",".join(["0.95"] * 40) + "]")]))
