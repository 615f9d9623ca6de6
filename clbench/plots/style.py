"""What all pictures share: fonts and colours, the heading, and the way into a file. No display, no pyplot."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
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

from clbench.errors import StoreError
from clbench.leaderboard.rows import Row

COLOUR_MAP = "cividis"
"""Perceptually uniform, and nearly the same to colour-blind readers (Nunez et al., PLoS ONE 2018)."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
"""Of lines and bars: Okabe & Ito's palette for colour-blind readers (2008), its yellow, faint on white, replaced by grey."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""A second way to tell the lines apart, for print in grey."""

TEXT = 8.0  # points; what stands in the picture is no smaller than SMALL once it is as wide as a page
SMALL = 7.0
TITLE = 11.0
DOTS_PER_INCH = 200  # of PNG: sharp at the width of a page
_MARGIN = 0.08  # inches
_SPACING = 1.45  # height of a line of text over its font size

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture everywhere
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
    "text.parse_math": False,  # a `$` or `_` in a variant is meant as it stands
    "pdf.fonttype": 42,  # TrueType: many publishers refuse matplotlib's own Type 3
    "svg.hashsalt": "clbench",  # otherwise the ids of an SVG are drawn by lot: the same records give the same file
}
_UNDATED = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def context() -> AbstractContextManager[None]:
    """Return the context in which to draw and to save; matplotlib's own settings are as before after it."""
    return matplotlib.rc_context(_SETTINGS)


def sheet(row: Row, lines: Iterable[Sequence[str]], width: float, height: float) -> Figure:
    """Return an empty figure under its heading: `method · scenario · setting`, then smaller lines.

    Args:
        row: of the leaderboard.
        lines: each the parts of a line, which is broken between parts where it would be too wide.
        width: inches.
        height: inches below the heading, which comes on top of them.
    """
    room = width - 2 * _MARGIN
    heading = _broken([str(row["method"]), str(row["scenario"]), str(row["setting"])], room, TITLE, bold=True)
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
    """Return what the title leaves out of a row's names, as parts of a line: model, server, variant."""
    return [str(row[key]) for key in ("model", "server", "variant") if row[key]]


def number(value: float | None) -> str:
    """Return a number with one digit after the point, as the leaderboard does; never `-0.0`."""
    return "–" if value is None else f"{round(value, 1) + 0.0:.1f}"


def step(n: int, most: int) -> int:
    """Return a round number (1, 2, 5, 10, ...): every so many of `n` ticks are shown, so that `most` at most are."""
    rounds = (m * int(10**k) for k in range(n + 1) for m in (1, 2, 5))
    return next(size for size in rounds if size * most >= n)


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Return how wide a line of text is, in inches.

    Args:
        text: one line.
        size: of the font, in points.
        bold: whether it is.
    """
    if not text.strip():
        return 0.0
    font = FontProperties(family=_SETTINGS["font.family"], weight="bold" if bold else "normal")
    return float(TextPath((0, 0), text, size=size, prop=font).get_extents().width) / 72


def save(figure: Figure, path: Path) -> None:
    """Write a picture whole or not at all; its format is the ending of `path`.

    Raises:
        StoreError: it cannot be written; what was there is still there.
    """
    format = path.suffix.removeprefix(".")
    content = io.BytesIO()
    figure.savefig(content, format=format, dpi=DOTS_PER_INCH, metadata=_UNDATED[format])
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content.getvalue())
        os.replace(temporary, path)
    except OSError as error:
        raise StoreError(
            f"the picture {path} cannot be written: {error.strerror or error}", "name another folder by out=..., or free space"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _broken(parts: Sequence[str], room: float, size: float, bold: bool = False) -> list[str]:
    """Return `parts`, joined by dots, as lines no wider than `room`; a part that alone is too wide is broken as well."""
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
