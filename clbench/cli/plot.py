"""The command `clbench-plot`: pictures from a folder of records. It trains nothing, changes no record, needs no display."""

from __future__ import annotations

if __name__ == "__main__":
    from clbench.cli.start import plot as start

    start()
    raise SystemExit

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from clbench.cli.key_values import Command, filtered
from clbench.errors import ClbenchError, ConfigError, StoreError
from clbench.leaderboard.entries import load_entries
from clbench.leaderboard.rows import Row, rows
from clbench.records import Record
from clbench.store.failures import load_failures
from clbench.utils.markup import plain
from clbench.utils.safe_json import escaped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HELP = """\
clbench-plot: pictures from a folder of results, one per row of its leaderboard.

usage: clbench-plot [key=value ...]

  kind=matrix       accuracy on every evaluation set after every task, mean over seeds (default)
  kind=subspaces    how much of each layer a projection method (gpm, ...) protects, over the tasks
  kind=curves       accuracy on every task over the steps, of runs measured within tasks (eval.every)
  kind=drift        how far each layer's weights and activations moved in each task (eval.drift=true)
  kind=clients      how many samples of each class each client has, of federated runs (+federated=...), one seed
  results_dir=DIR   folder that clbench wrote its records to (default: runs)
  out=FOLDER        where the pictures go; older ones of the same name are replaced (default: RESULTS_DIR/plots)
  format=FORMAT     png (default), svg, pdf
  scenario=NAMES    only these scenarios, settings, methods; several are separated by commas
  setting=NAMES
  method=NAMES

It prints the files written, one per line. The exit status is 1 if a record could not be read or there was nothing to
draw. Drawing needs matplotlib: pip install 'clbench[plot]'."""

KINDS = ("matrix", "subspaces", "curves", "drift", "clients")
FORMATS = ("png", "svg", "pdf")
KEYS = {"kind": "matrix", "results_dir": "runs", "out": None, "format": "png", "scenario": None, "setting": None, "method": None}
COMMAND = Command("clbench-plot", HELP, KEYS, {"kind": KINDS, "format": FORMATS})

