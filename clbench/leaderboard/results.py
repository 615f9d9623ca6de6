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

if TYPE_CHECKING:
    import pandas as pd


class Results(Sequence[Record]):
    """A sequence of records, with tables of them. A slice is a `Results` again."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = tuple(records)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Results: ...

    def __getitem__(self, index: int | slice) -> Record | Results:
        return Results(self._records[index]) if isinstance(index, slice) else self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"Results({len(self)} records, {len({record.config_id for record in self})} configurations)"

    def rows(self) -> list[dict[str, Any]]:
        """Return the leaderboard: one row per configuration, equal to the output of `clbench-leaderboard format=json`."""
        return rows(self)

    def to_frame(self) -> pd.DataFrame:
        """Return a data frame with one line per record: names, seed, every metric in percent, every cost, ids.

        For streams with requests to forget, `acc` is the accuracy on retained data. A metric that is undefined for a record is
        NaN.
        """
        import pandas as pd

        variants = {row["config_id"]: row["variant"] for row in self.rows()}
        lines = [
            {
                **record.identity["names"],
                "setting": record.result["setting"],
                "variant": variants[record.config_id],
                "seed": record.seed,
                **summary(record.result),
                **(overall(record.result) if goal(record.result) else {}),
                **record.cost,
                "config_id": record.config_id,
                "id": record.id,
            }
            for record in self
        ]
        frame = pd.DataFrame(lines)
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
    """Read a folder of records. A warning names each record that cannot be read.

    Raises:
        StoreError: the folder cannot be read.
    """
    records, errors = load_all(Path(folder))
    good, unreadable = usable(records)
    for error in errors + unreadable:
        warnings.warn(str(error), stacklevel=2)
    return Results(good)
