"""clbench from Python: `run` trains a configuration or finds its records, `load` reads a folder of results."""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from operator import index
from pathlib import Path
from typing import Any, Never, get_type_hints

from clbench.config.hydra_compose import Composer, new_composer
from clbench.config.job import Job, make_job
from clbench.config.plugin_folders import extend_modules, search_path
from clbench.config.quoting import quoted
from clbench.config.variant import spell
from clbench.contract.kinds import remedy
from clbench.errors import ClbenchError, ConfigError
from clbench.execution import Execution
from clbench.instantiate import check
from clbench.leaderboard.entries import all_usable
from clbench.leaderboard.results import Results
from clbench.leaderboard.results import load as load
from clbench.records import record_path
from clbench.runner.sweep import failures, not_trained_again, run_jobs
from clbench.sources.confirm import confirm
from clbench.sources.trace import targets
from clbench.utils.folders import expanded
from clbench.utils.nearest import nearest


def run(
    *,
    scenario: str | None = None,
    method: str | Mapping[str, Any] | Any | None = None,
    model: str | None = None,
    seeds: int | Iterable[int] | None = None,
    overrides: Sequence[str] = (),
    results_dir: str | Path | None = None,
    workers: int | str | None = None,
    progress: bool = True,
    dry: bool = False,
    **unknown: Never,
) -> Results:
    """Run one configuration for its seeds and return all records, earlier ones included.

    Args:
        scenario: a choice of the group, for example `split_mnist`.
        method: a choice of the group; or a method itself: an instance or class of `Method`, or a mapping with
            `_target_`.
        model: a choice of the group.
        seeds: a count, or a list or another sequence of integers (`range(3, 6)`, an array of numpy).
        overrides: anything else, as on the command line: `["trainer.epochs=3", "optimizer=adam"]`. Those of `method.KEY` also
            change a method that is given as itself.
        results_dir: where records go.
        workers: processes, or `auto`; 0: in this process, as always with a method defined in a script or notebook.
        progress: whether to show progress.
        dry: whether to print only what would be trained (`runner.dry`); the returned records are those that are there.
        unknown: no further argument is known.

    Raises:
        ClbenchError: an argument is not as described, the configuration cannot be used, or a run failed (the records of the
            others are stored).
    """
    if unknown:
        raise _unknown_argument(unknown)
    node = None if method is None or isinstance(method, str) else method_node(method)
    given = {"scenario": scenario, "method": method if node is None else None, "model": model}
    words = [f"{key}={_name(key, value)}" for key, value in given.items() if value is not None]
    if seeds is not None:
        words.append(f"seeds={_seeds(seeds)}")
    if results_dir is not None:
        words.append(f"results_dir={quoted(expanded(results_dir, 'results_dir'))}")
    if dry:
        words.append("runner.dry=true")
    further = _overrides(overrides)
    further, folders, modules = search_path(further, lambda word: new_composer().loader.parse([word])[0].value())
    extend_modules(modules)
    composer = new_composer(folders)
    plain = node
    if node is not None:
        node, further = _with_values(node, further)
    if workers is not None:
        check(workers, get_type_hints(Execution, include_extras=True)["workers"], "workers")
    _refuse_several([*words, *further], composer)
    job = make_job(composer([*words, *further]), composer, node, usual=plain)
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
    good, unusable = all_usable(summary.records(job))
    for error in unusable:
        warnings.warn(f"left out: {error.line}", stacklevel=2)
    return Results(good)


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
    loaded = getattr(sys.modules.get("clbench.method"), "Method", None)
    if loaded is None or not issubclass(kind, loaded):
        raise ConfigError(
            f"method={method!r} is no method",
            f"give a name, an instance or class of clbench.method.Method, or a mapping; {remedy('method')}",
        )
    node: dict[str, Any] = {"_target_": f"{kind.__module__}.{kind.__qualname__}"}
    if not isinstance(method, type) and is_dataclass(method):
        node.update({field.name: getattr(method, field.name) for field in fields(method) if field.init})
    return node


