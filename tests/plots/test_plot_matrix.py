"""The heat map: every number where it belongs, tasks not learned yet told apart, nothing overlaps."""

import math
import re

import numpy as np
import pytest
from matplotlib import colormaps

from clbench.errors import StoreError
from clbench.leaderboard.results import Results
from clbench.leaderboard.rows import rows
from clbench.plots import style
from clbench.plots.plot_matrix import NUMBERED, draw, grid
from tests.leaderboard.factory import record
from tests.plots.looks import check_readable, drawn, heading, long_run


@pytest.fixture
def seeds():
    return [record(seed, [[90.0], [80.0 - 10 * seed, 95.0]], untrained=[10.0, 4.0 + seed]) for seed in range(2)]


def numbers(axes):
    """Return {(column, line): text} of the numbers in the cells, lines counted from the top."""
    found = {}
    for text in axes.texts:
        x, y = text.get_position()
        found[int(x), y] = text.get_text()
    lines = sorted({y for _, y in found})
    return {(x, lines.index(y)): text for (x, y), text in found.items()}


def hatched(axes):
    """Return (first column, top, columns, height) of every hatched rectangle."""
    return [(p.get_x(), p.get_y(), p.get_width(), p.get_height()) for p in axes.patches if p.get_hatch()]


def test_grid_is_the_mean_over_seeds(seeds):
    found = grid(seeds)
    assert found.percent == pytest.approx(np.array([[10, 4.5], [90, 10], [75, 95]]))
    assert (found.after, found.names, found.tasks) == ([-1, 0, 1], ["task 0", "task 1"], [0, 1])
    assert [found.pending(event) for event in range(3)] == [[0, 1], [1], []]


def test_grid_of_one_seed_is_the_matrix_that_python_shows():
    made = long_run(5, utility=["arc"])
    assert grid([made]).percent == pytest.approx(Results([made]).matrix(0).to_numpy())


def test_events_within_tasks_are_no_lines(seeds):
    before = grid(seeds).percent
    for each in seeds:
        each.result["events"].insert(2, {"kind": "within", "task": 1, "step": 10})
        each.result["matrix"].insert(2, [[1, 1000], [1, 1000]])
    assert (grid(seeds).percent == before).all()


def test_what_one_seed_did_not_measure_stays_empty(seeds):
    seeds[1].result["matrix"][0][1] = None
    axes = drawn(draw, seeds).axes[0]
    assert math.isnan(grid(seeds).percent[0, 1])
    assert axes.collections[0].get_array().mask.tolist() == [[False, True], [False, False], [False, False]]
    assert (1, 0) not in numbers(axes)
    assert len(numbers(axes)) == 5


def test_columns_of_other_metrics_are_left_out():
    made = long_run(2, utility=["arc", "perplexity"])
    made.result["columns"][-1]["metric"] = "perplexity"
    found = grid([made])
    assert found.names[-1] == "arc"
    assert found.tasks == [0, 1, None]
    assert found.pending(0) == [0, 1]
    for column in made.result["columns"]:
        column["metric"] = "rouge"
    with pytest.raises(StoreError, match="measured no accuracies"):
        grid([made])


def test_names_that_differ_between_seeds_are_cut():
    one, other = long_run(2, 0, name="rotation {}°"), long_run(2, 1, name="rotation {}5°")
    assert grid([one]).names == ["task 0: rotation 0°", "task 1: rotation 1°"]
    assert grid([one, other]).names == ["task 0", "task 1"]


def test_cells_hold_the_numbers(seeds):
    axes = drawn(draw, seeds).axes[0]
    expected = {(0, 0): "10.0", (1, 0): "4.5", (0, 1): "90.0", (1, 1): "10.0", (0, 2): "75.0", (1, 2): "95.0"}
    assert numbers(axes) == expected
    assert np.asarray(axes.collections[0].get_array()) == pytest.approx(np.array([[10, 4.5], [90, 10], [75, 95]]))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["untrained", "after task 0", "after task 1"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["task 0", "task 1"]


def test_first_event_on_top_and_the_untrained_row_thinner(seeds):
    axes = drawn(draw, seeds).axes[0]
    assert axes.yaxis_inverted()
    edges = axes.collections[0].get_coordinates()[:, 0, 1]
    heights = np.diff(edges)
    assert heights[0] < heights[1] == heights[2]


def test_tasks_not_learned_yet_are_hatched_and_no_others(seeds):
    axes = drawn(draw, seeds).axes[0]
    edges = axes.collections[0].get_coordinates()[:, 0, 1]
    assert hatched(axes) == [(0, edges[0], 2, pytest.approx(edges[1])), (1, edges[1], 1, pytest.approx(1))]
    assert "hatched" in axes.get_xlabel()


def test_other_sets_than_tasks_are_never_hatched():
    axes = drawn(draw, [long_run(3, utility=["arc"])]).axes[0]
    assert max(x + width for x, _, width, _ in hatched(axes)) == 3


def test_joint_training_is_one_line(seeds):
    made = [record(seed, [[90.0, 80.0]], method="joint", sequential=False) for seed in range(2)]
    figure = drawn(draw, made)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["untrained", "after task 1"]
    assert len(hatched(figure.axes[0])) == 1
    assert "forgetting –" in " ".join(heading(figure))
    check_readable(figure)


def test_colours_span_0_to_100_in_every_picture_and_grow_lighter(seeds):
    mesh = drawn(draw, seeds).axes[0].collections[0]
    assert (mesh.norm.vmin, mesh.norm.vmax) == (0, 100)
    light = colormaps[style.COLOUR_MAP](np.linspace(0, 1, 50))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) > 0).all()  # still ordered in grey


