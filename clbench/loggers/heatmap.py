"""Drawings of a matrix: text for a terminal, pixels for other uses."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from rich.text import Text

Rows = Sequence[Sequence[float | None]]
"""A matrix in percent; None: not measured."""

RAMP = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Colours at 0, 25, 50, 75 and 100 percent: viridis (Smith & van der Walt, 2015), whose lightness rises evenly."""
MISSING = (128, 128, 128)
SHADES = " ░▒▓█"
WIDEST = 20
"""With more columns than this the text drops the numbers and keeps the shades."""
LARGEST = 100
"""With more rows or columns than this the text leaves some out, evenly: no terminal is wider, and time and memory stay small."""


def color(value: float | None) -> tuple[int, int, int]:
    """Return the red, green and blue (0..255) of a value in percent; outside 0..100 it is the end's."""
    if value is None:
        return MISSING
    place = min(max(value / 100, 0.0), 1.0) * (len(RAMP) - 1)
    low = min(int(place), len(RAMP) - 2)
    red, green, blue = (round(a + (place - low) * (b - a)) for a, b in zip(RAMP[low], RAMP[low + 1]))
    return red, green, blue


def shade(value: float | None) -> str:
    """Return one character for a value in percent, darker for more; `·` where nothing was measured."""
    if value is None:
        return "·"
    return SHADES[min(max(int(value / 100 * len(SHADES)), 0), len(SHADES) - 1)]


def plain(rows: Rows, names: Sequence[str]) -> str:
    """Return a matrix as lines of text: a name per row, per entry its percentage and a shade; columns are numbered.

    Of more than `LARGEST` rows or columns the first of each few is drawn, and a line says so.
    """
    return _draw(rows, names).plain


def ansi(rows: Rows, names: Sequence[str]) -> str:
    """Return what `plain` does, with the entries coloured by ANSI escape codes (256 colours)."""
    from rich.console import Console

    text = _draw(rows, names)
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="256", no_color=False)
    console.print(text, end="", soft_wrap=True)
    return out.getvalue()


def _draw(rows: Rows, names: Sequence[str]) -> Text:
    from rich.style import Style
    from rich.text import Text

    columns = max((len(row) for row in rows), default=0)
    down, across = _step(len(rows)), _step(columns)
    text = Text()
    if down > 1 or across > 1:
        text.append(f"every {_nth(down)}row and every {_nth(across)}column of {len(rows)} x {columns}\n")
    rows, names = [row[::across] for row in rows[::down]], names[::down]
    margin = max((len(name) for name in names), default=0)
    wide = columns <= WIDEST
    if wide:
        text.append(" " * margin + "".join(f"{column:4d} " for column in range(columns)) + "\n")
    for name, row in zip(names, rows):
        text.append(name.ljust(margin) + " ")
        for value in row:
            number = "  –" if value is None else f"{value:3.0f}"
            red, green, blue = color(value)
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 128  # luma of Rec. ITU-R BT.601
            style = Style(color="#ffffff" if dark else "#000000", bgcolor=f"#{red:02x}{green:02x}{blue:02x}")
            text.append(f"{number}{shade(value)}" if wide else shade(value), style)
            text.append(" " if wide else "")
        text.append("\n")
    text.rstrip()
    return text


def _step(n: int) -> int:
    """Return the smallest step with which at most `LARGEST` of `n` lines are drawn."""
    return max(1, -(-n // LARGEST))


def _nth(step: int) -> str:
    return "" if step == 1 else f"{step}. "


def image(rows: Rows, cell: int) -> np.ndarray:
    """Return a matrix as pixels.

    Args:
        rows: R rows of equal length C.
        cell: side of one entry in pixels.

    Returns:
        uint8 `[R * cell, C * cell, 3]`, red green blue.
    """
    import numpy as np

    pixels = np.array([[color(value) for value in row] for row in rows], dtype=np.uint8)
    return pixels.repeat(cell, axis=0).repeat(cell, axis=1)
