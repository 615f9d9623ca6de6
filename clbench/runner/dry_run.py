"""`runner.dry=true`: what a command would do. Nothing is trained, nothing is written, and torch is not imported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clbench.config.job import Job
from clbench.records import Record, load_all, record_path
from clbench.run_spec import RunSpec
from clbench.runner.devices import cores
from clbench.runner.outcome import Outcome, Status
from clbench.runner.run_specs import already, replacing


@dataclass
class Cost:
    """What finished runs took: seconds and bytes, added up.

    Args:
        seconds: of all runs.
        bytes: of all records, and of kept models.
        runs: their number.
    """

    seconds: float = 0.0
    bytes: float = 0.0
    runs: int = 0

    def add(self, seconds: float, size: float) -> None:
        """Count one more run."""
        self.seconds += seconds
        self.bytes += size
        self.runs += 1


@dataclass
class Costs:
    """What the runs of a results folder took, by configuration and by what is similar.

    Two configurations are similar if method, scenario, model and setting have the same names.
    """

    same: dict[str, Cost] = field(default_factory=dict)
    similar: dict[tuple[str, ...], Cost] = field(default_factory=dict)

    def learn(self, record: Record, folder: Path) -> None:
        """Count a stored run; one without a cost is left out."""
        seconds, path = record.cost.get("seconds"), record_path(folder, record.id)
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < float("inf"):
            return
        models = folder / "models" / record.id
        size = sum(each.stat().st_size for each in [path, *models.rglob("*")] if each.is_file())
        self.same.setdefault(record.config_id, Cost()).add(float(seconds), size)
        self.similar.setdefault(_alike(record.identity), Cost()).add(float(seconds), size)

    def of(self, spec: RunSpec) -> Cost | None:
        """Return the mean cost of the same configuration, or else of similar ones; None if there are none."""
        found = self.same.get(spec.config_id) or self.similar.get(_alike(spec.identity))
        return None if found is None else Cost(found.seconds / found.runs, found.bytes / found.runs, 1)


def plan(jobs: Sequence[Job], refused: int, workers: int | str | None = None) -> list[str]:
    """Return the lines that tell what the runs of `jobs` would do.

    Args:
        jobs: with a valid configuration.
        refused: number of jobs without one.
        workers: overrules the number of workers of the jobs.
    """
    specs = {spec.id: replacing(spec) for job in jobs for spec in job.specs()}
    outcomes = {run: already(spec) for run, spec in specs.items()}
    todo = [specs[run] for run, outcome in outcomes.items() if outcome is None]
    count = Counter(outcome.status for outcome in outcomes.values() if outcome is not None)
    parts = [f"{len(todo)} to train", f"{count[Status.PRESENT]} already there"]
    if count[Status.FAILED]:
        parts.append(f"{count[Status.FAILED]} failed before and not trained again")
    if refused:
        parts.append(f"{_counted(refused, 'job')} refused")
    going_on = sum(spec.checkpoints.is_dir() and not spec.execution.rerun for spec in todo)
    lines = ["Dry run: nothing is trained, and nothing is written."]
    lines.append(f"{_counted(len(specs), 'run')} in {_counted(len(jobs) + refused, 'job')}: {', '.join(parts)}")
    if going_on:
        lines.append(f"{_counted(going_on, 'run')} of these would go on from a checkpoint")
    lines += _costs(todo, workers)
    return [*lines, *_failed(outcomes.values())]


def _costs(todo: Sequence[RunSpec], workers: int | str | None) -> list[str]:
    """Return the lines about time and disk."""
    if not todo:
        return []
    costs = {folder: _learned(Path(folder)) for folder in {spec.results_dir for spec in todo}}
    known = [cost for spec in todo if (cost := costs[spec.results_dir].of(spec)) is not None]
    unknown = len(todo) - len(known)
    rest = f"; unknown for {_counted(unknown, 'run')} without an earlier run like it" if unknown else ""
    if not known:
        return [f"time and disk: unknown for {_counted(unknown, 'run')} without an earlier run like it"]
    how = todo[0].execution
    wanted = how.workers if workers is None else workers
    side = max(1, min(len(todo), wanted if isinstance(wanted, int) else max(1, cores() // how.threads)))
    total = sum(cost.seconds for cost in known)
    parallel = f", about {duration(total / side)} with {side} at a time" if side > 1 else ""
    of = f" for {_counted(len(known), 'run')}" if unknown else ""
    return [
        f"time: about {duration(total)} of training{of}{parallel}{rest}",
        f"disk: about {size(sum(cost.bytes for cost in known))}{of}{rest}",
    ]


def _learned(folder: Path) -> Costs:
    costs = Costs()
    if folder.is_dir():
        for record in load_all(folder)[0]:
            costs.learn(record, folder)
    return costs


def _failed(outcomes: Iterable[Outcome | None]) -> list[str]:
    """Return one line for each run that failed before."""
    failed = [outcome for outcome in outcomes if outcome is not None and outcome.status is Status.FAILED]
    return [f"failed before: {outcome.spec.label}: {outcome.text}" for outcome in failed]


def _alike(identity: dict[str, object]) -> tuple[str, ...]:
    names, scenario = identity.get("names"), identity.get("scenario")
    setting = scenario.get("setting") if isinstance(scenario, dict) else None
    found = names if isinstance(names, dict) else {}
    return (*(str(found.get(key)) for key in ("method", "scenario", "model")), str(setting))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a time in its two largest units.

    >>> duration(0.4), duration(75), duration(7260), duration(200000)
    ('1 s', '1 min 15 s', '2 h 1 min', '2 d 7 h')
    """
    left, units = max(1, round(seconds)), (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    parts = []
    for name, length in units:
        number, left = divmod(left, length)
        parts.append((number, name))
    first = next(index for index, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {name}" for number, name in parts[first : first + 2] if number)


def size(count: float) -> str:
    """Return a number of bytes in decimal units.

    >>> size(999), size(12_345), size(7_100_000)
    ('999 B', '12 kB', '7.1 MB')
    """
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= length:
            return f"{count / length:.2g} {unit}" if count < 100 * length else f"{count / length:.0f} {unit}"
    return f"{count:.0f} B"
