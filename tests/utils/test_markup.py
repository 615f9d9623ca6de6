"""Foreign text in every format: whatever it is, a reader sees it as text, and nothing is executed."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console
from rich.text import Text

from clbench.utils import markup

ANY = st.text(st.characters(exclude_categories=()), max_size=40)
"""Texts of all characters: control characters and surrogates too."""
MARKS = st.text(
    st.sampled_from("|\\`*_[](){}<>!#&$~^\"'=+-@.,:;/ab1 \n\t\r\x1b\x9b\x00\x07\u200b\u202e\u2028\ud800"), max_size=25
)
"""Texts of the characters that some format or terminal gives a meaning."""
HOSTILE = (
    "a|b",
    "two\nlines",
    "\\input{/etc/passwd}",
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "![x](http://example.org/x.png)",
    "<http://example.org>",
    "http://example.org/x www.example.org",
    "\x1b[2J\x1b]8;;http://example.org\x1b\\x\x1b]8;;\x1b\\",
    "\u202egpj.exe\u2066\u200b\ufeff",
    "=cmd|' /C calc'!A0",
    "$\\frac{1}{2}$",
    "&lt;b&gt; &amp; `code` **bold** _x_ ~~gone~~",
    "[red]x[/red] [/] :bug:",
    "a\\",
    "\\|",
    "#",
    "x ##",
)
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


class Page(HTMLParser):
    """Collects the text and the tags of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag in ("td", "th", "h3", "p"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


def page(text):
    found = Page()
    found.feed(text)
    found.close()
    return found


def hidden(text):
    """Return the characters of a text that have no picture, except the line feed."""
    return [char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") and char != "\n"]


def squeezed(text):
    """Return a text without leading, trailing and repeated spaces, which Markdown drops."""
    return " ".join(text.split())


def cases(test):
    """Try every hostile text, and many random ones."""
    for text in HOSTILE:
        test = example(text)(test)
    return given(ANY | MARKS)(test)


@cases
def test_plain_text_is_one_line_without_hidden_characters(text):
    found = markup.plain(text)
    assert not hidden(found)
    assert "\n" not in found
    assert markup.plain(found) == found
    found.encode("utf-8")


@pytest.mark.parametrize("text", ["er", "buffer_size=200", "größe 5 µ", "方法", "é", "a b  c"])
def test_visible_text_stays_as_it_is(text):
    assert markup.plain(text) == markup.terminal(text) == markup.name(text) == markup.csv_cell(text) == text


def test_escapes_are_readable():
    assert markup.plain("a\nb\tc\x1b\u202e\ud800") == r"a\nb\tc\x1b\u202e\ud800"


def test_letters_without_a_picture_are_shown():
    assert markup.plain("a\u3164\ufe0f\U000e0100") == r"a\u3164\ufe0f\U000e0100"


@cases
def test_terminals_get_no_control_characters(text):
    assert not hidden(markup.terminal(text))
    assert not hidden(re.sub("\x1b\\[[0-9;]*m", "", markup.coloured(text)))
    out = io.StringIO()
    markup.show(Console(file=out, force_terminal=True, color_system=None, width=200), text)
    assert not hidden(out.getvalue())
    assert out.getvalue() == markup.terminal(text) + "\n"


def test_colours_of_a_heat_map_remain():
    text = "\x1b[38;5;16;48;5;220m 88\x1b[0m"
    assert markup.coloured(text) == text
    assert Text.from_ansi(markup.coloured(text)).plain == " 88"
    assert markup.coloured("\x1b[2J\x1b[1;1H") == r"\x1b[2J\x1b[1;1H"


@cases
def test_markdown_shows_the_text_in_one_cell(text):
    cell = markup.markdown(text)
    found = page(MARKDOWN.render(f"| a | b |\n| --- | --- |\n| {cell} | end |\n"))
    assert found.tags == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]
    assert squeezed(found.cells[2]) == squeezed(markup.plain(text))
    assert found.cells[3].strip() == "end"


@cases
def test_markdown_shows_the_text_in_a_heading_and_in_a_line(text):
    written = markup.markdown(text)
    found = page(MARKDOWN.render(f"### er {written}\n\nName: {written}.\n"))
    assert found.tags == ["h3", "p"]
    name = markup.plain(text)
    assert [squeezed(cell) for cell in found.cells] == [squeezed(f"er {name}"), squeezed(f"Name: {name}.")]


@cases
def test_code_in_markdown_is_text_too(text):
    found = page(MARKDOWN.render(f"| a | b |\n| --- | --- |\n| {markup.markdown_code('x' + text)} | end |\n"))
    assert set(found.tags) <= {"table", "thead", "tr", "th", "tbody", "td", "code"}
    assert squeezed(found.cells[2]) == squeezed(markup.plain(f"x{text}"))


def test_github_makes_no_links_of_addresses():
    assert markup.markdown("http://example.org www.example.org") == r"http\://example.org www\.example.org"


@cases
def test_the_html_of_markdown_has_no_tags(text):
    assert page(MARKDOWN.renderInline(markup.markdown(text))).tags == []


COMMANDS = r"\\(textbackslash|textasciitilde|textasciicircum|dots|textless|textgreater|textbar|textasciigrave)\{\}"


@cases
def test_latex_has_no_command_of_the_text(text):
    found = markup.latex(text)
    rest = re.sub(COMMANDS, "", found)
    rest = re.sub(r"\\[&%$#_{}]|\\string\"|\{\[\}|\{\*\}|\{\}", "", rest)
    assert not set(rest) & set('\\{}&%$#_^~`<>|"\n'), found
    assert not re.match(r"\s*[\[*]", found)
    assert "--" not in found


def test_latex_keeps_names_readable():
    assert markup.latex("lr=0.1, 50 % of a_b") == r"lr=0.1, 50 \% of a\_b"
    assert markup.latex("[2em] x") == "{[}2em] x"
    assert markup.latex("a--b") == "a-{}-b"


@cases
def test_csv_is_read_back_equal_up_to_the_guard(text):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([markup.csv_cell(text), 1.5, "end"])
    ((cell, number, end),) = csv.reader(io.StringIO(out.getvalue()))
    assert (number, end) == ("1.5", "end")
    assert cell in (markup.plain(text), "'" + markup.plain(text))
    assert out.getvalue().count("\n") == 1
    assert not cell.lstrip().startswith(("=", "+", "-", "@", "\t", "\r", "\n")) or re.fullmatch(r"[-+0-9.eE]+", cell)


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", " =1", "\uff1d1", "-x", "=", "-"])
def test_formulas_begin_with_an_apostrophe(text):
    assert markup.csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-1.5", "+3", "-1e-3", "-.5", "5.", -1.5, 3, None, "a=b", "a-b"])
def test_numbers_and_other_text_stay(value):
    assert markup.csv_cell(value) == value


def test_long_names_are_cut():
    assert len(markup.name("x" * 10_000)) == markup.LONGEST
    assert markup.name("x" * markup.LONGEST) == "x" * markup.LONGEST