def _unknown_argument(unknown: Mapping[str, Any]) -> ConfigError:
    """Return the error for arguments that `run` does not have."""
    name, value = next(iter(unknown.items()))
    if name in ("config_dir", "plugin", "plugin_dir"):
        hint = f"""give overrides=["hydra.searchpath=[file://{value}]"]"""
    elif near := nearest(name, [key for key in inspect.signature(run).parameters if key != "unknown"]):
        hint = f"did you mean {near}=...?"
    else:
        key = new_composer().names.near(name, ())
        hint = f"""give overrides=["{key or "KEY"}={value}"]"""
    return ConfigError(f"clbench.run has no argument {name}={value!r}", hint)


def _name(key: str, value: Any) -> str:
    """Return the choice of a group.

    Raises:
        ConfigError: it is not text.
    """
    if isinstance(value, str):
        return value
    of_own = f"""overrides=["{key}._target_=package.module.Name"] names one of your own"""
    raise ConfigError(f"{key}={value!r} is not a name", f"give text, as {key}=NAME on the command line; {of_own}")


def _seeds(seeds: Any) -> str:
    """Return seeds as on the command line.

    Raises:
        ConfigError: they are neither an integer nor a sequence of integers.
    """
    error = ConfigError(f"seeds={seeds!r} is no count and no list of integers", "give seeds=5 (0 to 4) or seeds=[3, 7]")
    if isinstance(seeds, (bool, str, bytes, Mapping)):
        raise error
    try:
        return str(index(seeds))
    except TypeError:
        pass
    try:
        found = [seed for seed in seeds if not isinstance(seed, bool)]
        return f"[{','.join(str(index(seed)) for seed in found)}]"
    except TypeError:
        raise error from None


def _overrides(overrides: Any) -> list[str]:
    """Return overrides as a list.

    Raises:
        ConfigError: they are not a sequence of texts.
    """
    if isinstance(overrides, str):
        right: list[str] = overrides.split() if re.fullmatch(r"(\S+=\S+\s*)+", overrides) else [overrides]
        raise ConfigError(f"overrides={overrides!r} is one text", f"give a list: overrides={right}")
    if isinstance(overrides, Mapping):
        right = [f"{key}={spell(value)}" for key, value in overrides.items()]
        raise ConfigError(f"overrides={dict(overrides)!r} is a mapping", f"give a list: overrides={right}")
    try:
        found = list(overrides)
    except TypeError:
        raise ConfigError(f"overrides={overrides!r} is no list", 'give a list: overrides=["trainer.epochs=3"]') from None
    for word in found:
        if not isinstance(word, str):
            raise ConfigError(f"overrides: {word!r} is no text", 'give texts: overrides=["trainer.epochs=3"]')
        if word.startswith("-"):
            raise ConfigError(f"overrides: {word!r} is a flag", "clbench.run takes key=value only; leave it out")
    return found


def _refuse_several(words: Sequence[str], composer: Composer) -> None:
    """Refuse words that name several values.

    Raises:
        ConfigError: there is such a word.
    """
    composer.check(words)
    for override in composer.loader.parse(words):
        if override.is_sweep_override():
            raise ConfigError(
                f"{override.input_line} names several values, and clbench.run trains one configuration",
                "call clbench.run once for each value; clbench.load then reads all records of the folder",
            )


def _with_values(node: dict[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the node of a method with the values that overrides of `method.KEY` give it, and the other overrides.

    Raises:
        ConfigError: an override chooses another method.
    """
    loader, rest, made = new_composer().loader, list[str](), dict(node)
    for word in overrides:
        if not re.match(r"[+~]*method([./=]|$)", word):
            rest.append(word)
            continue
        override = loader.parse([word])[0]
        key = override.key_or_group
        if not key.startswith("method.") or key == "method._target_" or override.is_sweep_override() or word.startswith("~"):
            raise ConfigError(f"overrides: {word!r} beside method={node['_target_']}", "leave one of them out")
        *parents, last = key.split(".")[1:]
        place: Any = made
        for parent in parents:
            place[parent] = dict(place[parent]) if isinstance(place.get(parent), Mapping) else {}
            place = place[parent]
        place[last] = override.value()
    return made, rest