_NEEDED = {
    "subspaces": ("sizes of subspaces", "run a projection method, clbench method=gpm, or draw kind=matrix"),
    "curves": ("accuracies within tasks", "run clbench eval.every=STEPS, or draw kind=matrix"),
    "drift": ("drift of layers", "run clbench eval.drift=true, or draw kind=matrix"),
    "clients": ("classes of clients", "run clbench +federated=dirichlet, or draw kind=matrix"),
}
"""What a record must tell for a kind of picture, and how to get one that does."""
_LONGEST = 120  # characters of a file's name before it is cut: file systems take 255 bytes


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave with status 0, or 1 if a record could not be read or there was nothing to draw."""
    COMMAND.main(run, arguments)


def run(arguments: Sequence[str]) -> int:
    """Draw the pictures, print their files; return the exit status.

    Raises:
        ConfigError: an invalid argument, a filter that matches nothing, no records, no matplotlib.
        StoreError: the folder cannot be read, or a picture cannot be written.
    """
    options = COMMAND.parse(arguments)
    good, errors = load_entries(Path(options["results_dir"]))
    failures, damaged = load_failures(Path(options["results_dir"]))
    errors += damaged
    for error in errors:
        COMMAND.say(f"left out: {error.line}")
    if not good and not failures:
        if errors:
            return 1
        raise ConfigError(f"no records in results_dir={options['results_dir']} yet", "run clbench to make some")
    shown = rows(good, failures)
    names = file_names(shown)  # of all rows, so that a filter changes no name
    shown = _with_records(filtered(shown, options, _absent))
    groups: dict[str, list[Record]] = defaultdict(list)
    drawn = {row["config_id"] for row in shown}
    for each in sorted(good, key=lambda each: each.seed):
        if each.config_id in drawn:
            groups[each.config_id].append(each.record)
    kind = options["kind"]
    out = Path(options.get("out", Path(options["results_dir"]) / "plots"))
    paths = {row["config_id"]: out / f"{names[row['config_id']]}-{kind}.{options['format']}" for row in shown}
    return 1 if _draw(kind, shown, groups, paths) or errors else 0


def _with_records(shown: Sequence[Row]) -> list[Row]:
    """Return the rows that can be drawn; name the rows all of whose seeds failed.

    Raises:
        ConfigError: no row can be drawn.
    """
    lost = [row for row in shown if not row["n_seeds"]]
    for row in lost:
        name = f"{row['scenario']} {row['method']} {row['variant']}".rstrip()
        COMMAND.say(f"not drawn, all seeds failed: {name}: {row['failure']}")
    if lost and len(lost) == len(shown):
        raise ConfigError("all runs of these rows failed", "clbench-leaderboard shows the reasons; draw other rows")
    return [row for row in shown if row["n_seeds"]]


def file_names(shown: Sequence[Row]) -> dict[str, str]:
    """Return {config_id: name without kind and ending} of rows: `scenario-setting-method`, server and variant if any.

    Where that names several rows, the model is added, and then the config_id; on no file system do two names meet.
    """
    names = {row["config_id"]: _name(row) for row in shown}
    for key in ("model", "config_id"):
        uses = Counter(name.casefold() for name in names.values())
        for row in shown:
            name = names[row["config_id"]]
            if uses[name.casefold()] > 1:
                names[row["config_id"]] = f"{name}-{_clean(row[key])[:_LONGEST]}"
    return names


def _name(row: Row) -> str:
    parts = [_clean(row[key]) for key in ("scenario", "setting", "method", "server", "variant") if row[key]]
    name = "-".join(part for part in parts if part)
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}-{row['config_id']}"


def _clean(text: object) -> str:
    """Return `text` with everything replaced that a file system, a shell or LaTeX could take amiss."""
    return re.sub(r"[^A-Za-z0-9.=+-]+", "_", str(text)).strip("_.-")


def _absent(what: str, present: str) -> NoReturn:
    raise ConfigError(what, present)


def _draw(kind: str, shown: Sequence[Row], groups: dict[str, list[Record]], paths: dict[str, Path]) -> bool:
    """Draw each row into its file and print the file; return whether a row could not be drawn."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"pictures need matplotlib, which cannot be imported ({error})", "pip install 'clbench[plot]'"
        ) from error
    from clbench.plots import plot_clients, plot_curves, plot_drift, plot_matrix, plot_subspaces, style

    draw, needs = {
        "matrix": (plot_matrix.draw, None),
        "subspaces": (plot_subspaces.draw, plot_subspaces.sizes),
        "curves": (plot_curves.draw, plot_curves.measured),
        "drift": (plot_drift.draw, plot_drift.reported),
        "clients": (plot_clients.draw, plot_clients.reported),
    }[kind]
    if needs is not None:
        kept = {row["config_id"]: [each for each in groups[row["config_id"]] if needs(each)] for row in shown}
        without = [each for row in shown for each in groups[row["config_id"]] if not needs(each)]
        methods = sorted({str(each.identity["names"]["method"]) for each in without})
        what, remedy = _NEEDED[kind]
        shown, groups = [row for row in shown if kept[row["config_id"]]], kept
        if not shown:
            raise ConfigError(f"kind={kind}: none of the records (methods: {', '.join(methods)}) tells the {what}", remedy)
        if without:
            COMMAND.say(f"skipped {len(without)} records without {what} (methods: {', '.join(methods)})")
    failed = False
    for row in shown:
        path = paths[row["config_id"]]
        with style.context():
            drawn, errors = _drawn(draw, style.save, row, groups[row["config_id"]], path)
        for fault in errors:
            COMMAND.say(f"left out: {fault.line}")
        failed = failed or bool(errors)
        if drawn:
            print(plain(path), flush=True)
    return failed


def _drawn(
    draw: Callable[[Row, list[Record]], Figure],
    save: Callable[[Figure, Path], None],
    row: Row,
    records: list[Record],
    path: Path,
) -> tuple[bool, list[ClbenchError]]:
    """Draw the records of a row into a file; leave out those that cannot be drawn. Return (is there a picture?, the reasons).

    Diagnostics are free: methods from outside may report anything. So any exception in drawing is a reason.

    Raises:
        StoreError: the picture cannot be written.
    """
    try:
        save(draw(row, records), path)
        return True, []
    except Exception as error:
        if isinstance(error, StoreError) and isinstance(error.__cause__, OSError):
            raise
        whole = _reason(records, error)
    if len(records) < 2:
        return False, [whole]
    found = [(record, _drawn(draw, _discard, row, [record], path)[1]) for record in records]
    good = [record for record, errors in found if not errors]
    if len(good) == len(records):  # each alone can be drawn: they contradict each other
        return False, [whole]
    drawn, errors = _drawn(draw, save, row, good, path) if good else (False, [])
    return drawn, [error for _, each in found for error in each] + errors


def _discard(figure: Figure, path: Path) -> None:
    from clbench.plots import style

    style.picture(figure, path)


def _reason(records: Sequence[Record], error: Exception) -> ClbenchError:
    if isinstance(error, ClbenchError):
        return error
    names = ", ".join(record.id for record in records)
    what = f"the record {names} cannot be drawn" if len(records) == 1 else f"the records {names} cannot be drawn together"
    return StoreError(f"{what} ({type(error).__name__}: {escaped(error)})", "move it out of the results folder")
