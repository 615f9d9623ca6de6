"""Names, variants and reasons of failures that hold markup: each format shows them as text."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from clbench.leaderboard.rows import rows
from clbench.leaderboard.tables import FORMATS, print_table, render
from clbench.utils import markup
from tests.leaderboard.factory import record
from tests.leaderboard.failed import failure
from tests.utils.test_markup import HOSTILE, page, squeezed

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def table(text):
    """Return rows in which every name is `text`, and one whose seeds failed for the reason `text`."""
    names = {"server": text, "optimizer": text}
    made = record(method=text, scenario=text, model=text, variant=text, names=names, setting=text, access=text)
    lost = failure(1, method=text, scenario=text, variant=text, reason=text)
    return rows([made, record(scenario="other"), record(scenario="other", method=text, variant=text)], [lost])


def hidden(text):
    return [char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char != "\n"]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_has_the_tables_cells_and_no_more(text):
    made = table(text)
    written = render(made, "markdown")
    found = page(MARKDOWN.render(written))
    assert set(found.tags) == {"h3", "p", "table", "thead", "tr", "th", "tbody", "td"}
    assert not hidden(written)
    lines = [line for line in written.splitlines() if line.startswith("|")]
    headings = found.tags.count("h3")
    assert len(lines) == found.tags.count("tr") + headings == len(made) + 2 * headings
    cells = [squeezed(cell) for cell in found.cells]
    assert squeezed(markup.name(text)) in cells
    assert any(squeezed(markup.plain(text)) in cell for cell in cells if cell.startswith("†"))


@pytest.mark.parametrize("text", HOSTILE)
def test_latex_has_a_line_per_row_and_every_other_line_is_known(text):
    made = table(text)
    written = render(made, "latex")
    assert not hidden(written)
    for line in written.splitlines():
        known = re.match(r"% |\\(begin|end)\{tabular\}|\\(top|mid|bottom)rule$|\\par\{", line)
        assert known or line.endswith(r" \\") or not line, line
    assert sum(line.endswith(r" \\") for line in written.splitlines()) == len(made) + written.count(r"\toprule")
    assert r"\input" not in re.sub(r"(?m)^% .*$", "", written)


@pytest.mark.parametrize("text", HOSTILE)
def test_csv_has_a_line_per_row_and_no_formula(text):
    made = table(text)
    written = render(made, "csv")
    assert not hidden(written)
    found = list(csv.DictReader(io.StringIO(written)))
    assert len(found) == len(written.splitlines()) - 1 == len(made)
    for line, row in zip(found, made, strict=True):
        assert line["method"].removeprefix("'") == markup.plain(row["method"])
        for cell in line.values():
            assert not cell.lstrip().startswith(("=", "+", "@"))
            assert not cell.startswith("-") or float(cell) < 0


def test_negative_numbers_stay_numbers_in_csv():
    (line,) = csv.DictReader(io.StringIO(render(rows([record()]), "csv")))
    assert line["bwt"].startswith("-")
    assert float(line["bwt"]) == pytest.approx(-10)


@pytest.mark.parametrize("text", HOSTILE)
def test_json_is_ascii_and_equal(text):
    made = table(text)
    written = render(made, "json")
    assert written.isascii()
    assert json.loads(written) == made


@pytest.mark.parametrize("text", HOSTILE)
def test_a_terminal_gets_text_only(text):
    out = io.StringIO()
    print_table(table(text), Console(file=out, width=400, force_terminal=True, color_system=None))
    assert not hidden(out.getvalue())
    assert squeezed(markup.name(text)) in squeezed(out.getvalue())


@pytest.mark.parametrize("text", HOSTILE)
def test_html_that_rich_makes_of_the_table_has_no_tags_of_the_text(text):
    """Notebooks show rich's tables in this way."""
    console = Console(file=io.StringIO(), record=True, width=400)
    print_table(table(text), console)
    found = page(console.export_html(code_format="<pre>{code}</pre>"))
    assert set(found.tags) <= {"pre", "span"}


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_can_be_encoded(format):
    render(rows([record(variant="\ud800")]), format).encode("utf-8")


def test_a_long_name_does_not_fill_the_table():
    for format in ("markdown", "latex"):
        assert max(map(len, render(table("x" * 100_000), format).splitlines())) < 20 * markup.LONGEST
