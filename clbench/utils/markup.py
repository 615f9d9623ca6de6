r"""Names and messages as text in terminals, Markdown, LaTeX, CSV and pictures.

Names of methods, scenarios and variants come from plug-ins, from file names, and from records of other people. Messages of
errors come from plug-ins, too. Each function here makes such text harmless in one format, and keeps it readable. Characters
without a picture become visible escapes such as `\x1b`: control characters, characters of zero width, marks that turn the
direction of writing.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

LONGEST = 500
"""Characters of a name in a table; the rest of a longer name is left out. Ours: tracked variants have at most 120."""

_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, marks of format, surrogates, and breaks of lines and paragraphs."""
_WITHOUT_PICTURE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]")
"""Letters and marks without a picture in other categories: Unicode's property Default_Ignorable_Code_Point."""
_COLOUR = re.compile("(\x1b\\[[0-9;]*m)")
"""A change of colour or weight: the only escape sequence that a terminal may get."""
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
"""First characters of a formula in spreadsheets, also in full width (OWASP, CSV Injection)."""
_MARKDOWN = re.compile(
    r"[\\`*~<>|&$]"  # emphasis, code, HTML, cells, entities, formulas
    r"|(?<![^\W_])_|_(?![^\W_])"  # an underscore within a word has no meaning
    r"|!(?=\[)|\](?=[(\[:])"  # pictures and links; a list of numbers stays as it is
    r"|:(?=//)|(?<=www)\."  # addresses: GitHub makes links of them
    r"|#(?=[#\s]*$)"  # the end of a heading
)
_LATEX = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "…": r"\dots{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"\string" + '"',  # an active character in some languages of babel
}


def plain(text: object) -> str:
    r"""Return text as one line of visible characters.

    >>> print(plain("two\nlines, \x1b[2J"))
    two\nlines, \x1b[2J
    """
    words = str(text)
    if words.isascii() and words.isprintable():
        return words
    return "".join(_escape(char) if _hidden(char) else char for char in words)


def terminal(text: object) -> str:
    """Return text of one or several lines that only writes: no colour, no link, no movement of the cursor."""
    return "\n".join(map(plain, str(text).replace("\t", "    ").split("\n")))


def coloured(text: object) -> str:
    """Return text of one or several lines in which colours and weights (`ESC [ ... m`) remain, and no other sequence."""
    parts = _COLOUR.split(str(text))
    return "".join(part if i % 2 else terminal(part) for i, part in enumerate(parts))


def show(console: Console, text: object, style: str = "", soft_wrap: bool = True) -> None:
    """Print text on a console as it is: no markup of rich, no emoji codes, no control characters.

    Args:
        console: of rich.
        text: one or several lines.
        style: of the whole text.
        soft_wrap: whether the terminal breaks long lines; otherwise rich breaks them between words.
    """
    from rich.text import Text

    console.print(Text(terminal(text), style=style), soft_wrap=soft_wrap)


def name(text: object, longest: int = LONGEST) -> str:
    """Return a name for a table: one line, at most `longest` characters.

    >>> name("abcdefgh", longest=5)
    'abcd…'
    """
    whole = plain(text)
    return whole if len(whole) <= longest else f"{whole[: longest - 1]}…"


def markdown(text: object) -> str:
    r"""Return text for a cell, a heading or the middle of a paragraph: it is shown as it is, without marks, links or HTML.

    >>> print(markdown("buffer_size=200, a|b, [x](y), <b>"))
    buffer_size=200, a\|b, [x\](y), \<b\>
    """
    return _MARKDOWN.sub(lambda found: f"\\{found[0]}", plain(text))


def markdown_code(text: object) -> str:
    """Return text as code within a line of Markdown, for a table too.

    >>> markdown_code("mammoth/s_mnist")
    '`mammoth/s_mnist`'
    """
    words = plain(text)
    if not set(words) & set("`|\\"):
        return f"`{words}`"
    return markdown(words)  # within code no character can be escaped


def latex(text: object) -> str:
    r"""Return text for a cell of a table in LaTeX: no command, no comment, no argument of the row before, no ligature.

    >>> print(latex("50 % of a_b"))
    50 \% of a\_b
    """
    words = "".join(_LATEX.get(char, char) for char in plain(text))
    words = re.sub(r"(?<=-)-|(?<=')'|(?<=[,])(?=,)", lambda found: "{}" + found[0], words)
    return re.sub(r"^(\s*)([\[*])", r"\1{\2}", words)  # a row's end may take an argument in brackets, or a star


def csv_cell(value: Any) -> Any:
    """Return a value for a cell of a CSV file: text in one line that no spreadsheet executes; other values as they are.

    A text that looks like a formula begins with an apostrophe. Numbers stay numbers.

    >>> csv_cell("=1+1"), csv_cell("-1.5"), csv_cell(-1.5)
    ("'=1+1", '-1.5', -1.5)
    """
    if not isinstance(value, str):
        return value
    words = plain(value)
    formula = words.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(words)
    return f"'{words}" if formula else words


def _hidden(char: str) -> bool:
    return unicodedata.category(char) in _HIDDEN or _WITHOUT_PICTURE.match(char) is not None


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
