"""Leaderboard rows as text: Markdown, CSV, JSON, LaTeX, or a table on the terminal."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from clbench.errors import ConfigError
from clbench.leaderboard.incomplete import FAILED, FEWER, count, legend, symbol
from clbench.leaderboard.rows import KEYS, Row
from clbench.leaderboard.tuned_by import NOTE
from clbench.utils import markup

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

VALIDATION = "validation splits, not a test result"
"""In the title of a table of validation splits."""
FORMATS = ("markdown", "csv", "json", "latex")
"""The formats that `render` writes."""

NOTES = (
    "Mean ± half width of the 95 % Student-t interval over n seeds; accuracies in percent; –: not defined.",
    "accuracy: mean over tasks after the last one. learning accuracy: mean over tasks, each just after it was learned.",
    "forgetting: mean over tasks but the last of (best since the task was learned − final). Read it together with learning "
    "accuracy: a task that was never learned cannot be forgotten.",
    "BWT: mean over tasks but the last of (final − just after learning). FWT: mean over tasks but the first of (just "
    "before learning − untrained).",
    "access: the training data that a method may use (current: of the task, seen: also of earlier tasks, all: of every "
    "task, retained: all data but the data to forget). seconds: wall clock per seed.",
)
"""The notes under every table for readers."""
UNLEARNING_NOTES = (
    "Requests to forget. All values are measured after the last request. retained: accuracy on test samples that no request "
    "named (good: high). forgotten: accuracy on test samples of the data to forget, mean over requests. trained on: the same on "
    "the training samples to forget. utility: accuracy on unrelated data. revival: accuracy that earlier requests regained "
    "(good: low). relearning: accuracy on the forgotten data while all data is learned again. MIA: area under the ROC curve of "
    "the loss, forgotten samples against unseen ones; 50: no sign of membership. detection: the same of a method's own score, "
    "data to forget against the rest. ms a sample: wall clock of one prediction.",
    "goal suppress: forgotten should be at chance level. goal retrain: forgotten, relearning and MIA should equal those of "
    "training without the forgotten data. Δ: difference to that training, in points. KS: distance of the losses on the "
    "forgotten data, 0 to 1.",
)
"""Further notes for streams with requests to forget."""

_EMPTY = "No records yet."
_COLUMNS = (
    ("method", "method"),
    ("variant", "variant"),
    ("server", "server"),
    ("model", "model"),
    ("access", "access"),
    ("tuned by", "tuned_by"),
    ("accuracy", "acc"),
    ("forgetting", "forgetting"),
    ("learning accuracy", "learning_accuracy"),
    ("BWT", "bwt"),
    ("FWT", "fwt"),
    ("forgotten", "forget_acc"),
    ("trained on", "forget_train_acc"),
    ("utility", "utility_acc"),
    ("revival", "revival"),
    ("relearning", "relearning"),
    ("MIA", "membership_auc"),
    ("failures", "failure_rate"),
    ("detection", "detection_auc"),
    ("Δ retained", "retain_gap"),
    ("Δ forgotten", "forget_gap"),
    ("Δ trained on", "forget_train_gap"),
    ("KS", "retrain_distance"),
    ("ms a sample", "inference_ms"),
    ("seconds", "seconds"),
    ("n", "n_seeds"),
)
_OPTIONAL = (
    *("variant", "server", "fwt", "forget_acc", "forget_train_acc", "utility_acc", "revival", "relearning", "membership_auc"),
    *("failure_rate", "detection_auc", "retain_gap", "forget_gap", "forget_train_gap", "retrain_distance"),
)
"""Columns that a table leaves out if they would be empty."""
_OF_TASKS = ("forgetting", "learning_accuracy", "bwt")
"""Columns that a table leaves out for streams with requests to forget."""
_OF_REQUESTS = ("inference_ms",)
"""Columns that a table leaves out for streams without requests."""
_UNBOUNDED = 10_000  # characters: wider than any table
_LATEX_SYMBOLS = {FAILED: r"$^\dagger$", FEWER: r"$^\ddagger$"}
_TEXT = ("method", "variant", "server", "model", "access", "tuned_by")


def render(rows: Sequence[Row], format: str) -> str:
    """Return the leaderboard as text without a final line break.

    Args:
        rows: from `clbench.leaderboard.rows.rows`.
        format: one of `FORMATS`. `json`: one array with all keys of every row. `csv`: all keys, plain numbers, empty if
            undefined, seeds separated by spaces; an apostrophe before text that a spreadsheet would execute. Names and
            reasons are escaped for each format (`clbench.utils.markup`).

    Raises:
        ConfigError: the format is unknown.
    """
    writers = {"markdown": _markdown, "csv": _csv, "json": _json, "latex": _latex}
    if format not in writers:
        raise ConfigError(f"unknown format={format}", f"choose one of {', '.join(FORMATS)}")
    return writers[format](rows)


def print_table(rows: Sequence[Row], console: Console) -> None:
    """Print the leaderboard on a terminal: one table per scenario and setting, then the notes."""
    if not rows:
        console.print(_EMPTY, highlight=False)
        return
    for title, part in sections(rows):
        unbounded = console.options.update(max_width=_UNBOUNDED)
        table = _table(title, part)
        if console.measure(table, options=unbounded).maximum > console.width:
            table = _table(title, part, tight=True)
        needed = console.measure(table, options=unbounded).minimum
        console.print(table, width=max(needed, console.width), crop=False, highlight=False, markup=False)
        for line in legend(part):
            markup.show(console, line, soft_wrap=False)
        console.print()
    for note in notes(rows):
        markup.show(console, note, style="dim", soft_wrap=False)


def _table(title: str, rows: Sequence[Row], tight: bool = False) -> Table:
    """Return a table. Text may break into lines, numbers never do. A `tight` table fits 80 characters."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    columns = _columns(rows)
    table = Table(
        title=Text(markup.plain(title)),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 0) if tight else (0, 1, 0, 0),
    )
    cells = [[_cell(row, key).replace(" ± ", "±" if tight else " ± ") for _, key in columns] for row in rows]
    for i, (name, key) in enumerate(columns):
        text = key in _TEXT
        unbroken = name.split() + ([] if text else [line[i] for line in cells])
        table.add_column(name, justify="left" if text else "right", overflow="fold", min_width=max(map(len, unbroken)))
    for line in cells:
        table.add_row(*map(Text, line))
    return table


