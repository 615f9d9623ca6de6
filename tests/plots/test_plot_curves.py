"""Curves within tasks: the numbers of the records at their steps, and what may be concluded in the heading."""

import numpy as np

from clbench.plots.plot_curves import draw, measured, moments, table
from tests.leaderboard.factory import record
from tests.plots.looks import check_readable, drawn, heading, traced


def test_only_records_measured_within_tasks_have_curves():
    assert measured(traced())
    assert not measured(record())


def test_steps_go_on_over_tasks_and_an_end_is_where_it_was_measured_or_after():
    steps, spans = moments(traced().result)
    assert steps == [0, 10, 20, 30, 30, 40, 50, 60, 60, 70, 80, 80]
    assert spans == [("group 0", 0, 30), ("group 1", 30, 60), ("recovery", 60, 80)]
    made = traced().result
    made["matrix"][-1] = [[1, 1000]] * 4  # not what was measured at step 20 of the recovery
    assert moments(made)[0][-2:] == [80, 90]


def test_values_are_percent_of_the_columns_of_tasks():
    names, steps, _, values = table([traced(0), traced(1)])
    assert names == ["task 0: group 0", "task 1: group 1", "task 2: recovery"]
    assert values.shape == (2, len(steps), 3)
    assert values[0, 5:9, 0].tolist() == [70, 50, 30, 30]


def test_the_picture_has_a_line_per_column_and_says_what_is_concluded():
    records = [traced(0), traced(1, before=86)]
    figure = drawn(draw, records)
    (axes,) = figure.axes
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in axes.lines if not line.get_label().startswith("_")}
    assert lines["task 0: group 0"][5:8].tolist() == [68, 48, 28]
    assert [text.get_text() for text in axes.texts] == ["group 0", "group 1", "recovery"]
    assert "task 0 before 88.0 % · after 28.0 % · recovered 58.0 %" in heading(figure)[-1]
    check_readable(figure)


def test_too_little_known_is_said_in_the_heading():
    figure = drawn(draw, [traced(0, before=75), traced(1)])
    assert "no claim: 1 of 2 seeds" in heading(figure)[-1]


def test_requests_are_no_task_0():
    records = [traced(0), traced(1)]
    for made in records:
        asked = {"before": [0.9, 0.8], "joint": [0.9, 0.9], "needed": [0.72, 0.72], "claim": True}
        made.result["diagnostics"] = [{"conclusion": asked}] + [{} for _ in made.result["diagnostics"][1:]]
    assert "task 0" not in "".join(heading(drawn(draw, records)))
    records[0].result["diagnostics"][0]["conclusion"]["claim"] = False
    figure = drawn(draw, records)
    assert "no claim: 1 of 2 seeds knew too little of the data to forget" in heading(figure)[-1]


def test_a_long_stream_stays_readable():
    made = traced()
    made.result["task_names"] = ["a group with a name that has no room above its part"] * 3
    for column in made.result["columns"]:
        column["name"] = f"{column['name']}, the questions about people never asked about"
    check_readable(drawn(draw, [made]))
