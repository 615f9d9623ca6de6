"""Drawn matrices say the numbers they were drawn from."""

import re
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clbench.loggers import heatmap

percent = st.none() | st.floats(0, 100)
matrices = st.integers(1, 6).flatmap(
    lambda width: st.lists(st.lists(percent, min_size=width, max_size=width), min_size=1, max_size=6)
)
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@given(matrices, st.integers(1, 5))
def test_image_shows_every_entry_in_its_place(rows, cell):
    pixels = heatmap.image(rows, cell)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (len(rows) * cell, len(rows[0]) * cell, 3)
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            block = pixels[i * cell : (i + 1) * cell, j * cell : (j + 1) * cell].reshape(-1, 3)
            assert {tuple(pixel) for pixel in block.tolist()} == {heatmap.color(value)}


def test_ramp_goes_from_dark_to_light_and_ends_where_it_should():
    luma = [np.dot((0.299, 0.587, 0.114), heatmap.color(value)) for value in range(101)]
    assert all(a < b for a, b in pairwise(luma))
    assert heatmap.color(0) == heatmap.color(-5) == heatmap.RAMP[0]
    assert heatmap.color(100) == heatmap.color(105) == heatmap.RAMP[-1]
    assert heatmap.color(50) == heatmap.RAMP[2]
    assert heatmap.color(None) not in {heatmap.color(value / 10) for value in range(1001)}


def test_shades_rise():
    assert "".join(heatmap.shade(value) for value in (0, 25, 50, 75, 100)) == " ░▒▓█"
    assert heatmap.shade(None) == "·"


@given(matrices)
def test_text_holds_the_numbers(rows):
    lines = heatmap.plain(rows, [f"row {i}" for i in range(len(rows))]).splitlines()
    assert lines[0].split() == [str(j) for j in range(len(rows[0]))]
    for i, row in enumerate(rows):
        assert lines[i + 1].startswith(f"row {i} ")
        drawn = re.findall(r"[\d–]+", lines[i + 1][len(f"row {i} ") :])
        assert drawn == ["–" if value is None else f"{value:.0f}" for value in row]


def test_columns_stand_under_their_number():
    header, line = heatmap.plain([[100.0, 0.0, None]], ["after one"]).splitlines()
    assert line == "after one 100█   0    –·"
    assert [header.index(str(j)) for j in range(3)] == [line.index("█") - 1, line.index("  0 ") + 2, line.index("–")]


@given(matrices)
def test_colours_change_nothing_but_colours(rows):
    names = [str(i) for i in range(len(rows))]
    coloured = heatmap.ansi(rows, names)
    assert ESCAPE.search(coloured)
    assert [line.rstrip() for line in ESCAPE.sub("", coloured).splitlines()] == [
        line.rstrip() for line in heatmap.plain(rows, names).splitlines()
    ]


def test_many_columns_keep_only_shades():
    assert heatmap.plain([[100.0] * 30 + [None]], ["a"]) == "a " + "█" * 30 + "·"


def test_a_large_matrix_is_drawn_in_part_and_says_so():
    rows = [[100.0 if i == j else 0.0 for j in range(500)] for i in range(501)]
    note, *lines = heatmap.plain(rows, [f"r{i}" for i in range(501)]).splitlines()
    assert note == "every 6. row and every 5. column of 501 x 500"
    assert len(lines) == 84
    assert lines[0].startswith("r0   █")
    assert lines[5].index("█") == len("r498 ") + 30 // 5
    assert all(len(line) <= len("r498") + 1 + heatmap.LARGEST for line in lines)


def test_a_matrix_at_the_limit_is_drawn_whole():
    rows = [[50.0] * heatmap.LARGEST] * heatmap.LARGEST
    assert len(heatmap.plain(rows, ["x"] * heatmap.LARGEST).splitlines()) == heatmap.LARGEST