def test_heading_shows_the_leaderboards_numbers(seeds):
    (row,) = rows(seeds)
    lines = heading(drawn(draw, seeds))
    assert lines[0] == "er · split_digits · class"
    told = " ".join(lines)
    for name, key in (("accuracy", "acc"), ("forgetting", "forgetting"), ("learning accuracy", "learning_accuracy")):
        assert f"{name} {row[key]:.1f} ± {row[f'{key}_ci95']:.1f}" in told
    assert (row["acc"], row["forgetting"], row["learning_accuracy"]) == pytest.approx((85, 15, 92.5))
    assert "95 % CI over 2 seeds" in told


def test_one_seed_has_no_interval():
    told = " ".join(heading(drawn(draw, [record()])))
    assert "accuracy 87.5 ·" in told
    assert "1 seed" in told
    assert "±" not in told


def test_heading_tells_rows_apart_that_share_their_title():
    made = [record(0, variant="buffer_size=50", names={"server": "fedavg"})]
    assert heading(drawn(draw, made))[1] == "mlp · fedavg · buffer_size=50"


def test_text_in_a_variant_is_no_formula():
    assert "lr=$a_b$" in heading(drawn(draw, [record(0, variant="lr=$a_b$")]))[1]


def test_many_columns_show_no_numbers_and_few_names():
    axes = drawn(draw, [long_run(NUMBERED)]).axes[0]
    assert len(axes.texts) == NUMBERED * (NUMBERED + 1)
    axes = drawn(draw, [long_run(60)]).axes[0]
    assert not axes.texts
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == [str(task) for task in range(0, 60, 5)]
    assert all(re.fullmatch(r"untrained|after task \d*[05]", label.get_text()) for label in axes.get_yticklabels())
    assert axes.get_yticks() == pytest.approx(sorted(axes.get_yticks()))


LONG = "buffer_size=200, optimizer=adam, epochs=10, threshold=[" + ",".join(["0.95"] * 30) + "]"


@pytest.mark.parametrize(
    "made",
    [
        [record(0, [[90.0]])],
        [long_run(2, variant=LONG, method="a_method_of_quite_some_name", scenario="a_scenario_that_goes_on_and_on")],
        [long_run(5, seed) for seed in range(2)],
        [long_run(5, name="mnist_{} 0 1 2 3 4 5 6 7 8 9")],
        [long_run(10, utility=["utility: arc_easy", "retain"])],
        [long_run(12, name="cifar100 {} 13 27 31 45 57 68 72 88 91")],
        [long_run(13)],
        [long_run(20, utility=["utility: arc_easy", "retain"])],
        [long_run(100)],
        [record(0, [[90.0] * 20], sequential=False)],
    ],
    ids=["one", "long-names", "five", "long-tasks", "utility", "twelve", "thirteen", "utility-of-many", "hundred", "joint-of-20"],
)
def test_readable(made):
    figure = drawn(draw, made)
    check_readable(figure)
    assert figure.get_size_inches()[0] <= 8.5  # a page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda result: result.pop("columns"), "columns do not fit"),
        (lambda result: result["columns"].append({"name": "x", "metric": "accuracy"}), "columns do not fit"),
        (lambda result: result["columns"].pop(), "differ in shape"),
    ],
)
def test_columns_that_do_not_fit_are_an_error_that_names_the_record(seeds, change, message):
    change(seeds[1].result)
    with pytest.raises(StoreError, match=message) as error:
        grid(seeds)
    assert seeds[1].id in error.value.what
    assert error.value.remedy
