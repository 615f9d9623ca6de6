"""Every method that promises less forgetting, on every embedded stream: where does it forget more than naive, or end lower?

    python tools/worse_than_naive.py                                   # five seeds, runs/forgetting, two workers
    python tools/worse_than_naive.py --streams permuted_digits --methods osft,gpm --seeds 3 --results-dir runs

Trains what is missing, by the protocols and tuned values of `conf/`. Differences to naive are paired by seed. A cell is listed if
the 95 % interval of a difference lies on the wrong side of 0, if less than two thirds of naive's learning accuracy remains, or if
runs failed. `tools/worse_than_naive.yaml` holds the reasons. Prints two tables in Markdown. The exit status is 1 if a listed cell
has no reason.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from clbench.config.hydra_compose import new_composer
from clbench.config.job import Job, make_job
from clbench.metrics.matrix import summary
from clbench.metrics.statistics import Interval, mean, paired_difference
from clbench.records import Record
from clbench.runner.sweep import run_jobs

REASONS = Path(__file__).with_suffix(".yaml")
METHODS = (
    "adam_nscl",
    "agem",
    "der",
    "der_si",
    "derpp",
    "er",
    "er_ace",
    "er_ewc",
    "er_lwf",
    "ewc",
    "ewc_lora",
    "ewc_online",
    "freeze",
    "gdumb",
    "gem",
    "gpm",
    "icarl",
    "inc_lora",
    "lwf",
    "lwf_lora",
    "mas",
    "ncm",
    "ogd",
    "olora",
    "osft",
    "owm",
    "ranpac",
    "replay_lora",
    "rogo",
    "seq_lora",
    "sgp",
    "si",
    "si_bounded",
    "slda",
    "trgp",
)
DIGITS = ("split_digits class", "split_digits task", "split_digits domain", "permuted_digits domain", "rotated_digits domain")
STREAMS = {name: "scenario={} scenario.setting={}".format(*name.split()).split() for name in DIGITS} | {
    "biography_tiny domain": [
        "scenario=biography_tiny",
        "model=biography_tiny",
        "optimizer=adamw",
        "optimizer.lr=2e-4",
        "scenario.recovery=false",
    ]
}
"""The overrides of each stream. The biography's are those of conf/experiment/biography/tiny.yaml, without the recovery."""
USUAL = 5
"""Seeds of a complete cell; the overview marks cells with fewer."""
LEAST_LEARNED = 2 / 3
"""Below this share of naive's learning accuracy a method is listed: who learns nothing forgets nothing. Ours."""


@dataclass(frozen=True)
class Cell:
    """A method on a stream, compared with naive on the same seeds; differences are method - naive, in points."""

    stream: str
    method: str
    n: int
    failed: int
    forgetting: float | None
    learning: float | None
    more_forgetting: Interval | None
    more_accuracy: Interval | None
    learned_share: float | None

    @property
    def faults(self) -> list[str]:
        """What is worse than naive, in words; empty if nothing is."""
        found = [f"{self.failed} failed"] if self.failed else []
        if self.more_forgetting is not None and _beyond(self.more_forgetting, 1):
            found.append("forgets more")
        if self.more_accuracy is not None and _beyond(self.more_accuracy, -1):
            found.append("ends lower")
        if self.learned_share is not None and self.learned_share < LEAST_LEARNED:
            found.append("learns little")
        return found


def _beyond(difference: Interval, sign: int) -> bool:
    """Return whether the whole interval lies on the side `sign` of 0."""
    return difference.half_width is not None and sign * difference.mean > difference.half_width


def compare(stream: str, method: str, own: Sequence[Record], naive: Sequence[Record], failed: int = 0) -> Cell:
    """Return the cell of a method from its records and naive's."""
    mine, other = _by_seed(own), _by_seed(naive)

    def difference(key: str) -> Interval | None:
        return paired_difference(mine.get(key, {}), other.get(key, {}))

    def average(values: Mapping[int, float]) -> float | None:
        return mean(list(values.values())) if values else None

    learned, plain = average(mine.get("learning_accuracy", {})), average(other.get("learning_accuracy", {}))
    return Cell(
        stream,
        method,
        len(own),
        failed,
        average(mine.get("forgetting", {})),
        learned,
        difference("forgetting"),
        difference("acc"),
        learned / plain if learned is not None and plain else None,
    )


