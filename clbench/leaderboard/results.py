"""Results in Python: `clbench.run` returns them, `clbench.load` reads them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from clbench.leaderboard.rows import rows, usable
from clbench.metrics.matrix import fractions, summary
from clbench.metrics.unlearning import OVERALL, goal, overall
from clbench.records import Record, load_all
from clbench.store.failures import Failure, load_failures

if TYPE_CHECKING:
    import pandas as pd

COUNTS = ("n_seeds", "n_failed")
"""Keys of a row that every line of a frame repeats."""


class Results(Sequence[Record]):
    """A sequence of records, with tables of them. A slice is a `Results` again.

    Args:
        records: of runs that ended.
        failures: of runs that failed: tables say how many seeds of a configuration failed.
    """

    def __init__(self, records: Iterable[Record], failures: Iterable[Failure] = ()) -> None:
        self._records, self.failures = tuple(records), tuple(failures)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Results: ...

    def __getitem__(self, index: int | slice) -> Record | Results:
        if not isinstance(index, slice):
            return self._records[index]
        kept = self._records[index]
        present = {record.config_id for record in kept}
        return Results(kept, [failure for failure in self.failures if failure.config_id in present])

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        configurations = {each.config_id for each in (*self, *self.failures)}
        failed = f", {len(self.failures)} failed runs" if self.failures else ""
        return f"Results({len(self)} records{failed}, {len(configurations)} configurations)"

    def rows(self) -> list[dict[str, Any]]:
        """Return the leaderboard: one row per configuration, equal to the output of `clbench-leaderboard format=json`."""
        return rows(self, self.failures)

    def to_frame(self) -> pd.DataFrame:
        """Return a data frame with one line per record: names, seed, every metric in percent, every cost, ids.

        For streams with requests to forget, `acc` is the accuracy on retained data. A metric that is undefined for a record is
        NaN. `n_seeds` and `n_failed` count the seeds of the line's configuration that ended and that failed. A failed run has a
        line, too, with its kind in `failure`, and NaN for metrics and costs.
        """
        import pandas as pd

        of = {row["config_id"]: row for row in self.rows()}
        lines = [
            {
                **record.identity["names"],
                "setting": record.result["setting"],
                "variant": of[record.config_id]["variant"],
                "seed": record.seed,
                **summary(record.result),
                **(overall(record.result) if goal(record.result) else {}),
                **record.cost,
                **{key: of[record.config_id][key] for key in COUNTS},
                "failure": None,
                "config_id": record.config_id,
                "id": record.id,
            }
            for record in self
        ]
        lines += [
            {
                **failure.identity["names"],
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
        metrics = [name for record in self for name in (*summary(record.result), *(OVERALL if goal(record.result) else ()))]
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


def load(folder: str | Path) -> Results:
    """Read a folder of records and of failed runs. A warning names each file that cannot be read.

    Raises:
        StoreError: the folder cannot be read.
    """
    records, errors = load_all(Path(folder))
    good, unreadable = usable(records)
    failures, damaged = load_failures(Path(folder))
    for error in errors + unreadable + damaged:
        warnings.warn(str(error), stacklevel=2)
    return Results(good, failures)
