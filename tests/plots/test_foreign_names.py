"""Pictures of records whose names hold formulas, marks and control characters."""

from __future__ import annotations

import string
import xml.etree.ElementTree as ET

import pytest

from clbench.cli import plot
from clbench.leaderboard.rows import rows
from clbench.plots import style
from clbench.plots.plot_curves import draw as draw_curves
from clbench.records import write
from tests.leaderboard.factory import record
from tests.plots.looks import drawn, projected, traced

MANY = "$\\frac{1}{2}$ <script>& a\nb\t\x1b[2J\x00 --> \u202e ../../etc"
PICTURES = (
    ("matrix", record, MANY),
    ("curves", traced, MANY),
    ("drift", traced, MANY),
    ("subspaces", projected, MANY),
    ("matrix", record, "x" * 300),
    ("curves", traced, "$"),
    ("curves", traced, "_"),
)


def named(made, text):
    """Return a record with `text` as every name that a picture shows."""
    made.identity["names"] = dict.fromkeys(("method", "scenario", "model", "optimizer", "server"), text)
    made.provenance["variant"] = text
    result = made.result
    result["setting"] = text
    result["task_names"] = [text for _ in result["task_names"]]
    for j, column in enumerate(result["columns"]):
        column["name"] = f"{text} {j}"
    return made


@pytest.mark.parametrize(("kind", "make", "text"), PICTURES)
@pytest.mark.filterwarnings("ignore:constrained_layout not applied")
def test_every_kind_draws_them_into_a_sound_file_of_its_folder(tmp_path, capsys, kind, make, text):
    more = {"layers": (f"backbone.{text}", f"backbone.{text}2")} if make is not record else {}
    write(named(make(**more), text), tmp_path / "runs")
    with pytest.raises(SystemExit) as left:
        plot.main([f"kind={kind}", f"results_dir={tmp_path / 'runs'}", "format=svg", f"out={tmp_path / 'out'}"])
    assert left.value.code == 0, capsys.readouterr().err
    (path,) = (tmp_path / "out").iterdir()
    assert path.name.endswith(f"{kind}.svg")
    assert set(path.name) <= set(string.ascii_letters + string.digits + "._=+-")
    tags = {element.tag.rpartition("}")[2] for element in ET.parse(path).iter()}
    assert not tags & {"script", "a", "image", "foreignObject"} - ({"image"} if kind == "matrix" else set())


def test_a_formula_is_shown_as_it_is_written():
    figure = drawn(draw_curves, [named(traced(), r"$\frac{1}{2}$")])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [rf"$\frac{{1}}{{2}}$ {j}" for j in range(3)]


def test_a_legend_keeps_a_name_that_begins_with_an_underscore():
    figure = drawn(draw_curves, [named(traced(), "_hidden")])
    assert [text.get_text().strip() for text in figure.legends[0].get_texts()] == [f"_hidden {j}" for j in range(3)]


def test_labels_are_short_lines():
    assert style.label("a\nb") == r"a\nb"
    assert len(style.label("x" * 1000)) == style.LONGEST


def test_names_of_files_fit_any_file_system():
    made = [named(record(method=m, identity={"trainer": {"epochs": e}}), "x" * 5000) for m, e in (("a", 1), ("b", 2))]
    found = plot.file_names(rows(made))
    assert len(set(found.values())) == 2
    assert all(len(name) < 240 for name in found.values())
