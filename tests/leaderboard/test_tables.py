"""Tables: what is printed is what the rows hold."""

import csv
import io
import json

import pytest
from rich.console import Console

from clbench.errors import ConfigError
from clbench.leaderboard.rows import KEYS, rows
from clbench.leaderboard.tables import FORMATS, NOTES, print_table, render
from tests.leaderboard.factory import record


@pytest.fixture
def made():
    return rows(
        [
            *(record(seed, [[90.0], [80.0 + seed, 95.0]], variant="buffer_size=200") for seed in range(3)),
            record(method="joint", A=[[90.0, 80.0]], sequential=False, access="all"),
            *(record(seed, scenario="permuted_digits", setting="domain") for seed in range(2)),
        ]
    )


def printed(made, width=200):
    console = Console(file=io.StringIO(), width=width)
    print_table(made, console)
    return console.file.getvalue()


def test_json_is_one_array_and_nothing_else(made):
    assert json.loads(render(made, "json")) == made
    assert json.loads(render([], "json")) == []


def test_csv_holds_plain_numbers(made):
    table = list(csv.DictReader(io.StringIO(render(made, "csv"))))
    assert tuple(table[0]) == KEYS
    assert len(table) == len(made)
    for line, row in zip(table, made):
        for key in ("acc", "acc_ci95", "forgetting", "seconds"):
            assert line[key] == ("" if row[key] is None else repr(row[key]))
        assert line["seeds"] == " ".join(map(str, row["seeds"]))
    assert render([], "csv") == ",".join(KEYS)


def test_markdown(made):
    text = render(made, "markdown")
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("###")] == [
        "### permuted_digits · domain setting · mlp",
        "### split_digits · class setting · mlp",
    ]
    assert "| method | variant | access | accuracy | forgetting | learning accuracy | BWT | seconds | n |" in lines
    assert "| er | buffer_size=200 | current | 88.0 ± 1.2 | 9.0 ± 2.5 | 92.5 ± 0.0 | -9.0 ± 2.5 | 3.0 | 3 |" in lines
    assert "| joint |  | all | 85.0 | – | – | – | 2.0 | 1 ‡ |" in lines
    assert all(note in text for note in NOTES)
    tables = [line for line in lines if line.startswith("|")]
    assert len(tables) == len(made) + 2 * 2


def test_forgetting_stands_beside_learning_accuracy(made):
    for format in ("markdown", "latex"):
        heading = next(line for line in render(made, format).splitlines() if "forgetting" in line and "method" in line)
        cells = [cell.strip(" \\") for cell in heading.replace("&", "|").split("|")]
        assert cells.index("learning accuracy") == cells.index("forgetting") + 1


def test_columns_that_say_nothing_are_left_out():
    plain = render(rows([record()]), "markdown")
    assert "server" not in plain
    assert "| FWT |" not in plain
    assert "| model |" not in plain
    made = rows([record(names={"server": "fot"}, setting="domain"), record(model="cnn", setting="domain")])
    full = render(made, "markdown")
    assert all(f"| {name} |" in full for name in ("server", "FWT", "model"))


def test_latex(made):
    text = render(made, "latex")
    assert r"buffer\_size=200 & current & $88.0 \pm 1.2$" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert " & -- & -- & -- & " in text
    for line in text.splitlines():
        if line.endswith(r"\\"):
            assert line.count(" & ") == 8  # 9 columns in either table: one has a variant, the other FWT
    assert render([], "latex").startswith("%")


def test_latex_escapes_what_is_special():
    text = render(rows([record(variant="a_b%c&d#e$f{g}h\\i~j^k")]), "latex")
    assert r"a\_b\%c\&d\#e\$f\{g\}h\textbackslash{}i\textasciitilde{}j\textasciicircum{}k" in text


def test_markdown_escapes_its_own_separator():
    assert r"| x=a\|b |" in render(rows([record(variant="x=a|b")]), "markdown")


def test_no_negative_zero():
    (row,) = rows([record(A=[[90.0], [90.04, 90.0]], n=10_000)])
    assert row["forgetting"] < 0
    assert "-0.0" not in render([row], "markdown")


@pytest.mark.parametrize("width", [200, 100, 80, 40])
def test_terminal_table_loses_nothing(made, width):
    text = printed(made, width)
    for part in ("er", "joint", "88.0±1.2", "92.5±0.0", "-9.0±2.5", "split_digits · class setting · mlp"):
        assert part in text.replace(" ± ", "±")
    assert all(word in text for word in ("method", "accuracy", "forgetting", "learning", "seconds"))
    ends = [line.split("  ")[-1].split()[-2:] for line in text.splitlines() if line.startswith(("er", "joint"))]
    assert [end[-1] for end in ends] == ["2", "3", "‡"]
    assert ends[-1] == ["1", "‡"]
    assert width == 40 or max(map(len, text.splitlines())) <= width  # below its least width the terminal breaks lines


def test_wide_terminal_has_a_line_per_row(made):
    (line,) = [line for line in printed(made, 120).splitlines() if "buffer_size=200" in line]
    assert " ".join(line.split()) == "er buffer_size=200 current 88.0 ± 1.2 9.0 ± 2.5 92.5 ± 0.0 -9.0 ± 2.5 3.0 3"


def test_terminal_does_not_read_names_as_markup():
    assert "[bold]x" in printed(rows([record(variant="[bold]x")]))


@pytest.mark.parametrize("format", FORMATS)
def test_no_rows(format):
    assert render([], format) is not None


def test_no_rows_are_said_to_be_none():
    assert "No records" in render([], "markdown")
    assert "No records" in printed([])


def test_unknown_format():
    with pytest.raises(ConfigError, match="format=xml") as caught:
        render([], "xml")
    assert all(format in caught.value.remedy for format in FORMATS)
