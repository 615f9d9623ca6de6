"""clbench from Python: `run` trains a configuration or finds its records, `load` reads a folder of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from clbench.config.hydra_compose import new_composer
from clbench.config.job import Job, make_job
from clbench.errors import ClbenchError, ConfigError
from clbench.leaderboard.results import Results
from clbench.leaderboard.results import load as load
from clbench.records import record_path
from clbench.runner.sweep import failures, not_trained_again, run_jobs
from clbench.sources.confirm import confirm
from clbench.sources.trace import targets


def run(
    *,
    scenario: str | None = None,
    method: str | Mapping[str, Any] | Any | None = None,
    model: str | None = None,
    seeds: int | Sequence[int] | None = None,
    overrides: Sequence[str] = (),
    results_dir: str | Path | None = None,
    workers: int | str | None = None,
    progress: bool = True,
) -> Results:
    """Run one configuration for its seeds and return all records, earlier ones included.

    Args:
        scenario: a choice of the group, for example `split_mnist`.
        method: a choice of the group; or a method itself: an instance or class of `Method`, or a mapping with
            `_target_`.
        model: a choice of the group.
        seeds: a count or a list.
        overrides: anything else, as on the command line: `["trainer.epochs=3", "optimizer=adam"]`.
        results_dir: where records go.
        workers: processes, or `auto`; 0: in this process, as always with a method defined in a script or notebook.
        progress: whether to show progress.

    Raises:
        ClbenchError: the configuration cannot be used, or a run failed (the records of the others are stored).
    """
    node = None if method is None or isinstance(method, str) else method_node(method)
    given = {"scenario": scenario, "method": method if node is None else None, "model": model}
    words = [f"{key}={value}" for key, value in given.items() if value is not None]
    if seeds is not None:
        words.append(f"seeds={seeds}" if isinstance(seeds, int) else f"seeds=[{','.join(map(str, seeds))}]")
    if results_dir is not None:
        words.append(f"results_dir={quoted(str(results_dir))}")
    composer = new_composer()
    job = make_job(composer([*words, *overrides]), composer, node)
    if any(name.startswith("__main__.") for name in targets(job.config)):
        workers = 0  # other processes cannot import it
    if (job.execution.workers if workers is None else workers) == 0:
        _confirm(job)
    summary = run_jobs([job], workers=workers, progress=progress, report=False)
    if summary.failed:
        lines = failures(summary)
        stored = f"{len(lines)} of {len(summary.outcomes)} runs failed; the others are stored in {job.results_dir}"
        again = not_trained_again(summary).replace("rerun=true", 'overrides=["rerun=true"]')
        raise ClbenchError("\n".join(lines), ". ".join(part for part in (stored, again) if part))
    return Results(summary.records(job))


def _confirm(job: Job) -> None:
    """Refuse to train with classes of this process whose files have changed since they were imported.

    Raises:
        ConfigError: such a class would be trained; stored runs need none.
    """
    missing = [spec for spec in job.specs() if not record_path(Path(spec.results_dir), spec.id).exists()]
    if missing or job.execution.rerun:
        confirm(job.sources)


def method_node(method: Any) -> dict[str, Any]:
    """Return the configuration node of a method given as an instance, a class, or a mapping with `_target_`.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(method, Mapping):
        if not isinstance(method.get("_target_"), str):
            raise ConfigError(
                f"method={dict(method)!r} has no _target_", 'name its class: {"_target_": "package.module.Class", ...}'
            )
        return dict(method)
    kind = method if isinstance(method, type) else type(method)
    if not is_dataclass(kind) and not hasattr(kind, "begin_task"):
        raise ConfigError(
            f"method={method!r} is no method",
            "give a name, an instance or class of clbench.method.Method, or a mapping",
        )
    node: dict[str, Any] = {"_target_": f"{kind.__module__}.{kind.__qualname__}"}
    if not isinstance(method, type):
        node.update({field.name: getattr(method, field.name) for field in fields(method) if field.init})
    return node


def quoted(text: str) -> str:
    """Return `text` in quotes for Hydra's grammar."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
