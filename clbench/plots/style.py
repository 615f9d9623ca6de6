"""Common parts of all pictures: fonts, colours, the heading, and saving to a file. Needs no display and no pyplot."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import TextPath

from clbench.leaderboard.incomplete import over
from clbench.leaderboard.rows import Row
from clbench.utils import atomic, markup

COLOUR_MAP = "cividis"
"""Perceptually uniform, and almost equal for colour-blind readers (Nunez et al., PLoS ONE 2018)."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
"""Colours of lines and bars: Okabe & Ito's palette for colour-blind readers (2008), with grey for its yellow, faint on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Markers distinguish the lines in grey print."""

LONGEST = 60
"""Characters of a name in a legend or at an axis; the rest of a longer name is left out."""
TEXT = 8.0  # points; no text is smaller than SMALL if the picture is as wide as a page
SMALL = 7.0
TITLE = 11.0
DOTS_PER_INCH = 200  # of PNG: sharp at the width of a page
LARGEST = (300.0, 2000.0)  # inches of a side, square inches: 80 million dots take 320 MB
LONGEST_TEXT = 5000  # letters
_MARGIN = 0.08  # inches
_SPACING = 1.45  # height of a line of text over its font size

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # part of matplotlib: the same picture on every machine
    "font.size": TEXT,
    "axes.labelsize": TEXT,
    "axes.titlesize": TEXT,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.5,
    "text.usetex": False,
    "text.parse_math": False,  # a `$` or `_` in a variant is plain text
    "pdf.fonttype": 42,  # TrueType: many publishers refuse matplotlib's own Type 3
    "svg.hashsalt": "clbench",  # fixed ids in an SVG: the same records give the same file
}
_UNDATED = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def context() -> AbstractContextManager[None]:
    """Return the context for drawing and saving. It restores matplotlib's settings at its end."""
    return matplotlib.rc_context(_SETTINGS)


def sheet(row: Row, lines: Iterable[Sequence[str]], width: float, height: float) -> Figure:
    """Return an empty figure with a heading: `method · scenario · setting`, then smaller lines.

    Args:
        row: row of the leaderboard.
        lines: the parts of each line. A line that is too wide is broken between parts.
        width: inches.
        height: inches below the heading.
    """
    room = width - 2 * _MARGIN
    heading = _broken([markup.name(row[key]) for key in ("method", "scenario", "setting")], room, TITLE, bold=True)
    texts = [(line, TITLE, True) for line in heading]
    texts += [(text, TEXT, False) for parts in lines for text in _broken([part for part in parts if part], room, TEXT)]
    top = _MARGIN + sum(size * _SPACING / 72 for _, size, _ in texts)
    below = ConstrainedLayoutEngine(rect=(0, 0, 1, height / (height + top)), w_pad=_MARGIN, h_pad=_MARGIN)
    figure = Figure(figsize=(width, height + top), layout=below)
    y = height + top - _MARGIN
    for text, size, bold in texts:
        figure.text(
            _MARGIN / width, y / (height + top), text, size=size, weight="bold" if bold else "normal", va="top", gid="heading"
        )
        y -= size * _SPACING / 72
    return figure


def details(row: Row) -> list[str]:
    """Return the names of a row that the title leaves out, as parts of a line: model, server, variant."""
    return [markup.name(row[key]) for key in ("model", "server", "variant") if row[key]]


def label(text: object) -> str:
    """Return the name of a line, bar or column: one line, not too long. Legends ignore a name that begins with `_`."""
    short = markup.name(text, LONGEST)
    return f" {short}" if short.startswith("_") else short


def averaged(row: Row, n: int, band: str = "") -> str:
    """Return what the lines of a picture show: `1 seed`, `mean over 5 seeds, band: min to max`, `1 of 6 seeds (5 failed)`.

    Args:
        row: row of the leaderboard.
        n: number of its seeds in the picture.
        band: what is drawn around the mean of several seeds.
    """
    seeds = over(row, n)
    return seeds if n == 1 else f"mean over {seeds}{band}"


def number(value: float | None) -> str:
    """Return a number with one digit after the point, as the leaderboard does; never `-0.0`."""
    return "–" if value is None else f"{round(value, 1) + 0.0:.1f}"


def step(n: int, most: int) -> int:
    """Return the smallest round number s (1, 2, 5, 10, ...) for which every s-th of `n` ticks makes at most `most` ticks.

    >>> step(40, most=12)
    5
    """
    rounds = (m * int(10**k) for k in range(n + 1) for m in (1, 2, 5))
    return next(size for size in rounds if size * most >= n)


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Return the width of a line of text, in inches.

    Args:
        text: one line.
        size: font size in points.
        bold: whether the font is bold.

    Raises:
        ValueError: the text has more than `LONGEST_TEXT` letters, whose outlines would take long to compute.
    """
    if not text.strip():
        return 0.0
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"a name of {len(text):,} letters")
    font = FontProperties(family=_SETTINGS["font.family"], weight="bold" if bold else "normal")
    return float(TextPath((0, 0), text, size=size, prop=font).get_extents().width) / 72


def save(figure: Figure, path: Path) -> None:
    """Write a picture atomically. The suffix of `path` gives its format.

    Raises:
        StoreError: the picture cannot be written; an older file stays as it was.
    """
    remedy = "name another folder by out=..."
    atomic.write(path, picture(figure, path), name="the picture", remedy=remedy)


def picture(figure: Figure, path: Path) -> bytes:
    """Return the content of the file for a picture; the suffix of `path` gives its format.

    Raises:
        ValueError: the picture is larger than `LARGEST`, because a name in it is too long.
    """
    width, height = figure.get_size_inches()
    if max(width, height) > LARGEST[0] or width * height > LARGEST[1]:
        raise ValueError(f"a picture of {width:.0f} x {height:.0f} inches")
    format = path.suffix.removeprefix(".")
    content = io.BytesIO()
    figure.savefig(content, format=format, dpi=DOTS_PER_INCH, metadata=_UNDATED[format])
    return content.getvalue()


def _broken(parts: Sequence[str], room: float, size: float, bold: bool = False) -> list[str]:
    """Return `parts`, joined by dots, as lines no wider than `room`. A part that is too wide alone is broken too."""
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]} · {part}" if lines else part
        if text_width(longer, size, bold) <= room:
            lines[-1:] = [longer]
        elif (needed := text_width(part, size, bold)) <= room:
            lines.append(part)
        else:
            lines += textwrap.wrap(part, max(1, int(0.9 * len(part) * room / needed)))  # letters differ in width
    return lines