def sections(rows: Iterable[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Yield (title, rows) for each scenario, setting and goal of sorted rows. The title names the model if all rows share it."""
    for (scenario, setting, split, goal), group in itertools.groupby(rows, key=_table_of):
        part = list(group)
        models = {row["model"] for row in part}
        named = ([] if goal is None else [f"goal {goal}"]) + ([VALIDATION] if split == "valid" else [])
        parts = [scenario, f"{setting} setting", *named, *(models if len(models) == 1 else ())]
        yield " · ".join(map(markup.name, parts)), part


def _table_of(row: Row) -> tuple[object, ...]:
    """Return what the rows of one table have in common."""
    return row["scenario"], row["setting"], row.get("split") or "test", row.get("goal")


def notes(rows: Sequence[Row]) -> list[str]:
    """Return the notes for these rows. One names the rows without a report of forgetting: their model knew too little."""
    found = [*NOTES, *_tuning_notes(rows)]
    if any(row.get("goal") for row in rows):
        found += UNLEARNING_NOTES
    unreported = [
        markup.name(f"{row['scenario']} {row['method']} {row['variant']}".strip()) for row in rows if row.get("claim") is False
    ]
    if unreported:
        found.append(f"Forgetting is reported only if the model first reached scenario.claim_at: not of {'; '.join(unreported)}.")
    return found


def _tuning_notes(rows: Sequence[Row]) -> list[str]:
    """Return the notes on where values come from: what the column says, and what all rows without the column share."""
    found = []
    hidden = {texts.pop() for _, part in sections(rows) if len(texts := {row.get("tuned_by") or "" for row in part}) == 1} - {""}
    shown = any(len({row.get("tuned_by") or "" for row in part}) > 1 for _, part in sections(rows))
    if hidden:
        found.append(f"Tables without the column tuned by: {', '.join(sorted(hidden))} in all rows.")
    return found + ([NOTE] if shown or any(not text.startswith("fixed (defaults") for text in hidden) else [])


def _columns(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return (heading, key) of the columns that these rows need."""
    empty = {key for key in _OPTIONAL if all(row.get(key) in (None, "") for row in rows)}
    empty |= {key for key in ("model", "tuned_by") if len({row.get(key) for row in rows}) == 1}
    if any(row.get("goal") for row in rows):
        columns = [("retained" if key == "acc" else name, key) for name, key in _COLUMNS if key not in _OF_TASKS]
        return [(name, key) for name, key in columns if key not in empty]
    return [(name, key) for name, key in _COLUMNS if key not in empty and key not in _OF_REQUESTS]


def _cell(row: Row, key: str) -> str:
    value = row[key]
    if key in _TEXT:
        return markup.name(value or "")
    if key == "n_seeds":
        return f"{count(row)} {symbol(row)}".strip()
    if key == "inference_ms" and value is not None:
        return f"{value:.2g}" if value < 10 else f"{value:.0f}"
    text = f"{value:.2f}" if key == "retrain_distance" and value is not None else _number(value)
    width = row.get(f"{key}_ci95")
    return text if width is None else f"{text} ± {_number(width)}"


def _number(value: float | None) -> str:
    """Return a number with one digit after the point; never `-0.0`."""
    return "–" if value is None else f"{round(value, 1) + 0.0:.1f}"


def _markdown(rows: Sequence[Row]) -> str:
    if not rows:
        return _EMPTY
    lines: list[str] = []
    for title, part in sections(rows):
        columns = _columns(part)
        lines += [f"### {markup.markdown(title)}", "", _line(name for name, _ in columns)]
        lines.append(_line("---" if key in _TEXT else "---:" for _, key in columns))
        lines += [_line(markup.markdown(_cell(row, key)) for _, key in columns) for row in part]
        lines.append("")
        lines += [part for line in legend(part) for part in (markup.markdown(line), "")]
    return "\n".join([*lines, "\n\n".join(map(markup.markdown, notes(rows)))])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _json(rows: Sequence[Row]) -> str:
    return json.dumps(list(rows), indent=1, allow_nan=False)


def _csv(rows: Sequence[Row]) -> str:
    import csv
    import io

    text = io.StringIO()
    writer = csv.DictWriter(text, KEYS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    lists = ("seeds", "failed_seeds")
    for row in rows:
        line = {**row, **{key: " ".join(map(str, row.get(key) or [])) for key in lists}}
        writer.writerow({key: markup.csv_cell(value) for key, value in line.items()})
    return text.getvalue().rstrip("\n")


def _latex(rows: Sequence[Row]) -> str:
    """Return tabulars for the package booktabs, one per scenario and setting."""
    if not rows:
        return f"% {_EMPTY}"
    lines: list[str] = []
    for title, part in sections(rows):
        columns = _columns(part)
        alignment = "".join("l" if key in _TEXT else "r" for _, key in columns)
        lines += [f"% {markup.plain(title)}", rf"\begin{{tabular}}{{{alignment}}}", r"\toprule"]
        lines += [" & ".join(markup.latex(name) for name, _ in columns) + r" \\", r"\midrule"]
        lines += [" & ".join(_latex_cell(row, key) for _, key in columns) + r" \\" for row in part]
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [rf"\par{{\footnotesize {text}}}" for text in _latex_legend(part)]
        lines += [*(f"% {markup.plain(line)}" for line in legend(part)), ""]
    return "\n".join([*lines, *(f"% {markup.plain(note)}" for note in notes(rows))])


def _latex_legend(rows: Sequence[Row]) -> list[str]:
    """Return the short lines below a table that explain its symbols in print."""
    texts = {FAILED: "n of N seeds ended, the others failed; means are over the n seeds", FEWER: "fewer seeds than other rows"}
    present = {row.get("incomplete") for row in rows}
    return [f"{_LATEX_SYMBOLS[kind]} {text}" for kind, text in texts.items() if kind in present]


def _latex_cell(row: Row, key: str) -> str:
    if key == "n_seeds" and row.get("incomplete"):
        return count(row) + _LATEX_SYMBOLS[row["incomplete"]]
    cell = _cell(row, key)
    if key in _TEXT:
        return markup.latex(cell)
    return "--" if row[key] is None else f"${cell.replace('±', chr(92) + 'pm')}$"
