"""A job: one configuration for one or several seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from clbench.config.evaluation import check_evaluation
from clbench.config.hydra_compose import Composed, Composer
from clbench.config.objective import check_objective
from clbench.config.resolve import LATER_NODES, NODES, ability_digests, data_digest, given_keys, identity, names, resolve
from clbench.config.tuned_by import tuned_by
from clbench.config.variant import variant
from clbench.config.without_effect import check as check_effects
from clbench.contract.kinds import refuse_torch
from clbench.data.integrity import search_path
from clbench.errors import ConfigError, shown
from clbench.execution import OTHER_KEYS, Execution
from clbench.instantiate import check, make
from clbench.records import canonical, flatten
from clbench.run_spec import RunSpec
from clbench.sources.trace import Sources, sources
from clbench.utils.folders import expanded, results_dir
from clbench.utils.hints import MOST

Count = Annotated[int, Field(ge=1, le=MOST)]
Seeds = Count | Annotated[list[Annotated[int, Field(ge=0, strict=True)]], Field(min_length=1)]


MOST_SEEDS = 1_000_000
"""Runs of one configuration: with more, their list alone fills the memory."""


@dataclass(frozen=True)
class Job:
    """One configuration for one or several seeds.

    Args:
        config: resolved nodes of the objects.
        names: of method, scenario, model, optimizer.
        variant: the shortest difference from the defaults; see `clbench.config.variant`.
        seeds: one run for each.
        data_sha256: digest of the data's content.
        ability_sha256: digest of each data set that general ability is measured on.
        sources: digests of the modules from outside clbench, by node; see `clbench.sources.trace`.
        neutral: dotted keys that the identity leaves out at the given value.
        logger: the logger's node.
        results_dir: folder of the records.
        execution: how the runs are executed.
        objective: what the job returns to a sweeper (`clbench.config.objective`).
        tuning: the search that chose the values, for the identity (`clbench.tuning.command.node`); empty: there was none.
        tuned_by: where the values come from, for the provenance (`clbench.config.tuned_by`).
    """

    config: dict[str, Any]
    names: dict[str, str]
    variant: str
    seeds: tuple[int, ...]
    data_sha256: str
    ability_sha256: dict[str, str]
    sources: Sources
    neutral: dict[str, Any]
    logger: dict[str, Any]
    results_dir: str
    execution: Execution
    objective: str = "acc"
    tuning: dict[str, Any] = field(default_factory=dict)
    tuned_by: dict[str, Any] = field(default_factory=dict)

    def specs(self) -> list[RunSpec]:
        """Return one run per seed."""
        ability, sources = self.ability_sha256, self.sources
        return [
            RunSpec(
                self.config,
                identity(self.config, self.names, self.data_sha256, seed, self.neutral, ability, sources, self.tuning),
                self.variant,
                self.results_dir,
                self.execution,
                self.logger,
                tuned_by=self.tuned_by,
            )
            for seed in self.seeds
        ]


def make_job(
    composed: Composed,
    composer: Composer,
    method: Mapping[str, Any] | None = None,
    named: bool = True,
    usual: Mapping[str, Any] | None = None,
) -> Job:
    """Return the job that a composed configuration describes.

    Args:
        composed: the configuration, its choices and overrides.
        composer: composes the configurations that the variant is compared with.
        method: replaces the composed method node (a method given as an object).
        usual: the method node that the variant is compared with; None: `method`.
        named: whether to find the variant; this takes as long as composing, and changes no identity.

    Raises:
        ConfigError: an unknown key, an invalid value, a key without effect, or a source file that is not Python.
        DataError: the user's own data is missing.
    """
    _storable({key: composed.config.get(key) for key in NODES})
    composed = check_effects(composed, composer, method)
    resolved = resolve(composed, composer, method)
    groups = {override.name for override in composer.parse(composed.overrides, composed.choices) if override.group}
    asked = given_keys(composed, composer) | groups
    config = {key: resolved[key] for key in (*NODES, *LATER_NODES) if resolved.get(key) is not None}
    _storable(config)
    refuse_torch({**config, "logger": resolved.get("logger")})
    check_evaluation(config["eval"], config["scenario"])
    run = execution(resolved)
    search = [Path(folder) for folder in run.search]
    return Job(
        config=config,
        names=names(config, composed.choices, method, asked),
        variant=variant(composed, composer, resolved, method, usual) if named else "",
        seeds=seeds(resolved["seeds"]),
        data_sha256=data_digest(config["scenario"], search),
        ability_sha256=ability_digests(config, search),
        sources=sources(config),
        neutral=resolved.get("neutral") or {},
        logger=resolved.get("logger") or {},
        results_dir=results_dir(resolved["results_dir"]),
        execution=run,
        objective=check_objective(resolved.get("objective", "acc")),
        tuned_by=tuned_by(composed, composer, method is not None),
    )


def execution(resolved: Mapping[str, Any]) -> Execution:
    """Return how runs are executed: the node `runner`, with the keys of `clbench.execution.OTHER_KEYS`.

    Raises:
        ConfigError: an unknown key, or an invalid value.
    """
    others: dict[str, Any] = {}
    for name, key in OTHER_KEYS.items():
        node, _, last = key.rpartition(".")
        others[name] = (resolved[node] if node else resolved)[last]
    root = resolved["data"]["root"]
    others["search"] = [str(folder) for folder in search_path(root and expanded(root, "data.root", "FOLDER:FOLDER"))]
    runner = check(resolved["runner"], dict[str, Any], "runner")
    made: Execution = make(Execution, {**runner, **others}, "runner", "the node runner", keys=OTHER_KEYS)
    return made


def seeds(value: Any) -> tuple[int, ...]:
    """Return the seeds of `seeds=`: a count n means 0 to n - 1, a list means its entries.

    Raises:
        ConfigError: no seed, a negative seed, a seed that is not an integer, or a repeated seed.
    """
    found = check(value, Seeds, "seeds")
    if isinstance(found, int):
        if found > MOST_SEEDS:
            raise ConfigError(f"seeds={found}: more runs than any machine can make", f"give at most {MOST_SEEDS}")
        return tuple(range(found))
    if len(set(found)) < len(found):
        twice = next(seed for seed in found if found.count(seed) > 1)
        raise ConfigError(f"seeds={found}: {twice} occurs twice", "give different seeds (seeds=[3,7])")
    return tuple(found)


def _storable(config: Mapping[str, Any]) -> None:
    """Raise a ConfigError for values that JSON cannot represent: infinities, NaN, objects."""
    for key, value in flatten(dict(config)):
        try:
            canonical(value)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{key}={shown(value)} cannot be stored in a record", "give a finite number, text or a list"
            ) from error
