"""Results in Python: `clbench.run` returns them, `clbench.load` reads them."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from clbench.leaderboard.entries import Entry, entry, load_entries
from clbench.leaderboard.rows import METRICS, NAMES, UNLEARNING, rows
from clbench.metrics.matrix import fractions
from clbench.metrics.unlearning import OVERALL
from clbench.records import Record
from clbench.store.failures import Failure, load_failures
from clbench.utils.folders import results_dir

if TYPE_CHECKING:
    import pandas as pd

COUNTS = ("n_seeds", "n_failed")
"""Keys of a row that every line of a frame repeats."""
TAKEN = frozenset(
    (
        *(*METRICS, *UNLEARNING, *OVERALL, *COUNTS, "setting", "variant", "seed", "failure", "config_id", "id"),
        *("average_incremental", "anytime", "min_acc", "worst_case_accuracy", "stability_gap"),
    )
)
"""Columns of a frame that neither names nor costs may replace."""


class Results(Sequence[Record]):
    """A sequence of records, with tables of them. A slice is a `Results` again.

    A record from a folder is read when it is asked for, each time anew; tables need no record.

    Args:
        records: of runs that ended, or what `clbench.leaderboard.entries` knows of them.
        failures: of runs that failed: tables say how many seeds of a configuration failed.
    """

    def __init__(self, records: Iterable[Record | Entry], failures: Iterable[Failure] = ()) -> None:
        self._records, self.failures = tuple(records), tuple(failures)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Results: ...

    def __getitem__(self, index: int | slice) -> Record | Results:
        if not isinstance(index, slice):
            found = self._records[index]
            return found.record if isinstance(found, Entry) else found
        kept = self._records[index]
        present = {record.config_id for record in kept}
        return Results(kept, [failure for failure in self.failures if failure.config_id in present])

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        configurations = {each.config_id for each in (*self._records, *self.failures)}
        failed = f", {len(self.failures)} failed runs" if self.failures else ""
        return f"Results({len(self)} records{failed}, {len(configurations)} configurations)"

    def rows(self) -> list[dict[str, Any]]:
        """Return the leaderboard: one row per configuration, equal to the output of `clbench-leaderboard format=json`."""
        return rows(self._records, self.failures)

    def to_frame(self) -> pd.DataFrame:
        """Return a data frame with one line per record: names, seed, every metric in percent, every cost, ids.

        For streams with requests to forget, `acc` is the accuracy on retained data. A metric that is undefined for a record is
        NaN. `n_seeds` and `n_failed` count the seeds of the line's configuration that ended and that failed. A failed run has a
        line, too, with its kind in `failure`, and NaN for metrics and costs.
        """
        import pandas as pd

        of = {row["config_id"]: row for row in self.rows()}
        entries = [entry(each) if isinstance(each, Record) else each for each in self._records]
        lines = [
            {
                **_own(each.names, TAKEN),
                "setting": each.setting,
                "variant": of[each.config_id]["variant"],
                "seed": each.seed,
                **each.metrics,
                **each.overall,
                **_own(each.cost, (*TAKEN, *NAMES)),
                **{key: of[each.config_id][key] for key in COUNTS},
                "failure": None,
                "config_id": each.config_id,
                "id": each.id,
            }
            for each in entries
        ]
        lines += [
            {
                **_own(failure.identity["names"], TAKEN),
                **{key: of[failure.config_id][key] for key in ("setting", "variant", *COUNTS)},
                "seed": failure.seed,
                "failure": failure.kind,
                "config_id": failure.config_id,
                "id": failure.id,
            }
            for failure in self.failures
        ]
        frame = pd.DataFrame(lines)
        if "acc" not in frame and lines:
            frame["acc"] = float("nan")
        metrics = [name for each in entries for name in (*each.metrics, *(OVERALL if each.goal else ()))]
        return frame.astype(dict.fromkeys(metrics, float))

    def matrix(self, index: int) -> pd.DataFrame:
        """Return the whole matrix of one record in percent: a line per event, a column per evaluation set.

        Args:
            index: position of the record.

        Raises:
            IndexError: no such record.
        """
        import pandas as pd

        result = self[index].result
        events = [(event["kind"], event["task"], event.get("step")) for event in result["events"]]
        values = [[None if value is None else 100 * value for value in fractions(row)] for row in result["matrix"]]
        lines = pd.MultiIndex.from_tuples(events, names=["event", "task", "step"])
        return pd.DataFrame(values, index=lines, columns=[column["name"] for column in result["columns"]], dtype=float)


def _own(part: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """Return the part of a record without the keys of other columns: a cost named `acc` would replace the accuracy."""
    return {key: value for key, value in part.items() if key not in taken}


def load(folder: str | Path) -> Results:
    """Read a folder of records and of failed runs. A warning names each file that cannot be read.

    Args:
        folder: with records; `~` and environment variables are expanded.

    Raises:
        ConfigError: the value names no folder.
        StoreError: the folder cannot be read.
    """
    place = Path(results_dir(folder))
    good, errors = load_entries(place)
    failures, damaged = load_failures(place)
    for error in errors + damaged:
        warnings.warn(f"left out: {error.line}", stacklevel=2)
    return Results(good, failures)
