"""The options of a search: `conf/tuning/base.yaml`, a protocol's file beside it, and `tuning.KEY=VALUE` of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from clbench.config.hydra_compose import Composer
from clbench.errors import ConfigError, shown
from clbench.instantiate import make
from clbench.tuning.objectives import OBJECTIVES
from clbench.utils.hints import MOST
from clbench.utils.nearest import nearest

GROUP = "tuning"
"""Folder of the protocols, in `conf` and in the folders of plug-ins."""
BASE = "base"
"""File that all protocols start from."""
OWN = {
    "first_k": ("k", "report"),
    "transfer": ("stream",),
}
"""Keys that only one protocol has."""
Count = Annotated[int, Field(ge=1, le=MOST)]
Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How values are chosen. Each field is the key `tuning.FIELD`; `conf/tuning/base.yaml` explains the shared ones.

    Args:
        protocol: `fixed`, `first_k`, `transfer` or `end`.
        trials: draws per method.
        seeds: of each trial: their number, or a list.
        first_seed: the first seed, if `seeds` is a number.
        objective: metric of the validation splits.
        valid_fraction: share of each task's training samples that the search holds out.
        sampler: `tpe` or `random`.
        sampler_seed: of the sampler.
        startup: number of random trials before `tpe` models.
        parallel: number of trials side by side; trial n depends on trials 0 to n - parallel.
        pruner: `wilcoxon` or `none`.
        p_threshold: level at which a trial counts as worse than the best one.
        seconds: budget of the runs' own time; None: none.
        name: of the study; None: made from method, scenario, setting and protocol.
        write: folder for the chosen values; None: none.
        keep: whether fields that change no answer keep their default.
        run: whether the reported run is trained.
        k: tasks to tune on (`first_k`).
        report: `all` tasks, or the `rest` without the first k (`first_k`).
        stream: overrides that give the stream to tune on (`transfer`).
    """

    protocol: Literal["fixed", "first_k", "transfer", "end"]
    trials: Count
    seeds: Count | Annotated[list[Annotated[int, Field(ge=0, le=MOST, strict=True)]], Field(min_length=1)]
    first_seed: Annotated[int, Field(ge=0, le=MOST)]
    objective: str
    valid_fraction: Share
    sampler: Literal["tpe", "random"]
    sampler_seed: Annotated[int, Field(ge=0, le=MOST)]
    startup: Annotated[int, Field(ge=0, le=MOST)]
    parallel: Count
    pruner: Literal["wilcoxon", "none"]
    p_threshold: Annotated[float, Field(gt=0, le=1)]
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    name: Annotated[str, Field(min_length=1, max_length=100)] | None
    write: str | None
    keep: bool
    run: bool
    k: Count | None = None
    report: Literal["all", "rest"] | None = None
    stream: Annotated[list[str], Field(min_length=1)] | None = None

    @property
    def search_seeds(self) -> tuple[int, ...]:
        """The seeds of each trial."""
        if isinstance(self.seeds, int):
            return tuple(range(self.first_seed, self.first_seed + self.seeds))
        return tuple(self.seeds)


def load_tuning(composer: Composer, name: str, given: Mapping[str, Any]) -> Tuning:
    """Return the options of a protocol's file with the values of the command line.

    Args:
        composer: knows the folders of configuration.
        name: of the file in `conf/tuning`, or in a plug-in's folder `tuning`.
        given: values by key, without `tuning.`.

    Raises:
        ConfigError: no such file, an unknown key, a value of another type or out of bounds, or a key of another protocol.
    """
    found = composer.file(f"{GROUP}/{name}")
    if not found or name == BASE:
        known = sorted(set(composer.loader.choices(GROUP)) - {BASE})
        near = nearest(name, known)
        hint = f"did you mean tuning={near}? " if near else ""
        raise ConfigError(f"unknown tuning={name}", f"{hint}choose one of {', '.join(known)}")
    values = {**composer.file(f"{GROUP}/{BASE}"), **found}
    protocol = values.get("protocol")
    every = [each.name for each in fields(Tuning)]
    for key in given:
        if key not in every or key == "protocol":
            near = nearest(key, every)
            hint = f"did you mean tuning.{near}? " if near and near != "protocol" else ""
            known_keys = ", ".join(each for each in every if each != "protocol")
            raise ConfigError(f"unknown key tuning.{key}={shown(given[key])}", f"{hint}it takes: {known_keys}")
        owner = next((owner for owner, keys in OWN.items() if key in keys), protocol)
        if owner != protocol:
            raise ConfigError(
                f"tuning.{key}={shown(given[key])} belongs to tuning={owner}", f"leave it out, or give tuning={owner}"
            )
    made: Tuning = make(Tuning, {**values, **given}, GROUP, f"tuning={name}")
    return _checked(made)


def _checked(tuning: Tuning) -> Tuning:
    """Refuse values that contradict each other, or that no metric has."""
    seeds = tuning.search_seeds
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"tuning.seeds={list(seeds)} names a seed twice", "give different seeds")
    if tuning.objective not in OBJECTIVES:
        near = nearest(tuning.objective, OBJECTIVES)
        hint = f"did you mean tuning.objective={near}? " if near else ""
        raise ConfigError(f"unknown tuning.objective={tuning.objective}", f"{hint}choose one of {', '.join(OBJECTIVES)}")
    if tuning.protocol in ("first_k", "transfer", "end") and tuning.valid_fraction == 0:
        raise ConfigError(
            "tuning.valid_fraction=0 holds no validation split out, and the test stream may choose nothing",
            "give tuning.valid_fraction=0.2",
        )
    if tuning.protocol == "first_k" and tuning.k is None:
        raise ConfigError("tuning.k=null, the number of tasks to tune on", "give tuning.k=2")
    return replace(tuning, report=tuning.report or "all") if tuning.protocol == "first_k" else tuning