def _by_seed(records: Iterable[Record]) -> dict[str, dict[int, float]]:
    """Return metric -> seed -> percent."""
    found: dict[str, dict[int, float]] = {}
    for record in records:
        for key, value in summary(record.result).items():
            if value is not None:
                found.setdefault(key, {})[record.seed] = value
    return found


def explained(reasons: Mapping[str, Mapping[str, str]], cell: Cell) -> str | None:
    """Return the reason for a cell: the stream's own, else that for `any`; a key may name several methods."""
    for stream in (cell.stream, "any"):
        for methods, reason in reasons.get(stream, {}).items():
            if cell.method in methods.split():
                return reason
    return None


def table(cells: Sequence[Cell], reasons: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the lines of a Markdown table of `cells`, with reasons."""
    lines = [
        "| stream | method | forgetting | − naive's | learning accuracy | accuracy − naive's | worse | reason |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for cell in cells:
        numbers = [_plain(cell.forgetting), _spell(cell.more_forgetting), _plain(cell.learning), _spell(cell.more_accuracy)]
        reason = (explained(reasons, cell) or "**not explained**") if cell.faults else ""
        lines.append(f"| {cell.stream} | {cell.method} | {' | '.join(numbers)} | {', '.join(cell.faults)} | {reason} |")
    return lines


def overview(cells: Sequence[Cell]) -> list[str]:
    """Return a Markdown table: a row per method, a column per stream, differences of forgetting and of accuracy."""
    streams = [name for name in STREAMS if any(cell.stream == name for cell in cells)]
    found = {(cell.method, cell.stream): cell for cell in cells}
    lines = [f"| method | {' | '.join(streams)} |", f"| --- |{' ---: |' * len(streams)}"]
    for method in sorted({cell.method for cell in cells}):
        row = [_both(found.get((method, stream))) for stream in streams]
        lines.append(f"| {method} | {' | '.join(row)} |")
    return lines


def _both(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    return f"{_spell(cell.more_forgetting)}; {_spell(cell.more_accuracy)}" + (f" (n {cell.n})" if cell.n < USUAL else "")


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _spell(value: Interval | None) -> str:
    if value is None:
        return "–"
    return f"{value.mean:+.1f}" + ("" if value.half_width is None else f" ± {value.half_width:.1f}")


def jobs(streams: Sequence[str], methods: Sequence[str], seeds: str, results_dir: str) -> dict[tuple[str, str], Job]:
    """Return a job for every stream and method; naive is always among them."""
    composer = new_composer()
    found = {}
    for stream in streams:
        for method in ("naive", *methods):
            words = [f"method={method}", *STREAMS[stream], f"seeds={seeds}", f"results_dir={results_dir}"]
            if stream.startswith("biography") and "ewc" in method:
                words.append("method.fisher=empirical" if method != "ewc_lora" else "method.parts.ewc.fisher=empirical")
            found[stream, method] = make_job(composer(words), composer)
    return found


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", default=",".join(DIGITS), help=f"of {', '.join(STREAMS)}; without setting: all settings")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", default="5", help="a count, or a list such as [10,11]")
    parser.add_argument("--results-dir", default="runs/forgetting")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    wanted = options.streams.split(",")
    streams = [name for name in STREAMS if name in wanted or name.split()[0] in wanted]
    made = jobs(streams, options.methods.split(","), options.seeds, options.results_dir)
    done = run_jobs(list(made.values()), workers=options.workers, report=False)
    reasons = yaml.safe_load(REASONS.read_text(encoding="utf-8"))
    cells, refused = [], []
    for (stream, method), job in made.items():
        own = done.records(job)
        failed = len(job.specs()) - len(own)
        if method == "naive":
            continue
        if not own:
            refused.append(f"{stream}: {method}")
        else:
            cells.append(compare(stream, method, own, done.records(made[stream, "naive"]), failed))
    worse = [cell for cell in cells if cell.faults]
    print(
        "\n".join(
            [
                "## Worse than naive",
                "",
                *table(worse, reasons),
                "",
                "## All cells",
                "",
                "Forgetting − naive's; accuracy − naive's.",
                "",
                *overview(cells),
            ]
        )
    )
    print("\nNo record (refused, or all seeds failed):", "; ".join(refused) or "none")
    sys.exit(1 if any(explained(reasons, cell) is None for cell in worse) else 0)


if __name__ == "__main__":
    main()
